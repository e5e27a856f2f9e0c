package zstdenc

import "math/bits"

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
	for _, b := range in[from:max(from, to)] {
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
	setPrices(p.literal[:], c.literal[:])
	for i := range p.literal {
		p.literal[i] = max(p.literal[i], bitCost/2)
	}
	var code [fseMaxSymbols]uint32
	setPrices(code[:literalsCodes], c.code[kindLiterals][:literalsCodes])
	for n := range p.run {
		k := literalsCode(uint32(n))
		p.run[n] = code[k] + uint32(literalsExtra[k])<<fracBits
	}
	for n := range p.runStep {
		p.runStep[n] = p.run[n+1] - p.run[n]
	}
	setPrices(code[:lengthCodes], c.code[kindLength][:lengthCodes])
	for n := minMatch; n < len(p.length); n++ {
		k := lengthCode(uint32(n))
		p.length[n] = code[k] + uint32(lengthExtra[k])<<fracBits
	}
	setPrices(p.offset[:], c.code[kindOffset][:offsetCodes])
	for k := range p.offset {
		p.offset[k] += uint32(k) << fracBits
	}
	for k := range p.offset[:2] { // values 1 to 3
		p.offset[k] -= min(p.offset[k], repeatBonus)
	}
}

// repeatBonus makes a repeated distance cheaper than its code says: it keeps the other two at hand. Half a bit each
// saves 0.05 %.
const repeatBonus = bitCost / 2

// unseen is twice what each symbol counts beside its real counts, which adaptWeight multiplies: so prices of rare
// symbols do not jump. 8 instead of 1 saves 0.1 %.
const unseen = 8

// setPrices fills price with -log2 of the share of each count.
func setPrices(price, count []uint32) {
	total := uint32(0)
	for _, c := range count {
		total += c*2 + unseen
	}
	logTotal := log2(total)
	for i, c := range count {
		price[i] = logTotal - log2(c*2+unseen)
	}
}

// decay takes an eighth from all counts.
func (c *counts) decay() {
	for i, n := range c.literal {
		c.literal[i] = n - n/adaptDecay
	}
	for k := range c.code {
		for i, n := range c.code[k] {
			c.code[k][i] = n - n/adaptDecay
		}
	}
}
