package gzipenc

import (
	"encoding/binary"
	"math/bits"
)

const (
	endOfBlock  = 256
	firstLength = 257 // the symbol of the shortest match
	numLengths  = 29
	numSymbols  = firstLength + numLengths
	numDistance = 30
	numCodeLen  = 19
	maxCodeBits = 15
	maxLenBits  = 7
)

// codeLenOrder is the order in which the lengths of the code length code are written (RFC 1951, 3.2.7).
var codeLenOrder = [numCodeLen]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbol returns the symbol of a match of n bytes less firstLength, with the extra bits and their number.
func lengthSymbol(n int) (symbol, extra, width int) {
	v := n - minMatch
	if n == maxMatch {
		return numLengths - 1, 0, 0
	}
	if v < 8 {
		return v, 0, 0
	}
	width = bits.Len(uint(v)) - 3
	return width*4 + v>>width, v & (1<<width - 1), width
}

// distanceSymbol does the same for a distance.
func distanceSymbol(n int) (symbol, extra, width int) {
	v := n - 1
	if v < 4 {
		return v, 0, 0
	}
	width = bits.Len(uint(v)) - 2
	return width*2 + v>>width, v & (1<<width - 1), width
}

// lengthWidth and distanceWidth are the numbers of extra bits of each symbol.
func lengthWidth(symbol int) int {
	if s := symbol - firstLength; s >= 8 && s < numLengths-1 {
		return s/4 - 1
	}
	return 0
}

func distanceWidth(symbol int) int { return max(0, symbol/2-1) }

func codeLenWidth(symbol int) int {
	switch symbol {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

// token is a literal, or a match: its distance above its length.
type token uint32

func (t token) match() (distance, length int) { return int(t >> 9), int(t & 511) }

// blockWriter collects the tokens of a block and writes it in the smallest of the three forms.
type blockWriter struct {
	tokens    []token
	symbols   [numSymbols]int // how often each occurs
	distances [numDistance]int
	matches   int
	out       []byte
	acc       uint64 // bits that make no byte yet
	accLen    int
	huffman   huffman
	codes     [3]code // of symbols, distances and code lengths
}

func (w *blockWriter) start(dst []byte) {
	w.out, w.acc, w.accLen = dst, 0, 0
	w.reset()
}

func (w *blockWriter) reset() {
	w.tokens, w.matches = w.tokens[:0], 0
	clear(w.symbols[:])
	clear(w.distances[:])
}

// literal adds a byte, match a match. plain is how many bytes the block has so far, as far as gzip has come by then. They
// tell whether the block ends here.
func (w *blockWriter) literal(b byte, plain int) bool {
	w.tokens = append(w.tokens, token(b))
	w.symbols[b]++
	return w.full(plain)
}

func (w *blockWriter) match(distance, length, plain int) bool {
	w.tokens = append(w.tokens, token(distance<<9|length))
	l, _, _ := lengthSymbol(length)
	d, _, _ := distanceSymbol(distance)
	w.symbols[firstLength+l]++
	w.distances[d]++
	w.matches++
	return w.full(plain)
}

// full tells whether gzip ends the block: there is no more room, or, every 4096 tokens, few of them are matches and an
// upper bound of the compressed size is less than half of the plain size.
func (w *blockWriter) full(plain int) bool {
	n := len(w.tokens)
	if n%4096 == 0 && w.matches < n/2 {
		bound := 8 * n
		for d, count := range w.distances {
			bound += count * (5 + distanceWidth(d))
		}
		if bound/8 < plain/2 {
			return true
		}
	}
	return n == maxTokens
}

// finish writes the block. plain is nil if it cannot be stored.
func (w *blockWriter) finish(plain []byte, size int, last bool) {
	w.symbols[endOfBlock] = 1
	symbols, distances, lengths := &w.codes[0], &w.codes[1], &w.codes[2]
	dynamic := w.huffman.build(symbols, w.symbols[:], maxCodeBits, lengthWidth)
	dynamic += w.huffman.build(distances, w.distances[:], maxCodeBits, distanceWidth)
	runs := appendRuns(nil, symbols.bits)
	runs = appendRuns(runs, distances.bits)
	var counts [numCodeLen]int
	for _, r := range runs {
		counts[r.symbol]++
	}
	dynamic += w.huffman.build(lengths, counts[:], maxLenBits, codeLenWidth)
	sent := numCodeLen
	for sent > 4 && (codeLenOrder[sent-1] >= len(lengths.bits) || lengths.bits[codeLenOrder[sent-1]] == 0) {
		sent--
	}
	dynamic += 3*sent + 14
	static := w.staticSize()
	// In bytes, with the three bits in front; where they are equal gzip takes the static form.
	dynamic, static = (dynamic+3+7)/8, (static+3+7)/8
	final := uint64(0)
	if last {
		final = 1
	}
	switch {
	case plain != nil && size+4 <= min(dynamic, static):
		w.bits(final, 3)
		w.align()
		w.out = binary.LittleEndian.AppendUint16(w.out, uint16(size))
		w.out = binary.LittleEndian.AppendUint16(w.out, ^uint16(size))
		w.out = append(w.out, plain...)
	case static <= dynamic:
		w.bits(2|final, 3)
		w.write(&staticSymbols, &staticDistances)
	default:
		w.bits(4|final, 3)
		w.bits(uint64(len(symbols.bits)-firstLength), 5)
		w.bits(uint64(len(distances.bits)-1), 5)
		w.bits(uint64(sent-4), 4)
		for _, symbol := range codeLenOrder[:sent] {
			n := 0
			if symbol < len(lengths.bits) {
				n = int(lengths.bits[symbol])
			}
			w.bits(uint64(n), 3)
		}
		for _, r := range runs {
			w.bits(uint64(lengths.word[r.symbol]), int(lengths.bits[r.symbol]))
			w.bits(uint64(r.extra), codeLenWidth(r.symbol))
		}
		w.write(symbols, distances)
	}
	w.reset()
}

func (w *blockWriter) staticSize() int {
	n := 0
	for s, count := range w.symbols {
		n += count * (int(staticSymbols.bits[s]) + lengthWidth(s))
	}
	for d, count := range w.distances {
		n += count * (int(staticDistances.bits[d]) + distanceWidth(d))
	}
	return n
}

// write writes the tokens and the end of the block.
func (w *blockWriter) write(symbols, distances *code) {
	for _, t := range w.tokens {
		distance, length := t.match()
		if distance == 0 {
			w.bits(uint64(symbols.word[length]), int(symbols.bits[length]))
			continue
		}
		s, extra, width := lengthSymbol(length)
		w.bits(uint64(symbols.word[firstLength+s]), int(symbols.bits[firstLength+s]))
		w.bits(uint64(extra), width)
		s, extra, width = distanceSymbol(distance)
		w.bits(uint64(distances.word[s]), int(distances.bits[s]))
		w.bits(uint64(extra), width)
	}
	w.bits(uint64(symbols.word[endOfBlock]), int(symbols.bits[endOfBlock]))
}

// bits writes the lowest n bits of v, at most 16.
func (w *blockWriter) bits(v uint64, n int) {
	w.acc |= v << w.accLen
	for w.accLen += n; w.accLen >= 8; w.accLen -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// align fills the last byte up with zeros.
func (w *blockWriter) align() {
	if w.accLen > 0 {
		w.out = append(w.out, byte(w.acc))
		w.acc, w.accLen = 0, 0
	}
}

func (w *blockWriter) end() []byte {
	w.align()
	out := w.out
	w.out = nil
	return out
}
