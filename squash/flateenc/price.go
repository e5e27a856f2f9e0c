package flateenc

import (
	"github.com/slotboot/slotboot/internal/lz/cost"
	"github.com/slotboot/slotboot/internal/lz/deflate"
)

// counts are the statistics of a block.
type counts struct{ deflate.Counts }

// Merge adds more.
func (c *counts) Merge(more *counts) {
	cost.Add(c.Symbol[:], more.Symbol[:])
	cost.Add(c.Distance[:], more.Distance[:])
}

// decay is cost.Decay of all counts.
func (c *counts) decay() {
	cost.Decay(c.Symbol[:])
	cost.Decay(c.Distance[:])
}

// Cost estimates the size of a block with the statistics of c and d together, without extra bits, in 1/256 bits.
func (c *counts) Cost(d *counts) uint64 {
	const end = 1 // of the block, a symbol
	sum := cost.Coded(c.Symbol[:], d.Symbol[:], end) + cost.Coded(c.Distance[:], d.Distance[:], 0)
	return uint64(max(0, sum)) + cost.Block
}

// prices are costs in 1/256 bits.
type prices struct {
	literal  [256]uint32
	length   [deflate.MaxMatch + 1]uint32
	distance [deflate.Distances]uint32 // with extra bits
}

// set computes prices from statistics: of a bit at least.
func (p *prices) set(c *counts) {
	var symbol [deflate.Symbols]uint32
	cost.SetPrices(symbol[:], c.Symbol[:], cost.Bit)
	cost.SetPrices(p.distance[:], c.Distance[:], cost.Bit)
	p.spread(&symbol)
}

// spread fills the prices of literals and lengths from those of their symbols, and adds the extra bits.
func (p *prices) spread(symbol *[deflate.Symbols]uint32) {
	copy(p.literal[:], symbol[:])
	for l := deflate.MinMatch; l <= deflate.MaxMatch; l++ {
		s, extra := deflate.LengthSymbol(l)
		p.length[l] = symbol[deflate.FirstLength+s] + uint32(extra)<<cost.FracBits
	}
	for s := range p.distance {
		p.distance[s] += uint32(deflate.DistanceExtra(s)) << cost.FracBits
	}
}
