package zstdenc

import "math/bits"

// A block is looked at in parts of this many bytes or more; neighbours whose statistics agree stay together.
const partSize = 1 << 10

// part is a run of sequences that share tables.
type part struct {
	seqs  int // how many; the literals at the end of a block belong to its last part
	plain int // bytes they produce
	lits  int // bytes of literals
	next  int // the part that follows, -1 for none
	cost  uint64
	pair  uint64 // the cost together with the next part
	stats counts
}

// splitter decides where a block is worth new tables.
type splitter struct {
	parts [maxBlock / partSize]part
	none  counts
}

// split cuts the block in[from:to], which follows repeats r, into parts: a list that starts at parts[0].
func (p *splitter) split(in []byte, from, to int, r repeats, seqs []sequence) {
	n := p.collect(in, from, to, r, seqs)
	for i := range n {
		p.parts[i].cost = p.parts[i].stats.cost(&p.none)
	}
	for i := range n - 1 {
		p.join(i)
	}
	for {
		best, gain := -1, int64(0)
		for i := 0; p.parts[i].next >= 0; i = p.parts[i].next {
			a := &p.parts[i]
			if g := int64(a.cost+p.parts[a.next].cost) - int64(a.pair); g > gain {
				best, gain = i, g
			}
		}
		if best < 0 {
			return
		}
		p.merge(best)
	}
}

// collect fills the first parts and returns how many there are.
func (p *splitter) collect(in []byte, from, to int, r repeats, seqs []sequence) int {
	n := 0
	q := &p.parts[0]
	*q = part{next: -1}
	for _, s := range seqs {
		if q.plain >= partSize && n+1 < len(p.parts) {
			q.next = n + 1
			n++
			q = &p.parts[n]
			*q = part{next: -1}
		}
		for _, b := range in[from : from+int(s.literals)] {
			q.stats.literal[b]++
		}
		var value uint32
		value, r = r.code(s.distance, s.literals)
		q.stats.code[kindLiterals][literalsCode(s.literals)]++
		q.stats.code[kindOffset][bits.Len32(value)-1]++
		q.stats.code[kindLength][lengthCode(s.length)]++
		q.seqs++
		q.plain += int(s.literals + s.length)
		q.lits += int(s.literals)
		from += int(s.literals + s.length)
	}
	for _, b := range in[from:to] {
		q.stats.literal[b]++
	}
	q.plain += to - from
	q.lits += to - from
	return n + 1
}

// join computes the cost of part i together with the next one.
func (p *splitter) join(i int) {
	a := &p.parts[i]
	a.pair = a.stats.cost(&p.parts[a.next].stats)
}

// merge makes one part of part i and the next.
func (p *splitter) merge(i int) {
	a := &p.parts[i]
	b := &p.parts[a.next]
	a.stats.merge(&b.stats)
	a.seqs, a.plain, a.lits, a.next, a.cost = a.seqs+b.seqs, a.plain+b.plain, a.lits+b.lits, b.next, a.pair
	if a.next >= 0 {
		p.join(i)
	}
	for j := 0; j < i; j = p.parts[j].next {
		if p.parts[j].next == i {
			p.join(j)
			break
		}
	}
}

func (c *counts) merge(d *counts) {
	for i, n := range d.literal {
		c.literal[i] += n
	}
	for k := range c.code {
		for i, n := range d.code[k] {
			c.code[k][i] += n
		}
	}
}

// symbolCost is about what a symbol adds to the description of its table.
const symbolCost = 4 * bitCost

// blockCost is what a block costs apart from its symbols: headers and the ends of its streams.
const blockCost = 20 * 8 * bitCost

// savedTab holds, for a symbol that occurs n times, n*log2(n) less symbolCost in 1/256 bits.
var savedTab = makeSavedTab()

func makeSavedTab() (tab [4096]int32) {
	for n := 1; n < len(tab); n++ {
		tab[n] = int32(n)*int32(log2(uint32(n))) - symbolCost
	}
	return tab
}

func saved(n uint32) int64 {
	if n < uint32(len(savedTab)) {
		return int64(savedTab[n])
	}
	return int64(n)*int64(log2(n)) - symbolCost
}

// cost estimates the size of a block with the statistics of c and d together, without extra bits, in 1/256 bits.
func (c *counts) cost(d *counts) uint64 {
	var sum int64
	lits, seqs := uint32(0), uint32(0)
	for i := range c.literal {
		n := c.literal[i] + d.literal[i]
		lits += n
		sum -= saved(n)
	}
	for i := range c.code[0] {
		n := c.code[0][i] + d.code[0][i]
		seqs += n
		sum -= saved(n) + saved(c.code[1][i]+d.code[1][i]) + saved(c.code[2][i]+d.code[2][i])
	}
	sum += int64(lits)*int64(log2(lits)) + 3*int64(seqs)*int64(log2(seqs))
	return uint64(max(0, sum)) + blockCost
}
