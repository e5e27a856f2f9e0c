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
	in       []byte // the input and pad zeros
	out      *blockWriter
	seqs     []sequence
	literals []byte
	head     []uint32
}

func New(level Level) *Encoder {
	return &Encoder{level: level, out: newBlockWriter(), head: make([]uint32, 1<<16)}
}

func (e *Encoder) Encode(dst, src []byte) []byte {
	dst = appendFrameHeader(dst, len(src))
	if len(src) == 0 {
		return appendBlockHeader(dst, blockRaw, 0, true)
	}
	e.in = slices.Grow(e.in[:0], len(src)+pad)[:len(src)+pad]
	copy(e.in, src)
	clear(e.in[len(src):])
	e.out.reset()
	clear(e.head)
	for from := 0; from < len(src); {
		to := min(from+maxBlock, len(src))
		e.greedy(from, to)
		dst = e.out.appendBlock(dst, src[from:to], e.seqs, e.literals, to == len(src))
		from = to
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

func (e *Encoder) greedy(from, to int) {
	e.seqs, e.literals = e.seqs[:0], e.literals[:0]
	start := from
	for i := from; i+4 <= to; {
		v := binary.LittleEndian.Uint32(e.in[i:])
		h := v * 2654435761 >> 16
		p := int(e.head[h]) - 1
		e.head[h] = uint32(i + 1)
		if p < 0 || binary.LittleEndian.Uint32(e.in[p:]) != v {
			i++
			continue
		}
		n := 4
		for i+n < to && e.in[i+n] == e.in[p+n] {
			n++
		}
		e.literals = append(e.literals, e.in[start:i]...)
		e.seqs = append(e.seqs, sequence{uint32(i - start), uint32(n), uint32(i - p)})
		i += n
		start = i
	}
	e.literals = append(e.literals, e.in[start:to]...)
}
