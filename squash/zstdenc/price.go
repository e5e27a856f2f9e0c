package zstdenc

import (
	"math/bits"

	"github.com/slotboot/slotboot/internal/lz/cost"
)

// priceLengths is how many match lengths have their own price; longer matches are taken unpriced.
const priceLengths = 256

// priceRuns is how many lengths of literal runs have their own price.
const priceRuns = 256

// counts are the statistics of a block.
type counts struct {
	literal [256]uint32
	code    [kinds][fseMaxSymbols]uint32
}

// addFrom counts the sequences of the block in[from:to], which follows repeats r, and the literals after them.
func (c *counts) addFrom(in []byte, from, to int, seqs []sequence, r repeats) {
	from, _ = c.add(in, from, seqs, r, 1)
	c.addLiterals(in[from:max(from, to)])
}

func (c *counts) addLiterals(lits []byte) {
	for _, b := range lits {
		c.literal[b]++
	}
}

// add counts seqs, which begin at in[from] after repeats r, w times, and returns their end and the repeats there.
func (c *counts) add(in []byte, from int, seqs []sequence, r repeats, w uint32) (int, repeats) {
	for _, s := range seqs {
		for _, b := range in[from : from+int(s.literals)] {
			c.literal[b] += w
		}
		var value uint32
		value, r = r.code(s.distance, s.literals)
		c.code[kindLiterals][literalsCode(s.literals)] += w
		c.code[kindOffset][bits.Len32(value)-1] += w
		c.code[kindLength][lengthCode(s.length)] += w
		from += int(s.literals + s.length)
	}
	return from, r
}

// prices are costs in 1/256 bits.
type prices struct {
	literal [256]uint32
	run     [priceRuns + 1]uint32 // of a run of so many literals
	offset  [offsetCodes]uint32   // with extra bits
	length  [priceLengths]uint32
	runStep [priceRuns]uint32 // run[n+1]-run[n], modulo 1<<32
}

// set computes prices from statistics.
func (p *prices) set(c *counts) {
	cost.SetPrices(p.literal[:], c.literal[:], cost.Bit/2)
	var code [fseMaxSymbols]uint32
	cost.SetPrices(code[:literalsCodes], c.code[kindLiterals][:literalsCodes], 0)
	for n := range p.run {
		k := literalsCode(uint32(n))
		p.run[n] = code[k] + uint32(literalsExtra[k])<<cost.FracBits
	}
	for n := range p.runStep {
		p.runStep[n] = p.run[n+1] - p.run[n]
	}
	cost.SetPrices(code[:lengthCodes], c.code[kindLength][:lengthCodes], 0)
	for n := minMatch; n < len(p.length); n++ {
		k := lengthCode(uint32(n))
		p.length[n] = code[k] + uint32(lengthExtra[k])<<cost.FracBits
	}
	cost.SetPrices(p.offset[:], c.code[kindOffset][:offsetCodes], 0)
	for k := range p.offset {
		p.offset[k] += uint32(k) << cost.FracBits
	}
	for k := range p.offset[:2] { // values 1 to 3
		p.offset[k] -= min(p.offset[k], repeatBonus)
	}
}

// repeatBonus makes a repeated distance cheaper than its code says: it keeps the other two at hand. Half a bit each
// saves 0.05 %.
const repeatBonus = cost.Bit / 2

// decay is cost.Decay of all counts.
func (c *counts) decay() {
	cost.Decay(c.literal[:])
	for k := range c.code {
		cost.Decay(c.code[k][:])
	}
}

// Merge adds more.
func (c *counts) Merge(more *counts) {
	cost.Add(c.literal[:], more.literal[:])
	for k := range c.code {
		cost.Add(c.code[k][:], more.code[k][:])
	}
}

// Cost estimates the size of a block with the statistics of c and d together, without extra bits, in 1/256 bits.
func (c *counts) Cost(d *counts) uint64 {
	sum := cost.Coded(c.literal[:], d.literal[:], 0)
	for k := range c.code {
		sum += cost.Coded(c.code[k][:], d.code[k][:], 0)
	}
	return uint64(max(0, sum)) + cost.Block
}
