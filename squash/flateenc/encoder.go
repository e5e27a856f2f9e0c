package flateenc

import (
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"slices"
)

// ID names the encoder's output: with the same ID and input, Encode writes the same bytes.
const ID = "slot-zlib/1"

// MaxInput is the most bytes one call of Encode takes: the largest squashfs block.
const MaxInput = 1 << 20

// chunkSize is how much is parsed and split at a time.
const chunkSize = 128 << 10

// effort is how hard to look. A change of any number changes the output, and so needs a new ID.
type effort struct {
	depth   int    // steps along the chain of equal 5 bytes
	nice    int    // a match of this length is taken without looking inside it
	inherit int    // while a match has more than this left, only longer ones are looked for
	slack   uint32 // the parser ignores a position if the next is reached for at most so many 1/256 bits more
	again   int    // how often each part is parsed again by its own prices
}

// effortOfID is what ID stands for; NOTES.md has its neighbours.
var effortOfID = effort{depth: 32, nice: 64, inherit: 16, slack: bitCost, again: 1}

// pad is how far the matcher may read beyond the end.
const pad = 16

// Encoder compresses blocks. It keeps 3 to 10 MB, by the largest block seen, for the next call. It must not be used by
// two goroutines at once: use one for each.
type Encoder struct {
	in     []byte // front bytes, the input, pad zeros
	out    *blocks
	find   *finder
	parser parser
	split  splitter
	tokens []token
	better []token
}

// New returns an Encoder.
func New() *Encoder {
	e := &Encoder{out: &blocks{}, find: newFinder(effortOfID)}
	e.out.init()
	return e
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
	e.out.out, e.out.acc, e.out.n = append(dst, 0x78, 0xda), 0, 0
	if len(src) == 0 {
		e.out.append(nil, nil, true)
	}
	e.load(src)
	for from := 0; from < len(src); {
		to := min(from+chunkSize, len(src))
		e.find.find(front+from, front+to)
		e.choose(front+from, front+to)
		e.write(front+from, to == len(src))
		from = to
	}
	e.out.align()
	dst = e.out.out
	e.out.out = nil
	return binary.BigEndian.AppendUint32(dst, adler32.Checksum(src))
}

// load begins a stream with src.
func (e *Encoder) load(src []byte) {
	size := front + len(src) + pad
	e.in = slices.Grow(e.in[:0], size)[:size]
	copy(e.in[front:], src)
	clear(e.in[front+len(src):])
	e.find.reset(e.in)
}

// primeSize is how much the parser's first statistics are taken from; its own soon replace them.
const primeSize = 8 << 10

// choose fills e.tokens with the chunk e.in[from:to], whose matches e.find has listed, and cuts it into parts.
func (e *Encoder) choose(from, to int) {
	e.tokens = lazy(e.find, from, min(to, from+primeSize), e.tokens[:0])
	e.parser.counts = counts{}
	e.parser.counts.add(e.tokens, 1)
	e.tokens = e.parser.parse(e.find, from, to, e.tokens[:0])
	e.split.split(e.tokens)
}

// write writes the parts of the chunk that begins at e.in[from], each parsed again.
func (e *Encoder) write(from int, last bool) {
	tokens, at := e.tokens, from
	for i := 0; i >= 0; {
		p := &e.split.parts[i]
		i = p.next
		best := tokens[:p.tokens]
		stats := &p.stats
		for range e.find.again {
			stats.symbol[endOfBlock] = 1
			e.out.build(&e.out.symbol, stats.symbol[:], maxBits)
			e.out.build(&e.out.distance, stats.distance[:], maxBits)
			e.parser.exact(&e.out.symbol, &e.out.distance)
			e.better = e.parser.again(e.find, from, at, at+p.plain, e.better[:0])
			best = e.better
			*stats = counts{}
			stats.add(best, 1)
		}
		e.out.append(best, e.in[at:at+p.plain], last && i < 0)
		tokens, at = tokens[p.tokens:], at+p.plain
	}
}

// exact sets the prices to those of two codes; a symbol that has none gets that of a rare one.
func (p *parser) exact(symbol, distance *code) {
	var price [symbols]uint32
	for s := range price {
		price[s] = exactPrice(symbol.length[s], 13)
	}
	for s := range p.distance {
		p.distance[s] = exactPrice(distance.length[s], 10)
	}
	p.spread(&price)
}

func exactPrice(length, rare uint8) uint32 {
	if length == 0 {
		length = rare
	}
	return uint32(length) << fracBits
}
