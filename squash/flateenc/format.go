package flateenc

import "math/bits"

// The alphabets of deflate (RFC 1951, 3.2.5 to 3.2.7).
const (
	minMatch     = 3
	maxMatch     = 258
	maxDistance  = 32 << 10
	endOfBlock   = 256
	firstLength  = 257 // the symbol of a match of 3 bytes
	symbols      = 286 // literals, the end and lengths
	fixedSymbols = 288 // two never occur, but move other codes
	distances    = 30
	maxBits      = 15
	lengthCodes  = 19
	maxCodeBits  = 7
	storedMax    = 65535
	blockStored  = 0
	blockFixed   = 1
	blockDynamic = 2
)

// codeOrder is the order in which the lengths of the code of code lengths are sent.
var codeOrder = [lengthCodes]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbol holds, for each length less minMatch, its symbol less firstLength; lengthExtra and lengthBase what comes
// with a symbol.
var (
	lengthSymbol = makeLengthSymbols()
	lengthExtra  [symbols - firstLength]uint8
	lengthBase   [symbols - firstLength]uint16
)

func makeLengthSymbols() (tab [maxMatch - minMatch + 1]uint8) {
	v := 0
	for s := range symbols - firstLength - 1 {
		extra := max(s/4-1, 0)
		lengthExtra[s], lengthBase[s] = uint8(extra), uint16(v)
		for range 1 << extra {
			if v < len(tab) {
				tab[v] = uint8(s)
			}
			v++
		}
	}
	const last = symbols - firstLength - 1 // 258 has a symbol of its own
	lengthExtra[last], lengthBase[last] = 0, maxMatch-minMatch
	tab[maxMatch-minMatch] = last
	return tab
}

// distanceSymbol returns the symbol of a distance and how many extra bits it has.
func distanceSymbol(distance uint32) (symbol, extra uint32) {
	v := distance - 1
	if v < 4 {
		return v, 0
	}
	n := uint32(bits.Len32(v)) - 2
	return n*2 + v>>n&3, n
}

// fixedBits is the length of a symbol in the code that needs no description (RFC 1951, 3.2.6).
func fixedBits(symbol int) uint8 {
	switch {
	case symbol < 144:
		return 8
	case symbol < 256:
		return 9
	case symbol < 280:
		return 7
	}
	return 8
}
