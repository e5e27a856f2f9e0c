// Package word reads, hashes and compares bytes a word at a time, for encoders that look for repeats.
//
// How a hash mixes decides which repeats are found, and so about the bytes of images and deltas: a change is a new ID of
// every encoder that uses it.
package word

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// Front is how many bytes stand before a framed input, so that position 0 in a table means "none"; Pad is how many zeros
// stand behind it, so that words may be read at its last bytes.
const (
	Front = 1
	Pad   = 16
)

// Frame returns a copy of src with Front bytes before it and Pad zeros behind it. It is made in buf, the frame of an
// earlier input or nil, if that has the room.
func Frame(buf, src []byte) []byte {
	size := Front + len(src) + Pad
	buf = slices.Grow(buf[:0], size)[:size]
	copy(buf[Front:], src)
	clear(buf[Front+len(src):])
	return buf
}

// Load32 and Load64 return the bytes at b[i] as a number, the first of them lowest.
func Load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }

// Load64 is described with Load32.
func Load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// hashPrime is the prime next to 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4).
const hashPrime = 0x9e3779b97f4a7c55

// What Hash multiplies a word by so that only its first bytes count: the others are shifted out on the way.
const (
	First3 uint64 = hashPrime << 40 & math.MaxUint64
	First4 uint64 = hashPrime << 32 & math.MaxUint64
	First5 uint64 = hashPrime << 24 & math.MaxUint64
	First6 uint64 = hashPrime << 16 & math.MaxUint64
)

// Hash hashes the first bytes of a word to 64-shift bits; first is First3 to First6.
func Hash(word, first uint64, shift uint) uint32 { return uint32(word * first >> (shift & 63)) }

// Common counts the equal bytes at a and b, a < b, of a framed input, up to limit.
func Common(in []byte, a, b, limit int) int {
	n := 0
	for b+n < limit {
		if x := Load64(in, a+n) ^ Load64(in, b+n); x != 0 {
			return min(n+bits.TrailingZeros64(x)>>3, limit-b)
		}
		n += 8
	}
	return limit - b
}

// Prefix counts the equal bytes at the beginnings of a and b.
func Prefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := Load64(a, i) ^ Load64(b, i); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
