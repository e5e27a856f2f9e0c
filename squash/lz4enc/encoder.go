package lz4enc

import (
	"fmt"
	"slices"

	"github.com/slotboot/slotboot/internal/lz/lz4block"
	"github.com/slotboot/slotboot/internal/lz/word"
)

// ID names the encoder's output: with the same ID and input, Encode writes the same bytes.
const ID = "slot-lz4/1"

// MaxInput is the most bytes one call of Encode takes: the largest squashfs block.
const MaxInput = 1 << 20

// The effort. A change of any number changes the output, and so needs a new ID.
const (
	depth   = 128 // steps along the chain of equal 5 bytes
	nice    = 64  // a match of this length is taken without looking inside it
	shorter = 24  // of a match, so many shorter ones are tried
)

const (
	tableLog = 16
	shift    = 64 - tableLog
)

// Encoder compresses blocks. It keeps 1 to 20 MB, by the largest block seen, for the next call. It must not be used by two
// goroutines at once: use one for each.
type Encoder struct {
	in    []byte // framed
	head4 []uint32
	head5 []uint32
	chain []uint32 // the position before with the same hash of 5 bytes
	found []match  // the longest of each position
	way   []step
}

// match of a length of 0 is none.
type match struct{ length, distance uint32 }

// step is the cheapest way from a position to the end.
type step struct {
	cost uint32 // bytes
	next uint32 // length of the match to take; 0: a literal
	run  uint32 // literals up to the next match
}

// New returns an Encoder.
func New() *Encoder {
	return &Encoder{head4: make([]uint32, 1<<tableLog), head5: make([]uint32, 1<<tableLog)}
}

// Encode appends src as one block to dst and returns the extended slice.
//
// It takes at most MaxInput bytes and panics beyond: the caller has chosen the block size. The block is at most a 255th and
// 16 bytes longer than src. src is not kept and not changed; dst must not overlap it.
func (e *Encoder) Encode(dst, src []byte) []byte {
	if len(src) > MaxInput {
		panic(fmt.Sprintf("lz4enc: encode %d bytes: want at most %d", len(src), MaxInput))
	}
	e.load(src)
	e.find(len(src))
	e.choose(len(src))
	return e.write(dst, src)
}

func (e *Encoder) load(src []byte) {
	e.in = word.Frame(e.in, src)
	size := len(e.in)
	clear(e.head4)
	clear(e.head5)
	e.chain = slices.Grow(e.chain[:0], size)[:size]
	e.found = slices.Grow(e.found[:0], size)[:size]
	e.way = slices.Grow(e.way[:0], size)[:size]
}

// find fills e.found. Inside of a match, only a longer one than what is left of it is looked for.
func (e *Encoder) find(n int) {
	in := e.in
	end := word.Front + n
	var have match // what is left of the match before
	for i := word.Front; i < end; i++ {
		e.found[i] = match{}
		if i+lz4block.LastMatch > end {
			continue
		}
		v := word.Load64(in, i)
		h4, h5 := word.Hash(v, word.First4, shift), word.Hash(v, word.First5, shift)
		c4, c5 := int(e.head4[h4]), int(e.head5[h5])
		e.head4[h4], e.head5[h5] = uint32(i), uint32(i)
		e.chain[i] = uint32(c5)
		if have.length > 0 {
			have.length--
		}
		best := have
		if have.length < lz4block.MinMatch {
			best = match{length: lz4block.MinMatch - 1}
		}
		if have.length < nice {
			best = e.search(i, c4, c5, end-lz4block.LastLiterals, best)
		}
		if best.length < lz4block.MinMatch {
			have = match{}
			continue
		}
		e.found[i], have = best, best
	}
}

// search returns the longest match of i that is longer than best.
func (e *Encoder) search(i, c4, c5, limit int, best match) match {
	in := e.in
	least := max(i-lz4block.MaxDistance, word.Front)
	if best.length < lz4block.MinMatch && c4 >= least && word.Load32(in, c4) == word.Load32(in, i) {
		best = match{uint32(word.Common(in, c4, i, limit)), uint32(i - c4)}
	}
	k := int(best.length) - 3
	tail := word.Load32(in, i+k)
	for n := depth; n > 0 && c5 >= least; n-- {
		if word.Load32(in, c5+k) == tail {
			if l := word.Common(in, c5, i, limit); l > int(best.length) {
				best = match{uint32(l), uint32(i - c5)}
				if l >= nice || i+l >= limit {
					break
				}
				k = l - 3
				tail = word.Load32(in, i+k)
			}
		}
		c5 = int(e.chain[c5])
	}
	return best
}

// choose fills e.way from the end.
func (e *Encoder) choose(n int) {
	end := word.Front + n
	e.way[end] = step{}
	for i := end - 1; i >= word.Front; i-- {
		after := &e.way[i+1]
		best := step{cost: after.cost + 1, run: after.run + 1}
		if r := after.run + 1; r >= 15 && (r-15)%255 == 0 {
			best.cost++ // the length of the literals takes another byte
		}
		m := e.found[i]
		if m.length >= nice {
			best = step{cost: e.way[i+int(m.length)].cost + 3 + lz4block.Extra(m.length-lz4block.MinMatch), next: m.length}
		} else {
			for l := max(lz4block.MinMatch, m.length-min(m.length, shorter)); l <= m.length; l++ {
				if c := e.way[i+int(l)].cost + 3 + lz4block.Extra(l-lz4block.MinMatch); c <= best.cost {
					best = step{cost: c, next: l}
				}
			}
		}
		e.way[i] = best
	}
}

// write appends the sequences of the way.
func (e *Encoder) write(dst, src []byte) []byte {
	anchor := 0
	for i := 0; i < len(src); {
		s := e.way[word.Front+i]
		if s.next == 0 {
			i += int(s.run) // to the next match, or to the end
			continue
		}
		dst = lz4block.AppendMatch(dst, src[anchor:i], int(e.found[word.Front+i].distance), int(s.next))
		i += int(s.next)
		anchor = i
	}
	return lz4block.AppendLast(dst, src[anchor:])
}
