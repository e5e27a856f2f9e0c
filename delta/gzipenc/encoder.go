package gzipenc

import (
	"github.com/slotboot/slotboot/internal/lz/deflate"
	"github.com/slotboot/slotboot/internal/lz/word"
)

// The sizes gzip works with.
const (
	windowSize   = deflate.WindowSize
	minMatch     = deflate.MinMatch
	maxMatch     = deflate.MaxMatch
	minLookahead = maxMatch + minMatch + 1
	maxDistance  = windowSize - minLookahead
	tooFar       = 4096 // a match of 3 bytes does not pay from further back

	hashSize  = 1 << 15
	hashShift = 5

	// Level 9: how many candidates are looked at, and how long a match must be for a quarter of them to do.
	maxChain  = 4096
	goodMatch = 32

	maxTokens = 32<<10 - 1 // in a block
)

// Encoder makes deflate streams. The zero value is ready; one Encoder serves one stream after the other, and costs about
// half a megabyte and as much as the longest stream's plain bytes.
type Encoder struct {
	head [hashSize]int32   // the last place of each hash; place 0 stands for none, so it is never a match
	prev [windowSize]int32 // the place before it with the same hash
	text []byte            // the plain bytes, and behind them what gzip sees there
	size int               // of the plain bytes
	hash uint32

	// Where gzip's buffer of two windows stands in text. That it is moved along shows in two places: matches are not
	// looked for too near to its end, and a block that began before it cannot be stored.
	base   int
	filled int
	eof    bool

	block blockWriter
}

// Deflate appends the deflate stream of plain to dst.
func (e *Encoder) Deflate(dst, plain []byte) []byte {
	e.start(plain)
	e.block.start(dst)
	e.refill(0)
	pos, began := 0, 0
	length, match := minMatch-1, 0 // of the match at pos-1
	literal := false               // the byte at pos-1 waits for what the match at pos is like
	flush := func() {
		e.finishBlock(began, pos, false)
		began = pos
	}
	for pos < e.size {
		candidate := e.insert(pos)
		before, beforeMatch := length, match
		if length = minMatch - 1; e.worth(candidate, pos, before) {
			length, match = e.longest(candidate, pos, before, match)
			length = min(length, e.size-pos)
			if length == minMatch && pos-match > tooFar {
				length--
			}
		}
		switch {
		case before >= minMatch && length <= before:
			full := e.block.match(pos-1-beforeMatch, before, pos-began)
			for end := pos - 1 + before; pos+1 < end; {
				pos++
				e.insert(pos)
			}
			pos++
			literal, length = false, minMatch-1
			if full {
				flush()
			}
		case literal:
			if e.block.literal(e.text[pos-1], pos-began) {
				flush()
			}
			pos++
		default:
			literal = true
			pos++
		}
		e.refill(pos)
	}
	if literal {
		e.block.literal(e.text[pos-1], pos-began)
	}
	e.finishBlock(began, pos, true)
	return e.block.End()
}

// start takes plain in.
func (e *Encoder) start(plain []byte) {
	clear(e.head[:])
	clear(e.prev[:])
	e.size = len(plain)
	e.text = append(e.text[:0], plain...)
	e.text = append(e.text, make([]byte, maxMatch+minMatch)...)
	e.base, e.filled, e.eof = 0, min(e.size, 2*windowSize), e.size == 0
	e.hash = uint32(e.text[0])<<hashShift ^ uint32(e.text[1])
}

// refill moves the buffer along as gzip does when less than minLookahead bytes of it lie ahead.
func (e *Encoder) refill(pos int) {
	for e.filled-pos < minLookahead && !e.eof {
		if pos-e.base >= windowSize+maxDistance {
			e.base += windowSize
		}
		if e.filled == e.size {
			e.eof = true
			e.haunt()
		}
		e.filled = min(e.size, e.base+2*windowSize)
	}
}

// haunt puts behind the plain bytes what gzip finds there: two zeros, then what its buffer holds from before, which is
// what stood one window earlier, if it has been moved, else zeros. It shows because the longest match may end there.
func (e *Encoder) haunt() {
	if e.base == 0 {
		return
	}
	for i := e.size + minMatch - 1; i < len(e.text); i++ {
		e.text[i] = e.text[i-windowSize]
	}
}

// insert notes pos under the hash of the three bytes there, and returns the last place before it with that hash.
func (e *Encoder) insert(pos int) int {
	e.hash = (e.hash<<hashShift ^ uint32(e.text[pos+minMatch-1])) % hashSize
	last := e.head[e.hash]
	e.prev[pos%windowSize] = last
	e.head[e.hash] = int32(pos)
	return int(last)
}

// worth tells whether gzip looks for a match at pos that is longer than before.
func (e *Encoder) worth(candidate, pos, before int) bool {
	return candidate != 0 && before < maxMatch && pos-candidate <= maxDistance && pos-e.base <= 2*windowSize-minLookahead
}

// longest returns the length and place of the longest match at pos, the nearest of several, if it is longer than the one
// before; else that one's.
func (e *Encoder) longest(candidate, pos, length, match int) (int, int) {
	chain := maxChain
	if length >= goodMatch {
		chain /= 4
	}
	limit := max(0, pos-maxDistance)
	here := e.text[pos : pos+maxMatch]
	for ; chain > 0; chain-- {
		there := e.text[candidate : candidate+maxMatch]
		if there[length] == here[length] && there[length-1] == here[length-1] {
			if n := word.Prefix(here, there); n > length {
				length, match = n, candidate
				if n == maxMatch {
					break
				}
			}
		}
		if candidate = int(e.prev[candidate%windowSize]); candidate <= limit {
			break
		}
	}
	return length, match
}

// finishBlock ends the block of the plain bytes from began to pos.
func (e *Encoder) finishBlock(began, pos int, last bool) {
	var plain []byte // stays nil if gzip has lost the beginning
	if began >= e.base {
		plain = e.text[began:pos]
	}
	e.block.finish(plain, pos-began, last)
}
