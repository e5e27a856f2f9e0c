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
	head3, head4, head8, chain4 := f.head3[:1<<f.log], f.head4[:1<<f.log], f.head8[:1<<f.log], f.chain4
	depth := f.depth
	var lastLength, lastDistance int // the longest match of the position before
	v := load64(in, from)
	h3, h4, h8 := hash3(v, shift3), hash4(v, shift4), hash8(v, shift8)
	c3, c4, c8 := head3[h3], head4[h4], head8[h8]
	i := from
	for ; i <= to-8; i++ {
		list := f.list
		f.at[i-from] = uint32(len(list))
		head3[h3], head4[h4], head8[h8] = uint32(i), uint32(i), uint32(i)
		chain4[i] = c4
		n3, n4, n8 := int(c3), int(c4), int(c8)
		w := v
		// Load the next position's candidates now: they arrive while this one is compared.
		v = load64(in, i+1)
		h3, h4, h8 = hash3(v, shift3), hash4(v, shift4), hash8(v, shift8)
		c3, c4, c8 = head3[h3], head4[h4], head8[h8]
		best := 2
		if lastLength > xInherit {
			best = lastLength - 1
			list = append(list, makeMatch(best, lastDistance))
		} else {
			if n3 != 0 {
				if x := load64(in, n3) ^ w; x<<40 == 0 {
					best = match8(x)
					if best == 8 {
						best = common(in, n3, i, to)
					}
					list = append(list, makeMatch(best, i-n3))
				}
			}
			check := max(best-3, 0)
			tail := load32(in, i+check)
			for n := depth; n > 0 && n4 != 0; n-- {
				if load32(in, n4+check) == tail {
					l := match8(load64(in, n4) ^ w)
					if l == 8 {
						l = common(in, n4, i, to)
					}
					if l > best {
						best = l
						list = append(list, makeMatch(l, i-n4))
						if l >= f.nice {
							break
						}
						check = best - 3
						tail = load32(in, i+check)
					}
				}
				n4 = int(chain4[n4])
			}
			if lastLength-1 > best {
				best = lastLength - 1
				list = append(list, makeMatch(best, lastDistance))
			}
		}
		if n8 != 0 && load32(in, n8+max(best-3, 0)) == load32(in, i+max(best-3, 0)) {
			if l := common(in, n8, i, to); l > best {
				best = l
				list = append(list, makeMatch(l, i-n8))
			}
		}
		f.list = list
		lastLength = 0
		if best >= minMatch {
			lastLength, lastDistance = best, list[len(list)-1].distance()
		}
		if best >= f.nice {
			i = f.skip(from, i+1, i+best, lastDistance) - 1
			lastLength = 0
			v = load64(in, i+1)
			h3, h4, h8 = hash3(v, shift3), hash4(v, shift4), hash8(v, shift8)
			c3, c4, c8 = head3[h3], head4[h4], head8[h8]
		}
	}
	f.skip(from, i, to, 0)
	f.at[to-from] = uint32(len(f.list))
}

func hash3(v uint64, shift uint) uint32 { return uint32(v) << 8 * 506832829 >> (shift & 31) }
func hash4(v uint64, shift uint) uint32 { return uint32(v) * 2654435761 >> (shift & 31) }
func hash8(v uint64, shift uint) uint64 { return v * 0x9e3779b185ebca87 >> (shift & 63) }

// match8 counts the equal bytes of two 8-byte words whose difference is x.
func match8(x uint64) int { return bits.TrailingZeros64(x) >> 3 }

func makeMatch(length, distance int) match {
	return match(distance<<matchLengthBits | min(length, maxLength))
}

// skip enters the positions from i to end into the tables, all within one match of this distance if not 0, and returns
// end.
func (f *finder) skip(from, i, end, distance int) int {
	shift3, shift4, shift8 := 32-f.log, 32-f.log, 64-f.log
	for ; i < end; i++ {
		f.at[i-from] = uint32(len(f.list))
		if distance > 0 && end-i >= minMatch {
			f.list = append(f.list, makeMatch(end-i, distance))
		}
		v := load64(f.in, i)
		h3, h4, h8 := hash3(v, shift3), hash4(v, shift4), hash8(v, shift8)
		f.chain4[i] = f.head4[h4]
		f.head3[h3], f.head4[h4], f.head8[h8] = uint32(i), uint32(i), uint32(i)
	}
	return max(i, end)
}
