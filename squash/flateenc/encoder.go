package flateenc

import (
	"encoding/binary"
	"fmt"
	"hash/adler32"

	"github.com/slotboot/slotboot/internal/lz/cost"
	"github.com/slotboot/slotboot/internal/lz/deflate"
	"github.com/slotboot/slotboot/internal/lz/match"
	"github.com/slotboot/slotboot/internal/lz/split"
	"github.com/slotboot/slotboot/internal/lz/word"
)

// ID names the encoder's output: with the same ID and input, Encode writes the same bytes.
const ID = "slot-zlib/1"

// MaxInput is the most bytes one call of Encode takes: the largest squashfs block.
const MaxInput = 1 << 20

// What ID stands for; NOTES.md has the neighbours. A change of any number changes the output, and so needs a new ID.
const (
	depth   = 32       // steps along the chain of equal 5 bytes
	nice    = 64       // a match of this length is taken without looking inside it
	inherit = 16       // while a match has more than this left, only longer ones are looked for
	slack   = cost.Bit // the parser ignores a position if the next is reached for at most so many 1/256 bits more
	again   = 1        // how often each part is parsed again by its own prices
)

// Encoder compresses blocks. It keeps 3 to 10 MB, by the largest block seen, for the next call. It must not be used by
// two goroutines at once: use one for each.
type Encoder struct {
	in     []byte // framed
	out    *blocks
	find   *match.Finder
	parser parser
	split  split.Splitter[counts, *counts]
	tokens []deflate.Token
	better []deflate.Token
}

// New returns an Encoder.
func New() *Encoder {
	return &Encoder{out: &blocks{}, find: match.NewFinder(match.Rules{Longest: deflate.MaxMatch, Farthest: deflate.WindowSize,
		First: word.First5, Depth: depth, Nice: nice, Inherit: inherit})}
}

// Encode appends src as one zlib stream to dst and returns the extended slice.
//
// It takes at most MaxInput bytes and panics beyond: the caller has chosen the block size. src is not kept and not changed;
// dst must not overlap it.
func (e *Encoder) Encode(dst, src []byte) []byte {
	if len(src) > MaxInput {
		panic(fmt.Sprintf("flateenc: encode %d bytes: want at most %d", len(src), MaxInput))
	}
	// Deflate with a window of 32 KiB, by the slowest algorithm; the two bytes are a multiple of 31 (RFC 1950, 2.2).
	e.out.Reset(append(dst, 0x78, 0xda))
	if len(src) == 0 {
		e.out.append(nil, nil, true)
	}
	e.in = word.Frame(e.in, src)
	e.find.Reset(e.in)
	for from, end := word.Front, word.Front+len(src); from < end; {
		to := min(from+match.ChunkSize, end)
		e.find.Find(from, to)
		e.choose(from, to)
		e.write(from, to == end)
		from = to
	}
	return binary.BigEndian.AppendUint32(e.out.End(), adler32.Checksum(src))
}

// primeSize is how much the parser's first statistics are taken from; its own soon replace them.
const primeSize = 8 << 10

// choose fills e.tokens with the chunk e.in[from:to], whose matches e.find has listed, and cuts it into parts.
func (e *Encoder) choose(from, to int) {
	e.tokens = lazy(e.find, from, min(to, from+primeSize), e.tokens[:0])
	e.parser.counts = counts{}
	e.parser.counts.Add(e.tokens, 1)
	e.tokens = e.parser.parse(e.find, from, to, e.tokens[:0])
	e.cut()
}

// cut spreads e.tokens over the parts of e.split.
func (e *Encoder) cut() {
	p := e.split.First()
	begin := 0
	for i, t := range e.tokens {
		if next := e.split.Next(p); next != p {
			p.Stats.Add(e.tokens[begin:i], 1)
			p, begin = next, i
		}
		p.Steps++
		p.Plain += t.Plain()
	}
	p.Stats.Add(e.tokens[begin:], 1)
	e.split.Join()
}

// write writes the parts of the chunk that begins at e.in[from], each parsed again.
func (e *Encoder) write(from int, last bool) {
	tokens := e.tokens
	for p, end := range e.split.All() {
		to := from + p.Plain
		best := tokens[:p.Steps]
		for range again {
			e.out.codes(&p.Stats)
			e.parser.exact(&e.out.symbol, &e.out.distance)
			e.better = e.parser.again(e.find, from, to, e.better[:0])
			best = e.better
			p.Stats = counts{}
			p.Stats.Add(best, 1)
		}
		e.out.append(best, e.in[from:to], last && end)
		tokens, from = tokens[p.Steps:], to
	}
}

// exact sets the prices to those of two codes; a symbol that has none gets that of a rare one.
func (p *parser) exact(symbol, distance *deflate.Code) {
	var price [deflate.Symbols]uint32
	for s := range price {
		price[s] = exactPrice(symbol.Length[s], 13)
	}
	for s := range p.distance {
		p.distance[s] = exactPrice(distance.Length[s], 10)
	}
	p.spread(&price)
}

func exactPrice(length, rare uint8) uint32 {
	if length == 0 {
		length = rare
	}
	return uint32(length) << cost.FracBits
}
