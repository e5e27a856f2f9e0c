package flateenc

import "math/bits"

// The costs are fixed point, so that every machine takes the same decisions.
const (
	fracBits = 8
	bitCost  = 1 << fracBits
)

const log2Steps = 1 << 9

// log2Tab holds log2(1+i/512) in 1/256 bits.
var log2Tab = makeLog2Tab()

func makeLog2Tab() (tab [log2Steps]uint16) {
	for i := range tab {
		// Square the mantissa again and again: each time it passes 2 is a one bit of its logarithm.
		x := uint64(log2Steps+i) << 22 // 1.0 is 1<<31
		var log uint32
		for range fracBits + 2 {
			x = x * x >> 31
			log <<= 1
			if x >= 1<<32 {
				x >>= 1
				log |= 1
			}
		}
		tab[i] = uint16((log + 2) >> 2)
	}
	return tab
}

// log2 is log2(v) in 1/256 bits, v > 0; beyond the first ten bits v is cut.
func log2(v uint32) uint32 {
	n := uint32(31 - bits.LeadingZeros32(v|1))
	m := v << (31 - n) >> (31 - 9) & (log2Steps - 1)
	return n<<fracBits + uint32(log2Tab[m])
}

// token is one step of a parse: a literal, or a match with the length less minMatch in bits 16 to 23 and the distance in
// the low 16 bits.
type token uint32

const matchToken = 1 << 31

func literalToken(b byte) token { return token(b) }

func makeToken(length, distance uint32) token {
	return token(matchToken | (length-minMatch)<<16 | distance)
}

func (t token) isMatch() bool    { return t&matchToken != 0 }
func (t token) length() uint32   { return uint32(t)>>16&0xff + minMatch }
func (t token) distance() uint32 { return uint32(t) & 0xffff }

// plain is how many bytes a token stands for.
func (t token) plain() int {
	if t.isMatch() {
		return int(t.length())
	}
	return 1
}

// counts are the statistics of a block.
type counts struct {
	symbol   [symbols]uint32
	distance [distances]uint32
}

func (c *counts) add(tokens []token, weight uint32) {
	for _, t := range tokens {
		if !t.isMatch() {
			c.symbol[uint8(t)] += weight
			continue
		}
		s, _ := distanceSymbol(t.distance())
		c.symbol[firstLength+int(lengthSymbol[uint8(t>>16)])] += weight
		c.distance[s] += weight
	}
}

func (c *counts) merge(d *counts) {
	for i, n := range d.symbol {
		c.symbol[i] += n
	}
	for i, n := range d.distance {
		c.distance[i] += n
	}
}

// decay takes a part from all counts, so that later ones weigh more.
func (c *counts) decay() {
	for i, n := range c.symbol {
		c.symbol[i] = n - n/adaptDecay
	}
	for i, n := range c.distance {
		c.distance[i] = n - n/adaptDecay
	}
}

// prices are costs in 1/256 bits.
type prices struct {
	literal  [256]uint32
	length   [maxMatch + 1]uint32
	distance [distances]uint32 // with extra bits
}

// unseen is twice what each symbol counts beside its real counts, so that prices of rare symbols do not jump.
const unseen = 8

// setPrices fills price with -log2 of the share of each count, a bit at least.
func setPrices(price, count []uint32) {
	total := uint32(0)
	for _, c := range count {
		total += c*2 + unseen
	}
	logTotal := log2(total)
	for i, c := range count {
		price[i] = max(logTotal-log2(c*2+unseen), bitCost)
	}
}

// set computes prices from statistics.
func (p *prices) set(c *counts) {
	var symbol [symbols]uint32
	setPrices(symbol[:], c.symbol[:])
	setPrices(p.distance[:], c.distance[:])
	p.spread(&symbol)
}

// spread fills the prices of literals and lengths from those of their symbols, and adds the extra bits.
func (p *prices) spread(symbol *[symbols]uint32) {
	copy(p.literal[:], symbol[:])
	for l := minMatch; l <= maxMatch; l++ {
		s := lengthSymbol[l-minMatch]
		p.length[l] = symbol[firstLength+int(s)] + uint32(lengthExtra[s])<<fracBits
	}
	for s := range p.distance {
		p.distance[s] += uint32(max(s/2-1, 0)) << fracBits
	}
}
