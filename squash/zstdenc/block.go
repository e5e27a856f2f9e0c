package zstdenc

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/slotboot/slotboot/internal/lz/cost"
)

// Block types and literal types (RFC 8878, sections 3.1.1.2 and 3.1.1.3.1.1), table modes (3.1.1.3.2.1.1).
const (
	blockRaw        = 0
	blockRLE        = 1
	blockCompressed = 2

	literalsRaw        = 0
	literalsRLE        = 1
	literalsCompressed = 2
	literalsTreeless   = 3

	modePredefined = 0
	modeRLE        = 1
	modeFSE        = 2
	modeRepeat     = 3
)

// maxBlock is the most bytes one block of a frame may hold.
const maxBlock = 128 << 10

// blockWriter turns sequences into the blocks of a frame. It holds what one block leaves to the next: the repeat
// distances and the tables.
type blockWriter struct {
	repeats  repeats
	huff     [2]*huffTable // last sent, spare
	fse      [kinds][2]*fseTable
	standard [kinds]*fseTable

	scratch huffScratch
	codes   []codedSequence
	body    []byte
	trial   fseTable
}

// codedSequence is a sequence as codes and extra bits.
type codedSequence struct {
	code  [kinds]uint8
	extra [kinds]uint32
}

func newBlockWriter() *blockWriter {
	w := &blockWriter{standard: makePredefined()}
	for i := range w.huff {
		w.huff[i] = new(huffTable)
		for k := range w.fse {
			w.fse[k][i] = new(fseTable)
		}
	}
	return w
}

// reset begins a frame.
func (w *blockWriter) reset() {
	w.repeats = firstRepeats
	w.huff[0].valid = false
	for k := range w.fse {
		w.fse[k][0].valid = false
	}
}

// appendBlock appends one block: plain holds its bytes, seqs and literals say the same. It is stored plain when that
// is not longer.
func (w *blockWriter) appendBlock(dst, plain []byte, seqs []sequence, literals []byte, last bool) []byte {
	if n := len(plain); n > 1 && isRun(plain) {
		return append(appendBlockHeader(dst, blockRLE, n, last), plain[0])
	}
	after := w.code(seqs)
	w.body = w.body[:0]
	newHuff := w.appendLiterals(literals)
	var newFSE [kinds]tableChoice
	if newHuff.ok {
		newFSE = w.appendSequences()
	}
	if !newHuff.ok || len(w.body) >= len(plain) {
		return append(appendBlockHeader(dst, blockRaw, len(plain), last), plain...)
	}
	w.repeats = after
	if newHuff.fresh {
		w.huff[0], w.huff[1] = w.huff[1], w.huff[0]
	}
	if len(seqs) > 0 {
		for k, c := range newFSE {
			switch c.mode {
			case modeFSE:
				w.fse[k][0], w.fse[k][1] = w.fse[k][1], w.fse[k][0]
			case modePredefined, modeRLE:
				w.fse[k][0].valid = false
			}
		}
	}
	return append(appendBlockHeader(dst, blockCompressed, len(w.body), last), w.body...)
}

func appendBlockHeader(dst []byte, kind, size int, last bool) []byte {
	h := uint32(size<<3 | kind<<1)
	if last {
		h |= 1
	}
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// isRun tells whether all bytes of b, which is not empty, are equal.
func isRun(b []byte) bool {
	for len(b) > 8 {
		if v := binary.LittleEndian.Uint64(b); v != uint64(b[0])*0x0101010101010101 || b[0] != b[8] {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}

// code fills w.codes and returns the repeat distances after the last sequence.
func (w *blockWriter) code(seqs []sequence) repeats {
	r := w.repeats
	w.codes = slices.Grow(w.codes[:0], len(seqs))[:len(seqs)]
	for i, s := range seqs {
		c := &w.codes[i]
		var value uint32
		value, r = r.code(s.distance, s.literals)
		l, m, o := literalsCode(s.literals), lengthCode(s.length), uint8(bits.Len32(value)-1)
		c.code = [kinds]uint8{l, o, m}
		c.extra = [kinds]uint32{s.literals - literalsBase[l], value - 1<<o, s.length - lengthBase[m]}
	}
	return r
}

type huffChoice struct {
	ok    bool // the literals could be written
	fresh bool // with the spare table, which becomes the last sent
}

// appendLiterals appends the literals section to w.body in its shortest form.
func (w *blockWriter) appendLiterals(lit []byte) huffChoice {
	n := len(lit)
	var count [256]uint32
	for _, b := range lit {
		count[b]++
	}
	if n > 0 && int(count[lit[0]]) == n && n > 1 {
		w.appendLiteralsHeader(literalsRLE, n)
		w.body = append(w.body, lit[0])
		return huffChoice{ok: true}
	}
	// Below 6 bytes four streams do not exist and one stream cannot pay for its table.
	if n < 6 {
		w.appendLiteralsHeader(literalsRaw, n)
		w.body = append(w.body, lit...)
		return huffChoice{ok: true}
	}
	fresh := w.huff[1]
	fresh.build(&count, &w.scratch)
	w.scratch.description = fresh.appendHeader(w.scratch.description[:0], &w.scratch)
	description := w.scratch.description
	best, table, kind := n, (*huffTable)(nil), literalsRaw
	if size, _ := fresh.size(&count); description != nil && size+len(description) < best {
		best, table, kind = size+len(description), fresh, literalsCompressed
	}
	if w.huff[0].valid {
		if size, ok := w.huff[0].size(&count); ok && size <= best {
			table, kind, description = w.huff[0], literalsTreeless, nil
		}
	}
	mark := len(w.body)
	if table != nil && w.appendCompressedLiterals(kind, table, description, lit) {
		return huffChoice{ok: true, fresh: kind == literalsCompressed}
	}
	w.body = w.body[:mark]
	w.appendLiteralsHeader(literalsRaw, n)
	w.body = append(w.body, lit...)
	return huffChoice{ok: true}
}

func (w *blockWriter) appendLiteralsHeader(kind, n int) {
	switch {
	case n < 32:
		w.body = append(w.body, byte(kind|n<<3))
	case n < 4096:
		w.body = append(w.body, byte(kind|1<<2|n<<4), byte(n>>4))
	default:
		w.body = append(w.body, byte(kind|3<<2|n<<4), byte(n>>4), byte(n>>12))
	}
}

// appendCompressedLiterals appends header, description and streams; false when that is not shorter than plain.
func (w *blockWriter) appendCompressedLiterals(kind int, table *huffTable, description, lit []byte) bool {
	n := len(lit)
	// One stream where the sizes surely fit 10 bits: it saves the jump table of 6 bytes.
	streams, format, width, head := 4, 1, uint(10), 3
	switch {
	case n < 256:
		streams, format = 1, 0
	case n < 1024:
	case n < 16<<10:
		format, width, head = 2, 14, 4
	default:
		format, width, head = 3, 18, 5
	}
	mark := len(w.body)
	w.body = append(w.body, make([]byte, head)...)
	w.body = append(w.body, description...)
	if streams == 1 {
		w.body = table.appendStream(w.body, lit)
	} else {
		jump := len(w.body)
		w.body = append(w.body, 0, 0, 0, 0, 0, 0)
		part := (n + 3) / 4
		for i := range 4 {
			from := len(w.body)
			w.body = table.appendStream(w.body, lit[min(i*part, n):min(i*part+part, n)])
			if size := len(w.body) - from; i < 3 {
				if size > 0xffff {
					return false
				}
				binary.LittleEndian.PutUint16(w.body[jump+2*i:], uint16(size))
			}
		}
	}
	packed := len(w.body) - mark - head
	if packed >= n || packed>>width != 0 {
		return false
	}
	h := uint64(kind) | uint64(format)<<2 | uint64(n)<<4 | uint64(packed)<<(4+width)
	for i := range head {
		w.body[mark+i] = byte(h >> (8 * i))
	}
	return true
}

// tableChoice is how the codes of one kind are sent.
type tableChoice struct {
	mode  int
	table *fseTable
}

// appendSequences appends the sequences section of w.codes to w.body.
func (w *blockWriter) appendSequences() (choice [kinds]tableChoice) {
	n := len(w.codes)
	switch {
	case n < 128:
		w.body = append(w.body, byte(n))
	case n < 0x7f00:
		w.body = append(w.body, byte(n>>8+128), byte(n))
	default:
		w.body = append(w.body, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	}
	if n == 0 {
		return choice
	}
	var count [kinds][fseMaxSymbols]uint32
	for i := range w.codes {
		c := &w.codes[i].code
		count[0][c[0]]++
		count[1][c[1]]++
		count[2][c[2]]++
	}
	at := len(w.body)
	w.body = append(w.body, 0)
	for k := range kinds {
		choice[k] = w.choose(k, &count[k], n)
		w.body[at] |= byte(choice[k].mode << (6 - 2*k))
		switch choice[k].mode {
		case modeRLE:
			w.body = append(w.body, w.codes[0].code[k])
		case modeFSE:
			w.body = choice[k].table.appendHeader(w.body)
		}
	}
	w.appendBits(choice)
	return choice
}

// choose finds the cheapest table for counts of n codes of kind k.
func (w *blockWriter) choose(k int, count *[fseMaxSymbols]uint32, n int) tableChoice {
	distinct := 0
	for _, c := range count {
		if c > 0 {
			distinct++
		}
	}
	best, bestCost := tableChoice{modePredefined, w.standard[k]}, uint64(1)<<62
	if c, ok := w.standard[k].cost(count[:]); ok {
		bestCost = c
	}
	if last := w.fse[k][0]; last.valid {
		if c, ok := last.cost(count[:]); ok && c < bestCost {
			best, bestCost = tableChoice{modeRepeat, last}, c
		}
	}
	fresh := w.fse[k][1]
	if distinct == 1 {
		if 8*cost.Bit < bestCost {
			fresh.rle, fresh.valid = true, false
			best = tableChoice{modeRLE, fresh}
		}
		return best
	}
	top := min(maxLogs[k], uint(max(fseMinLog, bits.Len(uint(n))-1)))
	low := max(fseMinLog, uint(bits.Len(uint(distinct-1))))
	top = max(top, low)
	for log := max(low, top-min(top, 2)); log <= top; log++ {
		w.trial.normalize(count[:], uint32(n), log)
		c, _ := w.trial.cost(count[:])
		w.scratch.header = w.trial.appendHeader(w.scratch.header[:0])
		if c += uint64(len(w.scratch.header)) * 8 * cost.Bit; c < bestCost {
			fresh.log, fresh.symbols, fresh.norm, fresh.rle, fresh.valid = log, w.trial.symbols, w.trial.norm, false, true
			best, bestCost = tableChoice{modeFSE, fresh}, c
		}
	}
	if best.mode == modeFSE {
		fresh.build()
	}
	return best
}

// appendBits appends the bit stream of w.codes: written from the last sequence to the first, read backwards.
func (w *blockWriter) appendBits(choice [kinds]tableChoice) {
	at, room := len(w.body), 12*len(w.codes)+32
	w.body = slices.Grow(w.body, room)[:at+room]
	var b bitWriter
	b.reset(w.body[at:])
	lt, ot, mt := choice[kindLiterals].table, choice[kindOffset].table, choice[kindLength].table
	c := &w.codes[len(w.codes)-1]
	ls, os, ms := lt.start(c.code[kindLiterals]), ot.start(c.code[kindOffset]), mt.start(c.code[kindLength])
	b.addExtra(c)
	for i := len(w.codes) - 2; i >= 0; i-- {
		c := &w.codes[i]
		if !ot.rle {
			os = ot.encode(&b, os, c.code[kindOffset])
		}
		if !mt.rle {
			ms = mt.encode(&b, ms, c.code[kindLength])
		}
		if !lt.rle {
			ls = lt.encode(&b, ls, c.code[kindLiterals])
		}
		b.flush()
		b.addExtra(c)
	}
	for _, s := range []struct {
		t     *fseTable
		state uint32
	}{{mt, ms}, {ot, os}, {lt, ls}} {
		if !s.t.rle {
			b.add(uint64(s.state)&(1<<s.t.log-1), s.t.log)
		}
	}
	b.flush()
	w.body = w.body[:at+b.close()]
}

// addExtra adds the extra bits of one sequence and flushes.
func (w *bitWriter) addExtra(c *codedSequence) {
	w.add(uint64(c.extra[kindLiterals]), uint(literalsExtra[c.code[kindLiterals]]))
	w.add(uint64(c.extra[kindLength]), uint(lengthExtra[c.code[kindLength]]))
	w.add(uint64(c.extra[kindOffset]), uint(c.code[kindOffset]))
	w.flush()
}
