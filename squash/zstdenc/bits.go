package zstdenc

import (
	"encoding/binary"
	"math/bits"
)

// bitWriter appends bits, least significant first, to a buffer whose room the caller has reserved.
//
// Between two calls of flush at most 57 bits may be added: flush leaves up to 7 of the 64 bits occupied.
type bitWriter struct {
	acc uint64
	n   uint
	buf []byte
	pos int
}

func (w *bitWriter) reset(buf []byte) {
	w.acc, w.n, w.buf, w.pos = 0, 0, buf, 0
}

// add appends the low n bits of v; the bits above must be zero.
func (w *bitWriter) add(v uint64, n uint) {
	w.acc |= v << (w.n & 63)
	w.n += n
}

// flush stores the whole bytes. It writes 8 bytes at pos, of which only the whole ones count.
func (w *bitWriter) flush() {
	binary.LittleEndian.PutUint64(w.buf[w.pos:], w.acc)
	w.pos += int(w.n >> 3)
	w.acc >>= w.n &^ 7 & 63
	w.n &= 7
}

// close ends a stream that is read backwards: a one bit marks its end. It returns the length in bytes.
func (w *bitWriter) close() int {
	w.add(1, 1)
	w.flush()
	if w.n > 0 {
		w.pos++
	}
	return w.pos
}

// The costs are fixed point, so that every machine takes the same decisions.
const (
	fracBits = 8
	bitCost  = 1 << fracBits
)

const log2Steps = 1 << 9

// log2Tab holds log2(1+i/512) in 1/256 bits.
var log2Tab = makeLog2Tab()

func makeLog2Tab() (tab [log2Steps]uint16) {
	for i := range tab {
		// Square the mantissa again and again: each time it passes 2 is a one bit of its logarithm.
		x := uint64(log2Steps+i) << 22 // 1.0 is 1<<31
		var log uint32
		for range fracBits + 2 {
			x = x * x >> 31
			log <<= 1
			if x >= 1<<32 {
				x >>= 1
				log |= 1
			}
		}
		tab[i] = uint16((log + 2) >> 2)
	}
	return tab
}

// log2 is log2(v) in 1/256 bits, v > 0; beyond the first ten bits v is cut.
func log2(v uint32) uint32 {
	n := uint32(31 - bits.LeadingZeros32(v|1))
	m := v << (31 - n) >> (31 - 9) & (log2Steps - 1)
	return n<<fracBits + uint32(log2Tab[m])
}

// entropyCost is the number of 1/256 bits an ideal coder spends on symbols with these counts.
func entropyCost(count []uint32, total uint32) uint64 {
	if total == 0 {
		return 0
	}
	logTotal := uint64(log2(total))
	var cost uint64
	for _, c := range count {
		if c > 0 {
			cost += uint64(c) * (logTotal - min(logTotal, uint64(log2(c))))
		}
	}
	return cost
}
