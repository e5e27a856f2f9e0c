package zstdenc

import (
	"encoding/binary"
	"slices"
)

const ID = "slot-zstd/1"

// MaxInput is the most bytes one call of Encode takes: the largest squashfs block.
const MaxInput = 1 << 20

type Level int

const (
	Fast Level = 1 + iota
	Default
	Best
)

// pad is how far the matcher may read beyond the end.
const pad = 16

type Encoder struct {
	level    Level
	in       []byte // front bytes, the input, pad zeros
	out      *blockWriter
	find     *finder
	parser   parser
	split    splitter
	seqs     []sequence
	literals []byte
}

func New(level Level) *Encoder {
	return &Encoder{level: level, out: newBlockWriter(), find: newFinder(search{depth: 4, nice: 64})}
}

func (e *Encoder) Encode(dst, src []byte) []byte {
	dst = appendFrameHeader(dst, len(src))
	if len(src) == 0 {
		return appendBlockHeader(dst, blockRaw, 0, true)
	}
	size := front + len(src) + pad
	e.in = slices.Grow(e.in[:0], size)[:size]
	copy(e.in[front:], src)
	clear(e.in[front+len(src):])
	e.out.reset()
	e.find.reset(e.in)
	for from := 0; from < len(src); {
		to := min(from+maxBlock, len(src))
		e.sequences(front+from, front+to)
		dst = e.appendParts(dst, front+from, front+to, to == len(src))
		from = to
	}
	return dst
}

// sequences fills e.seqs and e.literals with the block e.in[from:to].
func (e *Encoder) sequences(from, to int) {
	e.find.find(from, to)
	if e.level == Fast {
		e.seqs = lazy(e.find, from, to, e.out.repeats, e.seqs[:0])
	} else {
		e.prime(from, to)
		for range e.level - Fast {
			e.seqs = e.parser.parse(e.find, from, to, e.out.repeats, e.seqs[:0])
		}
	}
	e.gather(from, to)
}

// prime sets the parser's statistics from a quick look at the beginning of the block e.in[from:to].
func (e *Encoder) prime(from, to int) {
	to = min(to, from+xLZ)
	e.seqs = lazy(e.find, from, to, e.out.repeats, e.seqs[:0])
	e.parser.counts = counts{}
	e.parser.counts.addFrom(e.in, from, to, e.seqs, e.out.repeats)
	for range xR {
		to = min(to, from+xRL)
		e.seqs = e.parser.parse(e.find, from, to, e.out.repeats, e.seqs[:0])
		e.parser.counts = counts{}
		e.parser.counts.addFrom(e.in, from, to, e.seqs, e.out.repeats)
	}
}

// gather fills e.literals with what e.seqs leave of the block e.in[from:to].
func (e *Encoder) gather(from, to int) {
	e.literals = e.literals[:0]
	for _, s := range e.seqs {
		e.literals = append(e.literals, e.in[from:from+int(s.literals)]...)
		from += int(s.literals + s.length)
	}
	e.literals = append(e.literals, e.in[from:to]...)
}

// appendParts appends the block e.in[from:to], split where that pays.
func (e *Encoder) appendParts(dst []byte, from, to int, last bool) []byte {
	e.split.split(e.in, from, to, e.out.repeats, e.seqs)
	seqs, lits := e.seqs, e.literals
	for i := 0; i >= 0; {
		p := &e.split.parts[i]
		i = p.next
		dst = e.out.appendBlock(dst, e.in[from:from+p.plain], seqs[:p.seqs], lits[:p.lits], last && i < 0)
		seqs, lits, from = seqs[p.seqs:], lits[p.lits:], from+p.plain
	}
	return dst
}

// appendFrameHeader appends magic and header of a single-segment frame without checksum (RFC 8878, section 3.1.1.1).
func appendFrameHeader(dst []byte, size int) []byte {
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd)
	switch {
	case size < 256:
		return append(dst, 0<<6|1<<5, byte(size))
	case size < 256+1<<16:
		return binary.LittleEndian.AppendUint16(append(dst, 1<<6|1<<5), uint16(size-256))
	}
	return binary.LittleEndian.AppendUint32(append(dst, 2<<6|1<<5), uint32(size))
}
