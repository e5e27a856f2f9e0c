package flateenc

import (
	"github.com/slotboot/slotboot/internal/lz/cost"
	"github.com/slotboot/slotboot/internal/lz/deflate"
	"github.com/slotboot/slotboot/internal/lz/match"
)

// window is the most positions between two points where the parser decides; ring is a power of two above it and a match.
const (
	window = 512
	ring   = 1024
)

// node is a position and the cheapest way to it.
type node struct {
	price    uint32
	length   uint16 // of the match that ends here; 0: a literal
	distance uint16
}

// parser chooses the cheapest way through the matches of a chunk.
type parser struct {
	prices
	counts counts
	node   [ring]node
	back   []deflate.Token
	way    []node // of again
}

const unreached = 1 << 31

// lazy fills tokens quickly: the longest match, unless the next position has a longer one.
func lazy(f *match.Finder, from, to int, tokens []deflate.Token) []deflate.Token {
	for i := from; i < to; {
		m := f.Last(i)
		if l := m.Length(); l < deflate.MinMatch || l > to-i || l < to-i && i+1 < to && f.Last(i+1).Length() > l {
			tokens = append(tokens, deflate.Literal(f.In[i]))
			i++
			continue
		}
		tokens = append(tokens, deflate.Match(uint32(m.Length()), uint32(m.Distance())))
		i += m.Length()
	}
	return tokens
}

// parse appends the tokens of the cheapest way through in[from:to] by prices that follow it.
func (p *parser) parse(f *match.Finder, from, to int, tokens []deflate.Token) []deflate.Token {
	p.set(&p.counts)
	done, known := len(tokens), from
	for i := from; i < to; {
		if f.None(i) {
			tokens = append(tokens, deflate.Literal(f.In[i]))
			i++
			continue
		}
		i, tokens = p.segment(f, i, tokens)
		if i-known >= cost.Step {
			p.counts.decay()
			p.counts.Add(tokens[done:], cost.Weight)
			done, known = len(tokens), i
			p.set(&p.counts)
		}
	}
	return tokens
}

// segment parses from position start, where a match begins, until all paths meet, and returns where.
func (p *parser) segment(f *match.Finder, start int, tokens []deflate.Token) (int, []deflate.Token) {
	in, nodes := f.In, &p.node
	nodes[0] = node{}
	nodes[1].price = unreached
	end := 0 // the last position reached
	cur := 0
	for ; ; cur++ {
		i := start + cur
		n := &nodes[cur&(ring-1)]
		if cur > 0 {
			if c := nodes[(cur-1)&(ring-1)].price + p.literal[in[i-1]]; c < n.price {
				*n = node{price: c}
			}
			if cur >= end || cur >= window {
				break
			}
			if nodes[(cur+1)&(ring-1)].price <= n.price+slack {
				continue // somebody already gets further for about the same price
			}
		}
		low := deflate.MinMatch
		for _, m := range f.At(i) {
			l, d := m.Length(), uint32(m.Distance())
			if l >= nice {
				tokens = append(p.collect(in, start, cur, tokens), deflate.Match(uint32(l), d))
				return i + l, tokens
			}
			s, _ := deflate.DistanceSymbol(d)
			base := n.price + p.distance[s]
			for end < cur+l {
				end++
				nodes[end&(ring-1)].price = unreached
			}
			nodes[(end+1)&(ring-1)].price = unreached
			for ; low <= l; low++ {
				to := &nodes[(cur+low)&(ring-1)]
				if c := base + p.length[low]; c < to.price {
					*to = node{c, uint16(low), uint16(d)}
				}
			}
		}
	}
	return start + cur, p.collect(in, start, cur, tokens)
}

// collect appends the tokens of the path from start to cur.
func (p *parser) collect(in []byte, start, cur int, tokens []deflate.Token) []deflate.Token {
	p.back = p.back[:0]
	for i := cur; i > 0; {
		n := &p.node[i&(ring-1)]
		if n.length == 0 {
			i--
			p.back = append(p.back, deflate.Literal(in[start+i]))
			continue
		}
		i -= int(n.length)
		p.back = append(p.back, deflate.Match(uint32(n.length), uint32(n.distance)))
	}
	for k := len(p.back) - 1; k >= 0; k-- {
		tokens = append(tokens, p.back[k])
	}
	return tokens
}

// again appends the tokens of the cheapest way through in[a:b], a part of the chunk, by prices that stay. It goes
// backwards: each position takes the cheapest step to one whose rest is known.
func (p *parser) again(f *match.Finder, a, b int, tokens []deflate.Token) []deflate.Token {
	if len(p.way) < b-a+1 {
		p.way = make([]node, match.ChunkSize+1)
	}
	way := p.way[:b-a+1]
	way[b-a] = node{}
	for i := b - 1; i >= a; i-- {
		best := node{price: way[i-a+1].price + p.literal[f.In[i]]}
		low := deflate.MinMatch
		for _, m := range f.At(i) {
			l, d := min(m.Length(), b-i), uint32(m.Distance())
			s, _ := deflate.DistanceSymbol(d)
			base := p.distance[s]
			if l >= nice {
				low = l
			}
			for ; low <= l; low++ {
				if c := base + p.length[low] + way[i-a+low].price; c < best.price {
					best = node{c, uint16(low), uint16(d)}
				}
			}
		}
		way[i-a] = best
	}
	for i := a; i < b; {
		n := way[i-a]
		if n.length == 0 {
			tokens = append(tokens, deflate.Literal(f.In[i]))
			i++
			continue
		}
		tokens = append(tokens, deflate.Match(uint32(n.length), uint32(n.distance)))
		i += int(n.length)
	}
	return tokens
}
