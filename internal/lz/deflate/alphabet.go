// Package deflate writes blocks of deflate (RFC 1951) from tokens and codes that an encoder has chosen.
//
// What there is to choose (matches, ends of blocks, lengths of codes, runs in their description) is left to the encoders.
package deflate

import "math/bits"

// The alphabets of deflate (RFC 1951, 3.2.5 to 3.2.7).
const (
	MinMatch     = 3
	MaxMatch     = 258
	WindowSize   = 32 << 10
	EndOfBlock   = 256
	FirstLength  = 257 // the symbol of a match of 3 bytes
	Symbols      = 286 // literals, the end and lengths
	Distances    = 30
	MaxBits      = 15
	CodeLengths  = 19
	MaxCodeBits  = 7   // of the code of code lengths
	fixedSymbols = 288 // two never occur, but move other codes
)

// codeOrder is the order in which the lengths of the code of code lengths are sent.
var codeOrder = [CodeLengths]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbol holds, for each length less MinMatch, its symbol less FirstLength; lengthExtra and lengthBase what comes
// with a symbol.
var (
	lengthSymbol = makeLengthSymbols()
	lengthExtra  [Symbols - FirstLength]uint8
	lengthBase   [Symbols - FirstLength]uint16
)

func makeLengthSymbols() (tab [MaxMatch - MinMatch + 1]uint8) {
	v := 0
	for s := range Symbols - FirstLength - 1 {
		extra := max(s/4-1, 0)
		lengthExtra[s], lengthBase[s] = uint8(extra), uint16(v)
		for range 1 << extra {
			if v < len(tab) {
				tab[v] = uint8(s)
			}
			v++
		}
	}
	const last = Symbols - FirstLength - 1 // 258 has a symbol of its own
	lengthExtra[last], lengthBase[last] = 0, MaxMatch-MinMatch
	tab[MaxMatch-MinMatch] = last
	return tab
}

// LengthSymbol returns the symbol of a length less FirstLength, and how many extra bits it has.
func LengthSymbol(length int) (symbol, extra int) {
	s := lengthSymbol[length-MinMatch]
	return int(s), int(lengthExtra[s])
}

// DistanceSymbol returns the symbol of a distance and how many extra bits it has.
func DistanceSymbol(distance uint32) (symbol, extra uint32) {
	v := distance - 1
	if v < 4 {
		return v, 0
	}
	n := uint32(bits.Len32(v)) - 2
	return n*2 + v>>n&3, n
}

// DistanceExtra is how many extra bits a symbol has.
func DistanceExtra(symbol int) int { return max(symbol/2-1, 0) }

// Token is one step: a literal, or a match with the length less MinMatch in bits 16 to 23 and the distance in the low 16
// bits.
type Token uint32

const matchToken = 1 << 31

// Literal is the token of a byte.
func Literal(b byte) Token { return Token(b) }

// Match is the token of a match.
func Match(length, distance uint32) Token {
	return Token(matchToken | (length-MinMatch)<<16 | distance)
}

// IsMatch tells whether it is one; Length and Distance are of a match only.
func (t Token) IsMatch() bool { return t&matchToken != 0 }

// Length is how many bytes a match stands for.
func (t Token) Length() uint32 { return uint32(t)>>16&0xff + MinMatch }

// Distance is how far back a match reaches.
func (t Token) Distance() uint32 { return uint32(t) & 0xffff }

// Plain is how many bytes a token stands for.
func (t Token) Plain() int {
	if t.IsMatch() {
		return int(t.Length())
	}
	return 1
}

// Counts say how often each symbol occurs in a block.
type Counts struct {
	Symbol   [Symbols]uint32
	Distance [Distances]uint32
}

// Add counts tokens, each weight times.
func (c *Counts) Add(tokens []Token, weight uint32) {
	for _, t := range tokens {
		if !t.IsMatch() {
			c.Symbol[uint8(t)] += weight
			continue
		}
		s, _ := DistanceSymbol(t.Distance())
		c.Symbol[FirstLength+int(lengthSymbol[uint8(t>>16)])] += weight
		c.Distance[s] += weight
	}
}

// Size is how many bits these symbols take, with their extra bits.
func (c *Counts) Size(symbol, distance *Code) int {
	n := 0
	for s, k := range c.Symbol {
		n += int(k) * int(symbol.Length[s])
	}
	for s, k := range c.Symbol[FirstLength:] {
		n += int(k) * int(lengthExtra[s])
	}
	for s, k := range c.Distance {
		n += int(k) * (int(distance.Length[s]) + DistanceExtra(s))
	}
	return n
}
