package zstdenc

import (
	"math/bits"

	"github.com/slotboot/slotboot/internal/lz/cost"
	"github.com/slotboot/slotboot/internal/lz/match"
	"github.com/slotboot/slotboot/internal/lz/word"
)

// window is the most positions between two points where the parser decides; ring is a power of two above it and a
// match that is priced.
const (
	window = 512
	ring   = 1024
)

// node is a position and the cheapest way to it.
type node struct {
	price    uint32
	length   uint32 // of the match that ends here; 0: a literal
	distance uint32
	run      uint32 // literals since the last match
	repeats  repeats
	_        uint32
}

// parser chooses the cheapest way through the matches of a block.
type parser struct {
	prices
	slack  uint32
	counts counts
	node   [ring]node
	back   []sequence
}

const unreached = 1 << 31

// longMatch is the length from which lazy takes a match as it is.
const longMatch = 4095

// lazy fills seqs quickly: the longest match, unless the next position has a longer one.
func lazy(f *match.Finder, from, to int, r repeats, seqs []sequence) []sequence {
	start := from
	for i := from; i < to; {
		var l, d int
		for _, dist := range [3]uint32{r.first, r.second, r.third} {
			if int(dist) < i && word.Load32(f.In, i) == word.Load32(f.In, i-int(dist)) {
				if n := word.Common(f.In, i-int(dist), i, to); n > l && n >= minMatch {
					l, d = n, int(dist)
				}
			}
		}
		m := f.Last(i)
		if n := min(m.Length(), longMatch); n > l+1 && n > 3+bits.Len(uint(m.Distance()))/8 {
			l, d = n, m.Distance()
		}
		if l == 0 {
			i++
			continue
		}
		if i+1 < to && l < 32 && f.Last(i+1).Length() > l+1 {
			i++
			continue
		}
		if l >= longMatch {
			// What was found may reach beyond to: prime looks at the beginning of a block only.
			if l = word.Common(f.In, i-d, i, to); l < minMatch {
				i++
				continue
			}
		}
		seqs = append(seqs, sequence{uint32(i - start), uint32(l), uint32(d)})
		_, r = r.code(uint32(d), uint32(i-start))
		i += l
		start = i
	}
	return seqs
}

// parse appends the sequences of the cheapest way through in[from:to].
func (p *parser) parse(f *match.Finder, from, to int, r repeats, seqs []sequence) []sequence {
	s := node{repeats: r}
	p.set(&p.counts)
	done, known, start := len(seqs), from, from
	for i := from; i < to; {
		if f.None(i) && !s.repeatAt(f.In, i, to) {
			s.run++
			i++
			continue
		}
		i, seqs = p.segment(f, to, i, &s, seqs)
		if i-known >= cost.Step {
			p.counts.decay()
			start, r = p.counts.add(f.In, start, seqs[done:], r, cost.Weight)
			done, known = len(seqs), i
			p.set(&p.counts)
		}
	}
	return seqs
}

// repeatAt tells whether a repeated distance matches at i, the position of the node.
func (n *node) repeatAt(in []byte, i, to int) bool {
	v := word.Load32(in, i)
	a, b, c := n.repeats.candidates(n.run)
	for _, d := range [3]uint32{a, b, c} {
		if d-1 < uint32(i-word.Front) && (word.Load32(in, i-int(d))^v)<<8 == 0 && to-i >= minMatch {
			return true
		}
	}
	return false
}

// segment parses from position start, where a match begins, until all paths meet. s is the state there and becomes
// the state at the end, which is returned.
func (p *parser) segment(f *match.Finder, to, start int, s *node, seqs []sequence) (int, []sequence) {
	in, nodes, nice := f.In, &p.node, f.Nice
	nodes[0] = node{run: s.run, repeats: s.repeats}
	nodes[1].price = unreached
	end := 0 // the last position reached
	cur := 0
	for ; ; cur++ {
		i := start + cur
		n := &nodes[cur&(ring-1)]
		if cur > 0 {
			b := &nodes[(cur-1)&(ring-1)]
			if c := b.price + p.literal[in[i-1]] + p.runStep[min(b.run, priceRuns-1)]; c < n.price {
				n.price, n.length, n.run, n.repeats = c, 0, b.run+1, b.repeats
			} else {
				b = &nodes[(cur-int(n.length))&(ring-1)]
				n.run, n.repeats = 0, b.repeats.after(n.distance)
			}
			if cur == end || cur >= window {
				break
			}
			if nodes[(cur+1)&(ring-1)].price <= n.price+p.slack {
				continue // somebody already gets further for about the same price
			}
		}
		base := n.price + p.run[0]
		v := word.Load32(in, i)
		a, b, c := n.repeats.candidates(n.run)
		for k := range 3 {
			d := a
			a, b = b, c
			if d-1 >= uint32(i-word.Front) || (word.Load32(in, i-int(d))^v)<<8 != 0 || i+minMatch > to {
				continue
			}
			l := word.Common(in, i-int(d), i, to)
			if l >= nice {
				return p.finish(cur, i, l, d, s, seqs)
			}
			end = p.offer(cur, end, minMatch, l, base+p.offset[(k+1)>>1], d)
		}
		low := minMatch
		for _, m := range f.At(i) {
			l, d := m.Length(), uint32(m.Distance())
			if l >= nice {
				return p.finish(cur, i, word.Common(in, i-int(d), i, to), d, s, seqs)
			}
			end = p.offer(cur, end, low, l, base+p.offset[uint8(bits.Len32(d+3)-1)&(offsetCodes-1)], d)
			low = l + 1
		}
		if cur == end { // only at the start: what looked like a match was none
			end++
			nodes[1].price, nodes[2].price = unreached, unreached
		}
	}
	seqs = p.collect(cur, seqs)
	*s = nodes[cur&(ring-1)]
	return start + cur, seqs
}

// offer proposes matches of length low to high at position cur and returns the last position reached.
func (p *parser) offer(cur, end, low, high int, base, distance uint32) int {
	for end < cur+high {
		end++
		p.node[end&(ring-1)].price = unreached
	}
	p.node[(end+1)&(ring-1)].price = unreached
	for l := low; l <= high; l++ {
		n := &p.node[(cur+l)&(ring-1)]
		if c := base + p.length[l&(priceLengths-1)]; c < n.price {
			n.price, n.length, n.distance = c, uint32(l), distance
		}
	}
	return end
}

// finish ends the segment with a match of length l at position cur.
func (p *parser) finish(cur, i, l int, d uint32, s *node, seqs []sequence) (int, []sequence) {
	n := &p.node[cur]
	seqs = append(p.collect(cur, seqs), sequence{n.run, uint32(l), d})
	*s = node{repeats: n.repeats.after(d)}
	return i + l, seqs
}

// collect appends the sequences of the path to cur.
func (p *parser) collect(cur int, seqs []sequence) []sequence {
	p.back = p.back[:0]
	for i := cur; i > 0; {
		n := &p.node[i&(ring-1)]
		if n.length == 0 {
			i--
			continue
		}
		i -= int(n.length)
		p.back = append(p.back, sequence{p.node[i&(ring-1)].run, n.length, n.distance})
	}
	for k := len(p.back) - 1; k >= 0; k-- {
		seqs = append(seqs, p.back[k])
	}
	return seqs
}
