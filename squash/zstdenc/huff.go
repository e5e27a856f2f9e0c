package zstdenc

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/slotboot/slotboot/internal/lz/huffman"
)

// huffMaxBits is the longest literal code the format allows (RFC 8878, section 4.2.1).
const huffMaxBits = 11

// huffTable is a canonical Huffman code of literals.
type huffTable struct {
	code    [256]uint32 // code<<8 | length; length 0: does not occur
	length  [256]uint8
	symbols int   // the last symbol that occurs, plus one
	maxBits uint8 // the longest length
	valid   bool  // may be used again by the next block
}

// huffScratch holds what making a table needs.
type huffScratch struct {
	lengths     huffman.Builder
	header      []byte
	description []byte
	fse         fseTable
}

// build makes the best code for count of at most huffMaxBits. At least two symbols must occur.
func (t *huffTable) build(count *[256]uint32, h *huffScratch) {
	h.lengths.Best(t.length[:], count[:], huffMaxBits)
	t.symbols = len(t.length)
	for t.length[t.symbols-1] == 0 {
		t.symbols--
	}
	t.assign()
}

// assign numbers the codes as the decoder will: longest first from zero, within a length by symbol.
func (t *huffTable) assign() {
	var number [256]int
	t.maxBits = 0
	for _, l := range t.length[:t.symbols] {
		number[l]++
		t.maxBits = max(t.maxBits, l)
	}
	var next [huffMaxBits + 2]uint32
	code := uint32(0)
	for l := int(t.maxBits); l > 0; l-- {
		next[l] = code
		code = (code + uint32(number[l])) >> 1
	}
	for s, l := range t.length[:] {
		t.code[s] = 0
		if l > 0 {
			t.code[s] = next[l]<<8 | uint32(l)
			next[l]++
		}
	}
	t.valid = true
}

// size is the number of bytes of literals with these counts, without tables and jump table; false when the table lacks
// a symbol.
func (t *huffTable) size(count *[256]uint32) (int, bool) {
	total := 0
	for s, c := range count {
		if c > 0 && t.length[s] == 0 {
			return 0, false
		}
		total += int(c) * int(t.length[s])
	}
	return (total + 7) / 8, true
}

// appendHeader appends the code's description (RFC 8878, section 4.2.1): weights as nibbles or FSE coded. It returns
// nil when neither can describe it.
func (t *huffTable) appendHeader(dst []byte, h *huffScratch) []byte {
	var weight [256]uint8
	n := t.symbols - 1 // the last one's weight is implied
	for s, l := range t.length[:n] {
		if l > 0 {
			weight[s] = t.maxBits + 1 - l
		}
	}
	packed := h.packWeights(weight[:n])
	if len(packed) > 1 && len(packed) < 128 && (n > 128 || len(packed) < (n+1)/2) {
		return append(append(dst, byte(len(packed))), packed...)
	}
	if n > 128 {
		return nil
	}
	dst = append(dst, byte(127+n))
	for s := 0; s < n; s += 2 {
		dst = append(dst, weight[s]<<4|weight[s+1])
	}
	return dst
}

// packWeights codes the weights with two interleaved FSE states, or returns nil when that is impossible.
func (h *huffScratch) packWeights(weight []uint8) []byte {
	var count [huffMaxBits + 2]uint32
	most := uint32(0)
	for _, v := range weight {
		count[v]++
		most = max(most, count[v])
	}
	n := len(weight)
	if n < 3 || int(most) == n || most == 1 {
		return nil
	}
	log := uint(min(6, max(fseMinLog, bits.Len(uint(n-1))-2)))
	t := &h.fse
	t.normalize(count[:], uint32(n), log)
	t.build()
	h.header = t.appendHeader(h.header[:0])
	at := len(h.header)
	h.header = slices.Grow(h.header, n+16)[:at+n+16]
	var w bitWriter
	w.reset(h.header[at:])
	var state [2]uint32
	state[(n-1)&1] = t.start(weight[n-1])
	state[(n-2)&1] = t.start(weight[n-2])
	for i := n - 3; i >= 0; i-- {
		state[i&1] = t.encode(&w, state[i&1], weight[i])
		w.flush()
	}
	w.add(uint64(state[1]&(1<<log-1)), log)
	w.add(uint64(state[0]&(1<<log-1)), log)
	w.flush()
	return h.header[:at+w.close()]
}

// appendStream appends one Huffman stream, read backwards by the decoder.
func (t *huffTable) appendStream(dst, lit []byte) []byte {
	at := len(dst)
	room := len(lit)*huffMaxBits/8 + 16
	dst = slices.Grow(dst, room)[:at+room]
	buf := dst[at:]
	acc, n, pos, i := uint64(0), uint(0), 0, len(lit)
	for ; i >= 4; i -= 4 {
		q := lit[i-4 : i : i]
		for _, s := range [4]byte{q[3], q[2], q[1], q[0]} {
			c := t.code[s]
			acc |= uint64(c>>8) << (n & 63)
			n += uint(c & 0xff)
		}
		binary.LittleEndian.PutUint64(buf[pos:], acc)
		pos += int(n >> 3)
		acc >>= n &^ 7 & 63
		n &= 7
	}
	w := bitWriter{acc: acc, n: n, buf: buf, pos: pos}
	for i--; i >= 0; i-- {
		c := t.code[lit[i]]
		w.add(uint64(c>>8), uint(c&0xff))
	}
	w.flush()
	return dst[:at+w.close()]
}
