package gzipenc

import (
	"encoding/binary"
	"math/bits"
)

// common returns the length of the common start of a and b, which are both maxMatch long.
func common(a, b []byte) int {
	i := 0
	for ; i+8 <= maxMatch; i += 8 {
		if d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); d != 0 {
			return i + bits.TrailingZeros64(d)>>3
		}
	}
	for i < maxMatch && a[i] == b[i] {
		i++
	}
	return i
}
