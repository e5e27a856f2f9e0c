package zstdenc

import (
	"math/bits"

	"github.com/slotboot/slotboot/internal/lz/cost"
)

// Limits of the finite state entropy coder (RFC 8878, section 4.1).
const (
	fseMinLog     = 5
	fseMaxLog     = 9
	fseMaxSymbols = 53 // match length codes; the others have fewer
)

// fseTable is one set of normalised counts and the encoding table made from it.
type fseTable struct {
	log     uint
	symbols int // the last symbol with a probability, plus one
	norm    [fseMaxSymbols]int16
	state   [1 << fseMaxLog]uint16
	sym     [fseMaxSymbols]fseSymbol
	rle     bool // one symbol only, sent as such: costs no bits
	valid   bool // may be repeated by the next block
}

// fseSymbol turns a state into its successor: the bits to send are (state+deltaBits)>>16, the next state is
// state[(old>>bits)+deltaState].
type fseSymbol struct {
	deltaBits  uint32
	deltaState int32
}

// normalize scales counts so that they sum to 1<<log, at least 1 for what occurs, choosing where to round up by what
// it saves. At least two symbols must occur. Counts that share less than one slot get -1 ("less than one").
func (t *fseTable) normalize(count []uint32, total uint32, log uint) {
	t.log, t.rle, t.valid = log, false, true
	size := uint32(1) << log
	left := int(size)
	t.symbols = 0
	for s := range t.norm {
		t.norm[s] = 0
	}
	for s, c := range count {
		if c == 0 {
			continue
		}
		t.symbols = s + 1
		n := max(1, int(uint64(c)*uint64(size)/uint64(total)))
		t.norm[s] = int16(n)
		left -= n
	}
	for ; left > 0; left-- {
		t.norm[t.bestRaise(count)]++
	}
	for ; left < 0; left++ {
		t.norm[t.bestLower(count)]--
	}
	for s, c := range count {
		if t.norm[s] == 1 && uint64(c)*uint64(size) < uint64(total) {
			t.norm[s] = -1
		}
	}
}

// bestRaise finds the symbol that saves most bits by one more slot.
func (t *fseTable) bestRaise(count []uint32) int {
	best, gain := 0, int64(-1)
	for s, n := range t.norm[:t.symbols] {
		if n <= 0 {
			continue
		}
		if g := int64(count[s]) * int64(cost.Log2(uint32(n)+1)-cost.Log2(uint32(n))); g > gain {
			best, gain = s, g
		}
	}
	return best
}

// bestLower finds the symbol that loses fewest bits by one slot less.
func (t *fseTable) bestLower(count []uint32) int {
	best, loss := -1, int64(0)
	for s, n := range t.norm[:t.symbols] {
		if n <= 1 {
			continue
		}
		l := int64(count[s]) * int64(cost.Log2(uint32(n))-cost.Log2(uint32(n)-1))
		if best < 0 || l < loss {
			best, loss = s, l
		}
	}
	return best
}

// build makes the encoding table from the normalised counts (RFC 8878, section 4.1.1, seen from the encoder).
func (t *fseTable) build() {
	size := 1 << t.log
	var spread [1 << fseMaxLog]uint8
	high := size - 1
	for s, n := range t.norm[:t.symbols] {
		if n == -1 {
			spread[high] = uint8(s)
			high--
		}
	}
	step, pos := size>>1+size>>3+3, 0
	for s, n := range t.norm[:t.symbols] {
		for range n {
			spread[pos] = uint8(s)
			pos = (pos + step) & (size - 1)
			for pos > high {
				pos = (pos + step) & (size - 1)
			}
		}
	}
	var next [fseMaxSymbols]int
	total := 0
	for s, n := range t.norm[:t.symbols] {
		next[s] = total
		count := int(n)
		if n == -1 {
			count = 1
		}
		t.sym[s] = makeFSESymbol(count, total, t.log)
		total += count
	}
	for u := range size {
		s := spread[u]
		t.state[next[s]] = uint16(size + u)
		next[s]++
	}
}

func makeFSESymbol(count, total int, log uint) fseSymbol {
	switch count {
	case 0:
		return fseSymbol{deltaBits: uint32(log+1)<<16 - 1<<log}
	case 1:
		return fseSymbol{deltaBits: uint32(log)<<16 - 1<<log, deltaState: int32(total - 1)}
	}
	maxBits := log - uint(bits.Len(uint(count-1))) + 1
	return fseSymbol{deltaBits: uint32(maxBits)<<16 - uint32(count)<<maxBits, deltaState: int32(total - count)}
}

// start is the state whose decoding yields the last symbol s without costing a bit.
func (t *fseTable) start(s uint8) uint32 {
	if t.rle {
		return 0
	}
	y := t.sym[s]
	n := (y.deltaBits + 1<<15) >> 16
	return uint32(t.state[int32((n<<16-y.deltaBits)>>n)+y.deltaState])
}

// encode sends symbol s and returns the next state.
func (t *fseTable) encode(w *bitWriter, state uint32, s uint8) uint32 {
	y := &t.sym[s]
	n := (state + y.deltaBits) >> 16
	w.add(uint64(state&(1<<n-1)), uint(n))
	return uint32(t.state[int32(state>>n)+y.deltaState])
}

// cost is the size of these counts coded with the table, in 1/256 bits, or false when a symbol has no probability.
func (t *fseTable) cost(count []uint32) (uint64, bool) {
	var sum uint64
	for s, c := range count {
		if c == 0 {
			continue
		}
		switch n := t.norm[s]; {
		case n == 0:
			return 0, false
		case n < 0:
			sum += uint64(c) * uint64(t.log) << cost.FracBits
		default:
			sum += uint64(c) * uint64(uint32(t.log)<<cost.FracBits-cost.Log2(uint32(n)))
		}
	}
	return sum, true
}

// appendHeader appends the table description (RFC 8878, section 4.1.1).
func (t *fseTable) appendHeader(dst []byte) []byte {
	acc, n := uint64(t.log-fseMinLog), uint(4)
	left, threshold, width := 1<<t.log+1, 1<<t.log, t.log+1
	for s := 0; s < t.symbols && left > 1; {
		v := int(t.norm[s])
		limit := 2*threshold - 1 - left
		left -= max(v, -v)
		v++
		if v >= threshold {
			v += limit
		}
		acc |= uint64(v) << n
		n += width
		if v < limit {
			n--
		}
		for left < threshold {
			width--
			threshold >>= 1
		}
		s++
		if v == 1 { // a zero: how many more follow, three at a time
			run := 0
			for s < t.symbols && t.norm[s] == 0 {
				run++
				s++
			}
			for ; run >= 3; run -= 3 {
				acc |= 3 << n
				n += 2
				dst, acc, n = drain(dst, acc, n)
			}
			acc |= uint64(run) << n
			n += 2
		}
		dst, acc, n = drain(dst, acc, n)
	}
	if n > 0 {
		dst = append(dst, byte(acc))
	}
	return dst
}

// drain moves the whole bytes of acc to dst.
func drain(dst []byte, acc uint64, n uint) ([]byte, uint64, uint) {
	for n >= 8 {
		dst = append(dst, byte(acc))
		acc >>= 8
		n -= 8
	}
	return dst, acc, n
}
