// Package split cuts what a parser has chosen into parts that are worth codes of their own.
package split

import (
	"iter"

	"github.com/slotboot/slotboot/internal/lz/match"
)

// partSize is the plain bytes of a part before parts are joined, or more.
const partSize = 1 << 10

// Part is a run of the parser's steps that share their codes.
type Part[S any] struct {
	Steps    int // how many
	Plain    int // bytes they stand for
	Literals int // bytes of them that do not come from matches, if the format wants to know
	Stats    S
	next     int // the part that follows, -1 for none
	cost     uint64
	pair     uint64 // the cost together with the next part
}

// Stats are the statistics of a part: how often each symbol occurs.
type Stats[S any] interface {
	*S
	Merge(more *S)       // adds more
	Cost(more *S) uint64 // of a block with these symbols and more, in 1/256 bits
}

// Splitter decides where a chunk is worth new codes. The caller spreads the steps over parts with First and Next; Join then
// joins neighbours until no two would be cheaper together.
type Splitter[S any, P Stats[S]] struct {
	parts [match.ChunkSize / partSize]Part[S]
	n     int
	none  S
}

// First begins a chunk with an empty part.
func (p *Splitter[S, P]) First() *Part[S] {
	p.n = 1
	p.parts[0] = Part[S]{next: -1}
	return &p.parts[0]
}

// Next returns the part that the next step goes to: q, the one of the step before, until that is large enough, then a new
// one.
func (p *Splitter[S, P]) Next(q *Part[S]) *Part[S] {
	if q.Plain < partSize || p.n == len(p.parts) {
		return q
	}
	q.next = p.n
	q = &p.parts[p.n]
	*q = Part[S]{next: -1}
	p.n++
	return q
}

// Join joins neighbours, those first that gain most.
func (p *Splitter[S, P]) Join() {
	for i := range p.n {
		p.parts[i].cost = P(&p.parts[i].Stats).Cost(&p.none)
	}
	for i := range p.n - 1 {
		p.weigh(i)
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

// weigh computes the cost of part i together with the next one.
func (p *Splitter[S, P]) weigh(i int) {
	a := &p.parts[i]
	a.pair = P(&a.Stats).Cost(&p.parts[a.next].Stats)
}

// merge makes one part of part i and the next.
func (p *Splitter[S, P]) merge(i int) {
	a := &p.parts[i]
	b := &p.parts[a.next]
	P(&a.Stats).Merge(&b.Stats)
	a.Steps, a.Plain, a.Literals = a.Steps+b.Steps, a.Plain+b.Plain, a.Literals+b.Literals
	a.next, a.cost = b.next, a.pair
	if a.next >= 0 {
		p.weigh(i)
	}
	for j := 0; j < i; j = p.parts[j].next {
		if p.parts[j].next == i {
			p.weigh(j)
			break
		}
	}
}

// All yields the parts in order, and of each whether it is the last.
func (p *Splitter[S, P]) All() iter.Seq2[*Part[S], bool] {
	return func(yield func(*Part[S], bool) bool) {
		for i := 0; i >= 0; i = p.parts[i].next {
			if !yield(&p.parts[i], p.parts[i].next < 0) {
				return
			}
		}
	}
}
