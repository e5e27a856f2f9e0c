package deflate

import "math/bits"

// Code is a canonical Huffman code: of each symbol the bits as they are written, first bit lowest, and their number.
type Code struct {
	bits   [fixedSymbols]uint16
	Length [fixedSymbols]uint8
}

// Assign gives the codes of RFC 1951, 3.2.2 to the lengths of the first n symbols.
func (c *Code) Assign(n int) {
	var count, next [MaxBits + 2]uint16
	for _, l := range c.Length[:n] {
		count[l]++
	}
	count[0] = 0
	for l := 1; l <= MaxBits; l++ {
		next[l+1] = (next[l] + count[l]) << 1
	}
	for s, l := range c.Length[:n] {
		if l > 0 {
			c.bits[s] = bits.Reverse16(next[l]) >> (16 - l)
			next[l]++
		}
	}
}

var fixedSymbol, fixedDistance = makeFixed()

// Fixed returns the codes that need no description (RFC 1951, 3.2.6). They must not be changed.
func Fixed() (symbol, distance *Code) { return &fixedSymbol, &fixedDistance }

func makeFixed() (symbol, distance Code) {
	for s := range symbol.Length {
		switch {
		case s < 144:
			symbol.Length[s] = 8
		case s < 256:
			symbol.Length[s] = 9
		case s < 280:
			symbol.Length[s] = 7
		default:
			symbol.Length[s] = 8
		}
	}
	for s := range Distances {
		distance.Length[s] = 5
	}
	symbol.Assign(fixedSymbols)
	distance.Assign(Distances)
	return symbol, distance
}

// SentSymbols and SentDistances are how many lengths of a code are sent; those behind are 0.
func (c *Code) SentSymbols() int { return c.sent(Symbols, FirstLength) }

// SentDistances is described with SentSymbols.
func (c *Code) SentDistances() int { return c.sent(Distances, 1) }

func (c *Code) sent(n, least int) int {
	for n > least && c.Length[n-1] == 0 {
		n--
	}
	return n
}

// Run is a symbol of a description of codes (RFC 1951, 3.2.7): a length, or 16 to 18 with extra bits, above bit 5.
type Run uint16

// MakeRun returns the run of a symbol and its extra bits.
func MakeRun(symbol, extra int) Run { return Run(symbol | extra<<5) }

// Symbol is that of the code of code lengths.
func (r Run) Symbol() int { return int(r & 31) }

// extraBits is how many extra bits a symbol of a description has.
func extraBits(symbol int) int {
	switch symbol {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

// Description says what the codes of a block are.
type Description struct {
	Symbol, Distance *Code
	Lengths          *Code // of the symbols of runs
	Runs             []Run // the lengths of the symbols sent, then of the distances
}

// Size is the bits of a description with its Runs, and of the header of the block.
func (d *Description) Size() int {
	n := 3 + 5 + 5 + 4 + 3*d.codes()
	for _, r := range d.Runs {
		n += int(d.Lengths.Length[r.Symbol()]) + extraBits(r.Symbol())
	}
	return n
}

// codes is how many lengths of d.Lengths are sent.
func (d *Description) codes() int {
	n := CodeLengths
	for n > 4 && d.Lengths.Length[codeOrder[n-1]] == 0 {
		n--
	}
	return n
}
