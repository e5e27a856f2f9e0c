package gzipenc

import "github.com/slotboot/slotboot/internal/lz/deflate"

// blockWriter collects the tokens of a block and writes it in the smallest of the three forms.
type blockWriter struct {
	deflate.Writer
	tokens  []deflate.Token
	counts  deflate.Counts
	matches int
	huffman huffman
	codes   [3]deflate.Code // of symbols, distances and code lengths
	runs    []deflate.Run
}

func (w *blockWriter) start(dst []byte) {
	w.Reset(dst)
	w.reset()
}

func (w *blockWriter) reset() {
	w.tokens, w.matches, w.counts = w.tokens[:0], 0, deflate.Counts{}
}

// literal adds a byte, match a match. plain is how many bytes the block has so far, as far as gzip has come by then. They
// tell whether the block ends here.
func (w *blockWriter) literal(b byte, plain int) bool {
	w.tokens = append(w.tokens, deflate.Literal(b))
	w.counts.Symbol[b]++
	return w.full(plain)
}

func (w *blockWriter) match(distance, length, plain int) bool {
	w.tokens = append(w.tokens, deflate.Match(uint32(length), uint32(distance)))
	w.counts.Add(w.tokens[len(w.tokens)-1:], 1)
	w.matches++
	return w.full(plain)
}

// full tells whether gzip ends the block: there is no more room, or, every 4096 tokens, few of them are matches and an
// upper bound of the compressed size is less than half of the plain size.
func (w *blockWriter) full(plain int) bool {
	n := len(w.tokens)
	if n%4096 == 0 && w.matches < n/2 {
		bound := 8 * n
		for d, count := range w.counts.Distance {
			bound += int(count) * (5 + deflate.DistanceExtra(d))
		}
		if bound/8 < plain/2 {
			return true
		}
	}
	return n == maxTokens
}

// finish writes the block. plain is nil if it cannot be stored.
func (w *blockWriter) finish(plain []byte, size int, last bool) {
	d := w.describe()
	dynamic := d.Size() + w.counts.Size(d.Symbol, d.Distance)
	fixed := 3 + w.counts.Size(deflate.Fixed())
	// In bytes; where they are equal gzip takes the fixed form.
	dynamic, fixed = (dynamic+7)/8, (fixed+7)/8
	switch {
	case plain != nil && size+4 <= min(dynamic, fixed):
		w.Stored(plain, last)
	case fixed <= dynamic:
		w.Fixed(w.tokens, last)
	default:
		w.Dynamic(w.tokens, &d, last)
	}
	w.reset()
}

// describe makes the codes of the block.
func (w *blockWriter) describe() deflate.Description {
	d := deflate.Description{Symbol: &w.codes[0], Distance: &w.codes[1], Lengths: &w.codes[2]}
	w.counts.Symbol[deflate.EndOfBlock] = 1
	w.huffman.build(d.Symbol, w.counts.Symbol[:], deflate.MaxBits)
	w.huffman.build(d.Distance, w.counts.Distance[:], deflate.MaxBits)
	w.runs = appendRuns(w.runs[:0], d.Symbol.Length[:d.Symbol.SentSymbols()])
	w.runs = appendRuns(w.runs, d.Distance.Length[:d.Distance.SentDistances()])
	d.Runs = w.runs
	var count [deflate.CodeLengths]uint32
	for _, r := range d.Runs {
		count[r.Symbol()]++
	}
	w.huffman.build(d.Lengths, count[:], deflate.MaxCodeBits)
	return d
}
