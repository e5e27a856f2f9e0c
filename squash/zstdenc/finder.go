package zstdenc

import (
	"encoding/binary"
	"math/bits"
)

// Input positions start at 1, so that 0 in a table means "none".
const front = 1

// match is a length in the low 12 bits and a distance in the high 20; a length of maxLength may be longer.
type match uint32

const (
	matchLengthBits = 12
	maxLength       = 1<<matchLengthBits - 1
)

func (m match) length() int   { return int(m & maxLength) }
func (m match) distance() int { return int(m >> matchLengthBits) }

// search says how hard the finder tries.
type search struct {
	depth int // steps along the chain of equal 4 bytes
	deep8 int // steps along the chain of equal 8 bytes
	nice  int // a match of this length is taken without looking inside it
}

// finder finds, for each position of a block, matches of growing length and distance: for each length it knows, the
// nearest. Its tables cover the whole input.
type finder struct {
	search
	in     []byte
	log    uint // of the tables, by the size of the input
	head3  []uint32
	head4  []uint32
	head8  []uint32
	chain4 []uint32 // the position before with the same hash
	list   []match
	at     []uint32 // where the matches of each position of the block begin in list; one more for the end
}

const maxTableLog = 16

func newFinder(s search) *finder {
	f := &finder{search: s, head3: make([]uint32, 1<<maxTableLog), head4: make([]uint32, 1<<maxTableLog), head8: make([]uint32, 1<<maxTableLog)}
	return f
}

// reset begins an input: in has front bytes before it and pad zeros after it.
func (f *finder) reset(in []byte) {
	f.in = in
	f.log = uint(min(maxTableLog, max(10, bits.Len(uint(len(in))))))
	clear(f.head3[:1<<f.log])
	clear(f.head4[:1<<f.log])
	clear(f.head8[:1<<f.log])
	if len(f.chain4) < len(in) {
		f.chain4 = make([]uint32, len(in))
	}
}

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

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

// find lists the matches of in[from:to].
func (f *finder) find(from, to int) {
	f.list = f.list[:0]
	if cap(f.at) < to-from+1 {
		f.at = make([]uint32, maxBlock+1)
	}
	f.at = f.at[:to-from+1]
	in := f.in
	shift3, shift4, shift8 := 32-f.log, 32-f.log, 64-f.log
	var last match // the longest match of the position before
	for i := from; i < to; i++ {
		f.at[i-from] = uint32(len(f.list))
		v := load64(in, i)
		h3 := uint32(v) << 8 * 506832829 >> shift3
		h4 := uint32(v) * 2654435761 >> shift4
		h8 := v * 0x9e3779b185ebca87 >> shift8
		c3, c4, c8 := int(f.head3[h3]), int(f.head4[h4]), int(f.head8[h8])
		f.head3[h3], f.head4[h4], f.head8[h8] = uint32(i), uint32(i), uint32(i)
		f.chain4[i] = uint32(c4)
		best := 2
		if c3 != 0 && (load32(in, c3)^uint32(v))<<8 == 0 {
			best = common(in, c3, i, to)
			if best < minMatch {
				continue
			}
			f.list = append(f.list, makeMatch(best, i-c3))
			last = makeMatch(best, i-c3)
		}
		for n := f.depth; n > 0 && c4 != 0; n-- {
			if load32(in, c4+best-3) == load32(in, i+best-3) {
				if l := common(in, c4, i, to); l > best {
					best = l
					f.list = append(f.list, makeMatch(l, i-c4))
					if l >= f.nice {
						break
					}
				}
			}
			c4 = int(f.chain4[c4])
		}
		if c8 != 0 && load32(in, c8+best-3) == load32(in, i+best-3) {
			if l := common(in, c8, i, to); l > best {
				best = l
				f.list = append(f.list, makeMatch(l, i-c8))
			}
		}
		if d := last.distance(); last.length()-1 > best {
			best = last.length() - 1
			f.list = append(f.list, makeMatch(best, d))
		}
		last = 0
		if best >= minMatch {
			last = f.list[len(f.list)-1]
		}
		if best >= f.nice {
			i = f.skip(from, i, i+best)
			last = 0
		}
	}
	f.at[to-from] = uint32(len(f.list))
}

func makeMatch(length, distance int) match {
	return match(distance<<matchLengthBits | min(length, maxLength))
}

// skip enters the positions after i up to end into the tables and returns the last.
func (f *finder) skip(from, i, end int) int {
	for i++; i < end; i++ {
		f.at[i-from] = uint32(len(f.list))
		v := load64(f.in, i)
		h3 := uint32(v) << 8 * 506832829 >> (32 - f.log)
		h4 := uint32(v) * 2654435761 >> (32 - f.log)
		h8 := v * 0x9e3779b185ebca87 >> (64 - f.log)
		f.chain4[i] = f.head4[h4]
		f.head3[h3], f.head4[h4], f.head8[h8] = uint32(i), uint32(i), uint32(i)
	}
	return i - 1
}
