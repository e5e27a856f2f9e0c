package lz4enc

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/slotboot/slotboot/internal/lz/lz4block"
	"github.com/slotboot/slotboot/internal/lz/lztest"
)

// inputs are the kinds of blocks that have their own path through the encoder.
func inputs() map[string][]byte { return lztest.WindowBlocks(lz4block.MaxDistance) }

// check decodes block with pierrec's decoder and compares.
func check(tb testing.TB, what string, block, want []byte) {
	tb.Helper()
	got := make([]byte, len(want)+1)
	n, err := lz4.UncompressBlock(block, got)
	if err != nil || !bytes.Equal(got[:n], want) {
		tb.Fatalf("%s: decode the %d bytes of Encode(%d bytes) = %d bytes, %v, want the same back", what, len(block), len(want), n, err)
	}
	if most := lz4.CompressBlockBound(len(want)); len(block) > most {
		tb.Fatalf("%s: Encode(%d bytes) = %d bytes, want at most %d", what, len(want), len(block), most)
	}
	checkEnd(tb, what, block)
}

// checkEnd makes sure of what decoders may count on: a block ends with literals, of which there are 5 if it has a match
// at all.
func checkEnd(tb testing.TB, what string, block []byte) {
	tb.Helper()
	matches := 0
	number := func(i, n int) (int, int) {
		for v := 255; n >= 15 && v == 255; i++ {
			v = int(block[i])
			n += v
		}
		return i, n
	}
	for i := 0; ; matches++ {
		token := int(block[i])
		at, lits := number(i+1, token>>4)
		if i = at + lits; i == len(block) {
			if matches > 0 && lits < lz4block.LastLiterals {
				tb.Fatalf("%s: the block ends with %d literals, want %d at least", what, lits, lz4block.LastLiterals)
			}
			return
		}
		i, _ = number(i+2, token&15)
	}
}

func TestEveryInputComesBack(t *testing.T) {
	e := New()
	for name, in := range inputs() {
		check(t, name, e.Encode(nil, in), in)
	}
}

func TestWhatWasEncodedBeforeDoesNotCount(t *testing.T) {
	lztest.UsedWritesWhatFreshDoes(t, inputs(), func() lztest.Encode { return New().Encode })
}

// The digest freezes the output of ID. If this test fails because the encoder is better now, ID has to change too.
func TestOutputOfThisIDIsFrozen(t *testing.T) {
	const golden = "48465c892fd6b3253c3d50153860f6ca"
	if ID != "slot-lz4/1" {
		t.Fatalf("ID = %s: this digest is of slot-lz4/1", ID)
	}
	if got := lztest.Digest(inputs(), New().Encode); got != golden {
		t.Errorf("digest of all outputs = %s, want %s (%s/%s)", got, golden, runtime.GOOS, runtime.GOARCH)
	}
}

func TestTooLongInputPanics(t *testing.T) { lztest.LongerPanics(t, MaxInput, New().Encode) }

func FuzzEncode(f *testing.F) {
	e := New()
	lztest.Fuzz(f, func(t *testing.T, in []byte) { check(t, "fuzz", e.Encode(nil, in), in) })
}

func BenchmarkOurs(b *testing.B) { lztest.Bench(b, 128<<10, 8, New().Encode) }
