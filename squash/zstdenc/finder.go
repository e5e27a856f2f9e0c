package zstdenc

import (
	"encoding/binary"
	"math/bits"
)

// Input positions start at 1, so that 0 in a table means "none".
const front = 1

// match is a length in the low 12 bits and a distance above; a length of maxLength may be longer.
type match uint64

const (
	matchLengthBits = 12
	maxLength       = 1<<matchLengthBits - 1
)

func makeMatch(length, distance int) match {
	return match(distance<<matchLengthBits | min(length, maxLength))
}

func (m match) length() int   { return int(m & maxLength) }
func (m match) distance() int { return int(m >> matchLengthBits) }

// finder finds, for each position of a block, matches of growing length and distance: the nearest of 3 bytes, the
// nearest of 4 bytes, some of 6 bytes and more, and what is left of the longest match of the position before.
// Its tables cover the whole input, 64 Ki entries each: 128 KiB of input fill them well, and three of them fit the
// second-level cache.
type finder struct {
	effort
	in    []byte
	log   uint // of the tables, by the size of the input
	head3 []uint32
	head4 []uint32
	head6 []uint32
	chain []uint32 // the position before with the same hash of 6 bytes
	list  []match
	at    []uint32 // where the matches of each position of the block begin in list; one more for the end
}

const (
	minTableLog  = 10
	maxTableLog  = 16
	longTableLog = 18 // for inputs beyond MaxInput; 20 makes an initrd 0.05 % smaller, and takes 9 MB more
)

func newFinder(e effort) *finder {
	return &finder{
		effort: e,
		head3:  make([]uint32, 1<<maxTableLog),
		head4:  make([]uint32, 1<<maxTableLog),
		head6:  make([]uint32, 1<<maxTableLog),
		at:     make([]uint32, maxBlock+1),
	}
}

// reset begins an input: in has front bytes before it and pad zeros after it.
func (f *finder) reset(in []byte) {
	f.in = in
	f.log = uint(min(maxTableLog, max(minTableLog, bits.Len(uint(len(in))))))
	if len(in) > front+MaxInput+pad {
		f.log = longTableLog
		f.head3, f.head4, f.head6 = grown(f.head3), grown(f.head4), grown(f.head6)
	}
	clear(f.head3[:1<<f.log])
	clear(f.head4[:1<<f.log])
	clear(f.head6[:1<<f.log])
	if len(f.chain) < len(in) {
		f.chain = make([]uint32, len(in))
	}
}

// grown returns a table for long inputs.
func grown(table []uint32) []uint32 {
	if len(table) < 1<<longTableLog {
		return make([]uint32, 1<<longTableLog)
	}
	return table
}

// find lists the matches of in[from:to].
func (f *finder) find(from, to int) {
	f.list, f.at = f.list[:0], f.at[:to-from+1]
	in, chain, at := f.in, f.chain, f.at
	head3, head4, head6 := f.head3[:1<<f.log], f.head4[:1<<f.log], f.head6[:1<<f.log]
	shift := 64 - f.log
	longest, distance := 0, 0 // of the position before
	v := load64(in, from)
	h3, h4, h6 := hash3(v, shift), hash4(v, shift), hash6(v, shift)
	c3, c4, c6 := head3[h3], head4[h4], head6[h6]
	i := from
	for ; i <= to-8; i++ {
		at[i-from] = uint32(len(f.list))
		head3[h3], head4[h4], head6[h6] = uint32(i), uint32(i), uint32(i)
		chain[i] = c6
		n3, n4, n6, w := int(c3), int(c4), int(c6), v
		// Load the next position's candidates now: they arrive while this one is compared.
		v = load64(in, i+1)
		h3, h4, h6 = hash3(v, shift), hash4(v, shift), hash6(v, shift)
		c3, c4, c6 = head3[h3], head4[h4], head6[h6]
		best := 2
		if longest > f.inherit {
			best = longest - 1
			f.list = append(f.list, makeMatch(best, distance))
			if n6 != 0 && load32(in, n6+best-3) == load32(in, i+best-3) {
				best = f.try(i, n6, to, best)
			}
		} else {
			if n3 != 0 && (load32(in, n3)^uint32(w))<<8 == 0 {
				best = f.try(i, n3, to, best)
			}
			if k := max(best-3, 0); n4 != 0 && load32(in, n4+k) == load32(in, i+k) {
				best = f.try(i, n4, to, best)
			}
			if n6 != 0 {
				best = f.walk(i, n6, to, best)
			}
			if longest-1 > best {
				best = longest - 1
				f.list = append(f.list, makeMatch(best, distance))
			}
		}
		longest = 0
		if best >= minMatch {
			longest, distance = best, f.list[len(f.list)-1].distance()
		}
		if best >= f.nice {
			i = f.skip(from, i+1, i+best, distance) - 1
			longest = 0
			v = load64(in, i+1)
			h3, h4, h6 = hash3(v, shift), hash4(v, shift), hash6(v, shift)
			c3, c4, c6 = head3[h3], head4[h4], head6[h6]
		}
	}
	f.skip(from, i, to, 0)
	at[to-from] = uint32(len(f.list))
}

// try lists the match of i with c when it is longer than best, and returns the longer length.
func (f *finder) try(i, c, to, best int) int {
	l := common(f.in, c, i, to)
	if l <= best {
		return best
	}
	f.list = append(f.list, makeMatch(l, i-c))
	return l
}

// walk tries the positions from c along the chain.
func (f *finder) walk(i, c, to, best int) int {
	in, chain := f.in, f.chain
	k := max(best-3, 0) // a longer match has the same 4 bytes here
	tail := load32(in, i+k)
	for n := f.depth; n > 0 && c != 0; n-- {
		if load32(in, c+k) == tail {
			if l := common(in, c, i, to); l > best {
				f.list = append(f.list, makeMatch(l, i-c))
				if best = l; l >= f.nice {
					break
				}
				k = max(best-3, 0)
				tail = load32(in, i+k)
			}
		}
		c = int(chain[c])
	}
	return best
}

// skip enters the positions from i to end into the tables and returns end. They all lie in a match of this distance,
// unless it is 0, and what is left of it is their only match.
func (f *finder) skip(from, i, end, distance int) int {
	shift := 64 - f.log
	for ; i < end; i++ {
		f.at[i-from] = uint32(len(f.list))
		if distance > 0 && end-i >= minMatch {
			f.list = append(f.list, makeMatch(end-i, distance))
		}
		v := load64(f.in, i)
		h3, h4, h6 := hash3(v, shift), hash4(v, shift), hash6(v, shift)
		f.chain[i] = f.head6[h6]
		f.head3[h3], f.head4[h4], f.head6[h6] = uint32(i), uint32(i), uint32(i)
	}
	return end
}

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// hash3, hash4 and hash6 hash the first bytes of v to 64-shift bits.
func hash3(v uint64, shift uint) uint32 { return uint32(v << 40 * hashPrime >> (shift & 63)) }
func hash4(v uint64, shift uint) uint32 { return uint32(v << 32 * hashPrime >> (shift & 63)) }
func hash6(v uint64, shift uint) uint32 { return uint32(v << 16 * hashPrime >> (shift & 63)) }

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
