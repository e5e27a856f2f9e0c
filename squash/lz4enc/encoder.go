package lz4enc

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// ID names the encoder's output: with the same ID and input, Encode writes the same bytes.
const ID = "slot-lz4/1"

// MaxInput is the most bytes one call of Encode takes: the largest squashfs block.
const MaxInput = 1 << 20

// What the format asks for: the shortest match, the furthest, how many bytes at the end are literals, and how far from the
// end the last match begins at the latest.
const (
	minMatch    = 4
	maxDistance = 65535
	lastPlain   = 5
	lastMatch   = 12
)

// The effort. A change of any number changes the output, and so needs a new ID.
const (
	depth   = 128 // steps along the chain of equal 5 bytes
	nice    = 64  // a match of this length is taken without looking inside it
	shorter = 24  // of a match, so many shorter ones are tried
)

// Input positions start at 1, so that 0 in a table means "none".
const (
	front    = 1
	pad      = 16
	tableLog = 16
)

// Encoder compresses blocks. It keeps 1 to 20 MB, by the largest block seen, for the next call. It must not be used by two
// goroutines at once: use one for each.
type Encoder struct {
	in    []byte // front bytes, the input, pad zeros
	head4 []uint32
	head5 []uint32
	chain []uint32 // the position before with the same hash of 5 bytes
	found []match  // the longest match of each position
	way   []step
}

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
	size := front + len(src) + pad
	e.in = slices.Grow(e.in[:0], size)[:size]
	copy(e.in[front:], src)
	clear(e.in[front+len(src):])
	clear(e.head4)
	clear(e.head5)
	e.chain = slices.Grow(e.chain[:0], size)[:size]
	e.found = slices.Grow(e.found[:0], size)[:size]
	e.way = slices.Grow(e.way[:0], size)[:size]
}

// find fills e.found. Inside of a match, only a longer one than what is left of it is looked for.
func (e *Encoder) find(n int) {
	in := e.in
	end := front + n
	var have match // what is left of the match before
	for i := front; i < end; i++ {
		e.found[i] = match{}
		if i+lastMatch > end {
			continue
		}
		v := load64(in, i)
		h4, h5 := hash4(v), hash5(v)
		c4, c5 := int(e.head4[h4]), int(e.head5[h5])
		e.head4[h4], e.head5[h5] = uint32(i), uint32(i)
		e.chain[i] = uint32(c5)
		if have.length > 0 {
			have.length--
		}
		best := have
		if have.length < minMatch {
			best = match{length: minMatch - 1}
		}
		if have.length < nice {
			best = e.search(i, c4, c5, end-lastPlain, best)
		}
		if best.length < minMatch {
			have = match{}
			continue
		}
		e.found[i], have = best, best
	}
}

// search returns the longest match of i that is longer than best.
func (e *Encoder) search(i, c4, c5, limit int, best match) match {
	in := e.in
	least := max(i-maxDistance, front)
	if best.length < minMatch && c4 >= least && load32(in, c4) == load32(in, i) {
		best = match{uint32(common(in, c4, i, limit)), uint32(i - c4)}
	}
	k := int(best.length) - 3
	tail := load32(in, i+k)
	for n := depth; n > 0 && c5 >= least; n-- {
		if load32(in, c5+k) == tail {
			if l := common(in, c5, i, limit); l > int(best.length) {
				best = match{uint32(l), uint32(i - c5)}
				if l >= nice || i+l >= limit {
					break
				}
				k = l - 3
				tail = load32(in, i+k)
			}
		}
		c5 = int(e.chain[c5])
	}
	return best
}

// choose fills e.way from the end.
func (e *Encoder) choose(n int) {
	end := front + n
	e.way[end] = step{}
	for i := end - 1; i >= front; i-- {
		after := &e.way[i+1]
		best := step{cost: after.cost + 1, run: after.run + 1}
		if r := after.run + 1; r >= 15 && (r-15)%255 == 0 {
			best.cost++ // the length of the literals takes another byte
		}
		m := e.found[i]
		if m.length >= nice {
			best = step{cost: e.way[i+int(m.length)].cost + 3 + extra(m.length-minMatch), next: m.length}
		} else {
			for l := max(minMatch, m.length-min(m.length, shorter)); l <= m.length; l++ {
				if c := e.way[i+int(l)].cost + 3 + extra(l-minMatch); c <= best.cost {
					best = step{cost: c, next: l}
				}
			}
		}
		e.way[i] = best
	}
}

// extra is how many bytes a length takes beside its four bits in the token.
func extra(n uint32) uint32 {
	if n < 15 {
		return 0
	}
	return 1 + (n-15)/255
}

// write appends the sequences of the way.
func (e *Encoder) write(dst, src []byte) []byte {
	anchor := 0
	for i := 0; i < len(src); {
		s := e.way[front+i]
		if s.next == 0 {
			i += int(s.run) // to the next match, or to the end
			continue
		}
		n := int(s.next) - minMatch
		dst = literals(dst, src[anchor:i], min(n, 15))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(e.found[front+i].distance))
		dst = length(dst, n)
		i += int(s.next)
		anchor = i
	}
	return literals(dst, src[anchor:], 0)
}

// literals appends a token with its literals.
func literals(dst, lits []byte, match int) []byte {
	dst = append(dst, byte(min(len(lits), 15)<<4|match))
	dst = length(dst, len(lits))
	return append(dst, lits...)
}

// length appends what does not fit the four bits of the token.
func length(dst []byte, n int) []byte {
	if n < 15 {
		return dst
	}
	for n -= 15; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(dst, byte(n))
}

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

func hash4(v uint64) uint32 { return uint32(v << 32 * hashPrime >> (64 - tableLog)) }
func hash5(v uint64) uint32 { return uint32(v << 24 * hashPrime >> (64 - tableLog)) }

// hashPrime is the prime next to 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4).
const hashPrime = 0x9e3779b97f4a7c55

// common counts the equal bytes at a and b, a < b, up to limit.
func common(in []byte, a, b, limit int) int {
	n := 0
	for b+n < limit {
		if x := load64(in, a+n) ^ load64(in, b+n); x != 0 {
			return min(n+bits.TrailingZeros64(x)>>3, limit-b)
		}
		n += 8
	}
	return limit - b
}
