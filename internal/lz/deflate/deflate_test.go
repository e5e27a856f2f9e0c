package deflate

import (
	"bytes"
	"compress/flate"
	"io"
	"testing"
)

// every is tokens with each literal, then matches of each length and of distances around each symbol's first, and the
// bytes that they stand for.
func every() (tokens []Token, plain []byte) {
	put := func(t Token) {
		tokens = append(tokens, t)
		if !t.IsMatch() {
			plain = append(plain, byte(t))
			return
		}
		for range t.Length() {
			plain = append(plain, plain[len(plain)-int(t.Distance())])
		}
	}
	for len(plain) < WindowSize {
		put(Literal(byte(len(plain) ^ len(plain)>>8)))
	}
	for l := uint32(MinMatch); l <= MaxMatch; l++ {
		put(Match(l, 1+l*7))
	}
	for k := range 15 {
		for _, d := range []uint32{1 << k, 1<<k + 1, 1<<k + 1<<k/2, 1<<k + 1<<k/2 + 1, 2 << k} {
			put(Match(5, min(d, WindowSize)))
		}
	}
	return tokens, plain
}

// codes describes codes in which all symbols have nearly the same length.
func codes() *Description {
	d := &Description{Symbol: new(Code), Distance: new(Code), Lengths: new(Code)}
	level := func(c *Code, n int) {
		bits := uint8(1)
		for 1<<bits < n {
			bits++
		}
		for s := range n { // as many of the shorter as there is room for
			c.Length[s] = bits
			if s < 1<<bits-n {
				c.Length[s]--
			}
		}
		c.Assign(n)
	}
	level(d.Symbol, Symbols)
	level(d.Distance, Distances)
	level(d.Lengths, CodeLengths)
	for _, l := range append(d.Symbol.Length[:d.Symbol.SentSymbols():d.Symbol.SentSymbols()], d.Distance.Length[:d.Distance.SentDistances()]...) {
		d.Runs = append(d.Runs, MakeRun(int(l), 0))
	}
	return d
}

func TestAllKindsOfBlocksInflateToWhatTheirTokensSay(t *testing.T) {
	tokens, plain := every()
	var w Writer
	w.Reset([]byte("before"))
	w.Fixed(tokens, false)
	w.Stored(plain, false)
	w.Stored(nil, false)
	w.Stored(bytes.Repeat(plain, 3), false)
	w.Dynamic(tokens, codes(), true)
	stream, ok := bytes.CutPrefix(w.End(), []byte("before"))
	got, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream)))
	if want := bytes.Repeat(plain, 6); !ok || err != nil || !bytes.Equal(got, want) {
		t.Errorf("inflate: %d bytes, %v, want %d", len(got), err, len(want))
	}
}

func TestSizesAreThoseOfWhatIsWritten(t *testing.T) {
	tokens, plain := every()
	var c Counts
	c.Add(tokens, 1)
	c.Symbol[EndOfBlock] = 1
	d := codes()
	var w Writer
	w.Reset(nil)
	w.Fixed(tokens, true)
	if got, want := len(w.End()), (3+c.Size(Fixed())+7)/8; got != want {
		t.Errorf("Fixed writes %d bytes, Size says %d", got, want)
	}
	w.Reset(nil)
	w.Dynamic(tokens, d, true)
	if got, want := len(w.End()), (d.Size()+c.Size(d.Symbol, d.Distance)+7)/8; got != want {
		t.Errorf("Dynamic writes %d bytes, Size says %d", got, want)
	}
	n := 0
	for _, t := range tokens {
		n += t.Plain()
	}
	if n != len(plain) {
		t.Errorf("Plain of all tokens: %d bytes, they stand for %d", n, len(plain))
	}
}

func TestRunsOfZerosAndRepeatsAreDescribed(t *testing.T) {
	var symbol, distance, lengths Code
	symbol.Length['a'], symbol.Length[EndOfBlock], distance.Length[0] = 1, 1, 1
	symbol.Assign(Symbols)
	distance.Assign(Distances)
	for _, s := range []int{0, 1, 17, 18} {
		lengths.Length[s] = 2
	}
	lengths.Assign(CodeLengths)
	// 97 zeros, a, 158 zeros, the end, and the distance.
	d := &Description{Symbol: &symbol, Distance: &distance, Lengths: &lengths,
		Runs: []Run{MakeRun(18, 86), MakeRun(1, 0), MakeRun(18, 127), MakeRun(18, 0), MakeRun(17, 6), MakeRun(1, 0), MakeRun(1, 0)}}
	var w Writer
	w.Reset(nil)
	w.Dynamic([]Token{Literal('a'), Literal('a')}, d, true)
	stream := w.End()
	if got, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream))); err != nil || string(got) != "aa" {
		t.Errorf("inflate %x: %q, %v, want aa", stream, got, err)
	}
}
