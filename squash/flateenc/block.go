package flateenc

import (
	"github.com/slotboot/slotboot/internal/lz/deflate"
	"github.com/slotboot/slotboot/internal/lz/huffman"
)

// blocks writes blocks of deflate.
type blocks struct {
	deflate.Writer
	coder
	stats    counts
	symbol   deflate.Code
	distance deflate.Code
	lengths  deflate.Code // of the code lengths
	run      []deflate.Run
}

// coder makes codes.
type coder struct{ huffman.Builder }

// build makes a good code for count, with at most limit bits.
func (h *coder) build(c *deflate.Code, count []uint32, limit int) {
	h.Quick(c.Length[:len(count)], count, limit)
	c.Assign(len(count))
}

// codes makes b.symbol and b.distance for stats.
func (b *blocks) codes(stats *counts) {
	stats.Symbol[deflate.EndOfBlock] = 1
	b.build(&b.symbol, stats.Symbol[:], deflate.MaxBits)
	b.build(&b.distance, stats.Distance[:], deflate.MaxBits)
}

// append writes tokens, which stand for plain, in the cheapest of the three kinds of blocks.
func (b *blocks) append(tokens []deflate.Token, plain []byte, last bool) {
	b.stats = counts{}
	b.stats.Add(tokens, 1)
	b.codes(&b.stats)
	d := b.describe()
	dynamic := d.Size() + b.stats.Size(&b.symbol, &b.distance)
	fixed := b.stats.Size(deflate.Fixed())
	stored := 8*len(plain) + (len(plain)+deflate.StoredMax-1)/deflate.StoredMax*(32+7)
	switch {
	case stored <= min(dynamic, fixed):
		b.Stored(plain, last)
	case fixed <= dynamic:
		b.Fixed(tokens, last)
	default:
		b.Dynamic(tokens, &d, last)
	}
}

// describe describes b.symbol and b.distance.
func (b *blocks) describe() deflate.Description {
	var all [deflate.Symbols + deflate.Distances]uint8
	n := copy(all[:], b.symbol.Length[:b.symbol.SentSymbols()])
	n += copy(all[n:], b.distance.Length[:b.distance.SentDistances()])
	b.run = b.run[:0]
	var count [deflate.CodeLengths]uint32
	put := func(symbol, extra int) {
		b.run = append(b.run, deflate.MakeRun(symbol, extra))
		count[symbol]++
	}
	for i := 0; i < n; {
		same := 1
		for i+same < n && all[i+same] == all[i] {
			same++
		}
		i += same
		if v := int(all[i-1]); v == 0 {
			for same >= 3 {
				k := min(same, 138)
				if k >= 11 {
					put(18, k-11)
				} else {
					put(17, k-3)
				}
				same -= k
			}
		} else {
			put(v, 0)
			for same--; same >= 3; {
				k := min(same, 6)
				if same-k == 1 || same-k == 2 { // no leftover that is sent one by one
					k = max(3, same-3)
					k = min(k, 6)
				}
				put(16, k-3)
				same -= k
			}
		}
		for ; same > 0; same-- {
			put(int(all[i-1]), 0)
		}
	}
	b.build(&b.lengths, count[:], deflate.MaxCodeBits)
	return deflate.Description{Symbol: &b.symbol, Distance: &b.distance, Lengths: &b.lengths, Runs: b.run}
}
