package zstdenc

import (
	"encoding/binary"
	"fmt"

	"github.com/slotboot/slotboot/internal/lz/cost"
	"github.com/slotboot/slotboot/internal/lz/match"
	"github.com/slotboot/slotboot/internal/lz/split"
	"github.com/slotboot/slotboot/internal/lz/word"
)

// ID names the encoder's output: with the same ID, level and input, Encode writes the same bytes.
const ID = "slot-zstd/1"

// MaxInput is the most bytes one call of Encode takes: the largest squashfs block.
const MaxInput = 1 << 20

// LongID names the output of EncodeLong at level Best.
const LongID = "slot-zstd-long/1"

// MaxLong is the most bytes one call of EncodeLong takes.
const MaxLong = 64 << 20

// Level chooses between speed and size. Values below Fast mean Fast, values above Best mean Best.
type Level int

// The levels, with figures for a Debian root in blocks of 128 KiB; libzstd's level 15 is 1 for both.
const (
	Fast    Level = 1 + iota // 1.08 of the size, a third of the time: for drafts
	Default                  // no larger, half of the time
	Best                     // 0.98 of the size, about the same time
)

// effort is what a level means. A change of any number changes the output, and so needs a new ID.
type effort struct {
	depth   int    // steps along the chain of equal 6 bytes
	nice    int    // a match of this length is taken without looking inside it
	inherit int    // while a match has more than this left, only longer ones are looked for
	slack   uint32 // the parser ignores a position if the next is reached for at most so many 1/256 bits more
	passes  int    // of the parser; 0: the lazy one
}

// rules are those of the format, whose window is the whole input, and of e.
func (e effort) rules() match.Rules {
	return match.Rules{Longest: match.Unlimited, Farthest: match.Unlimited, First: word.First6, Depth: e.depth, Nice: e.nice, Inherit: e.inherit}
}

func (l Level) effort() effort {
	switch {
	case l <= Fast:
		return effort{depth: 1, nice: 32, inherit: 6, passes: 0}
	case l == Default:
		return effort{depth: 4, nice: 64, inherit: 8, slack: cost.Bit, passes: 1}
	}
	return effort{depth: 24, nice: 128, inherit: 32, slack: 0, passes: 2}
}

// Encoder compresses blocks. It keeps 3 to 10 MB, by the largest block seen, for the next call. It must not be used by
// two goroutines at once: use one for each.
type Encoder struct {
	in       []byte // framed
	out      *blockWriter
	find     *match.Finder
	passes   int
	parser   parser
	split    split.Splitter[counts, *counts]
	seqs     []sequence
	literals []byte
}

// New returns an Encoder of this level.
func New(level Level) *Encoder {
	e := level.effort()
	return &Encoder{out: newBlockWriter(), find: match.NewFinder(e.rules()), passes: e.passes, parser: parser{slack: e.slack}}
}

// Encode appends src as one frame to dst and returns the extended slice.
//
// It takes at most MaxInput bytes and panics beyond: the caller has chosen the block size. The frame is at most 12 bytes
// longer than src, and 3 more for each further 128 KiB. src is not kept and not changed; dst must not overlap it.
func (e *Encoder) Encode(dst, src []byte) []byte {
	if len(src) > MaxInput {
		panic(fmt.Sprintf("zstdenc: encode %d bytes: want at most %d", len(src), MaxInput))
	}
	return e.encode(dst, src)
}

// EncodeLong is Encode for up to MaxLong bytes, as an initramfs has, and panics beyond. What Encode takes becomes the same
// frame; more takes the memory that LongMemory says. Whoever decodes it needs as much memory as the input has.
func (e *Encoder) EncodeLong(dst, src []byte) []byte {
	if len(src) > MaxLong {
		panic(fmt.Sprintf("zstdenc: encode %d bytes: want at most %d", len(src), MaxLong))
	}
	return e.encode(dst, src)
}

// LongMemory returns about how many bytes an Encoder needs for one call of EncodeLong with so many bytes: a copy of them,
// four bytes for each, the tables, and the matches of 128 KiB, of which an initrd has 2 MB.
func LongMemory(size int) int64 {
	return 5*int64(size) + match.TablesMax + 5<<20
}

func (e *Encoder) encode(dst, src []byte) []byte {
	dst = appendFrameHeader(dst, len(src))
	begin := len(dst)
	if len(src) == 0 {
		return appendPlain(dst, src)
	}
	e.load(src)
	for from, end := word.Front, word.Front+len(src); from < end; {
		to := min(from+maxBlock, end)
		e.find.Find(from, to)
		e.choose(from, to)
		dst = e.appendParts(dst, from, to, to == end)
		from = to
	}
	if blocks := (len(src) + maxBlock - 1) / maxBlock; len(dst)-begin > len(src)+3*blocks {
		return appendPlain(dst[:begin], src) // splitting did not pay after all
	}
	return dst
}

// appendPlain appends src as blocks that are not compressed.
func appendPlain(dst, src []byte) []byte {
	for len(src) > maxBlock {
		dst = append(appendBlockHeader(dst, blockRaw, maxBlock, false), src[:maxBlock]...)
		src = src[maxBlock:]
	}
	return append(appendBlockHeader(dst, blockRaw, len(src), true), src...)
}

// load begins a frame with src.
func (e *Encoder) load(src []byte) {
	e.in = word.Frame(e.in, src)
	e.out.reset()
	e.find.Reset(e.in)
}

// choose fills e.seqs and e.literals with the block e.in[from:to], whose matches e.find has listed.
func (e *Encoder) choose(from, to int) {
	if e.passes == 0 {
		e.seqs = lazy(e.find, from, to, e.out.repeats, e.seqs[:0])
	} else {
		e.prime(from, to)
		for range e.passes {
			e.seqs = e.parser.parse(e.find, from, to, e.out.repeats, e.seqs[:0])
		}
	}
	e.gather(from, to)
}

// primeSize is how much the parser's first statistics are taken from; its own soon replace them.
const primeSize = 8 << 10

// prime sets the parser's statistics from a quick look at the beginning of the block e.in[from:to].
func (e *Encoder) prime(from, to int) {
	to = min(to, from+primeSize)
	e.seqs = lazy(e.find, from, to, e.out.repeats, e.seqs[:0])
	e.parser.counts = counts{}
	e.parser.counts.addFrom(e.in, from, to, e.seqs, e.out.repeats)
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
	e.cut(from, to)
	seqs, lits := e.seqs, e.literals
	for p, end := range e.split.All() {
		dst = e.out.appendBlock(dst, e.in[from:from+p.Plain], seqs[:p.Steps], lits[:p.Literals], last && end)
		seqs, lits, from = seqs[p.Steps:], lits[p.Literals:], from+p.Plain
	}
	return dst
}

// cut spreads e.seqs, which make the block e.in[from:to], over the parts of e.split; the literals behind them belong to
// the last.
func (e *Encoder) cut(from, to int) {
	p, r, begin := e.split.First(), e.out.repeats, 0
	for i, s := range e.seqs {
		if next := e.split.Next(p); next != p {
			from, r = p.Stats.add(e.in, from, e.seqs[begin:i], r, 1)
			p, begin = next, i
		}
		p.Steps++
		p.Plain += int(s.literals + s.length)
		p.Literals += int(s.literals)
	}
	from, _ = p.Stats.add(e.in, from, e.seqs[begin:], r, 1)
	p.Stats.addLiterals(e.in[from:to])
	p.Plain += to - from
	p.Literals += to - from
	e.split.Join()
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
