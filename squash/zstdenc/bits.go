package zstdenc

import "encoding/binary"

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
