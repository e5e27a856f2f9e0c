package zstdenc

import "math/bits"

// A block is looked at in parts of this many bytes or more; neighbours whose statistics agree stay together.
var partSize = xPart

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
	parts [128]part
	sum   counts
}

// split cuts the block in[from:to], which follows repeats r, into parts: a list that starts at parts[0].
func (p *splitter) split(in []byte, from, to int, r repeats, seqs []sequence) {
	n := p.collect(in, from, to, r, seqs)
	for i := range n {
		p.parts[i].cost = p.parts[i].stats.cost()
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
	p.sum = a.stats
	p.sum.merge(&p.parts[a.next].stats)
	a.pair = p.sum.cost()
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

// cost estimates the size of a block with these statistics, without extra bits, in 1/256 bits.
func (c *counts) cost() uint64 {
	cost := tableCost(c.literal[:], uint64(xPerL)) + uint64(xBase)*8*bitCost
	for k := range c.code {
		cost += tableCost(c.code[k][:], uint64(xPerC))
	}
	return cost
}

// tableCost is the cost of symbols and of a table with per bits for each that occurs.
func tableCost(count []uint32, per uint64) uint64 {
	total, distinct := uint32(0), uint64(0)
	for _, c := range count {
		if c > 0 {
			total += c
			distinct++
		}
	}
	return entropyCost(count, total) + distinct*per*bitCost
}
