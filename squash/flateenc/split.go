package flateenc

// A chunk is looked at in parts of this many bytes or more; neighbours whose statistics agree stay together.
const partSize = 1 << 10

// part is a run of tokens that share their codes.
type part struct {
	tokens int // how many
	plain  int // bytes they stand for
	next   int // the part that follows, -1 for none
	cost   uint64
	pair   uint64 // the cost together with the next part
	stats  counts
}

// splitter decides where a chunk is worth new codes.
type splitter struct {
	parts [chunkSize / partSize]part
	none  counts
}

// split cuts tokens into parts: a list that starts at parts[0].
func (p *splitter) split(tokens []token) {
	n := p.collect(tokens)
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
func (p *splitter) collect(tokens []token) int {
	n := 0
	q := &p.parts[0]
	*q = part{next: -1}
	begin := 0
	for i, t := range tokens {
		if q.plain >= partSize && n+1 < len(p.parts) {
			q.stats.add(tokens[begin:i], 1)
			begin = i
			n++
			q.next = n
			q = &p.parts[n]
			*q = part{next: -1}
		}
		q.tokens++
		q.plain += t.plain()
	}
	q.stats.add(tokens[begin:], 1)
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
	a.tokens, a.plain, a.next, a.cost = a.tokens+b.tokens, a.plain+b.plain, b.next, a.pair
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

// symbolCost is about what a symbol adds to the description of its code, blockCost what a block has besides.
const (
	symbolCost = 4 * bitCost
	blockCost  = 20 * 8 * bitCost
)

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
	all, far := uint32(1), uint32(0) // the end of the block is one
	for i := range c.symbol {
		n := c.symbol[i] + d.symbol[i]
		all += n
		sum -= saved(n)
	}
	for i := range c.distance {
		n := c.distance[i] + d.distance[i]
		far += n
		sum -= saved(n)
	}
	sum += int64(all)*int64(log2(all)) + int64(far)*int64(log2(far))
	return uint64(max(0, sum)) + blockCost
}
