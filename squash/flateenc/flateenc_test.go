package flateenc

import (
	"bytes"
	"compress/zlib"
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/slotboot/slotboot/internal/lz/deflate"
	"github.com/slotboot/slotboot/internal/lz/lztest"
)

// inputs are the kinds of blocks that have their own path through the encoder.
func inputs() map[string][]byte { return lztest.WindowBlocks(deflate.WindowSize) }

// check decodes stream with the standard library's decoder and compares.
func check(tb testing.TB, what string, stream, want []byte) {
	tb.Helper()
	r, err := zlib.NewReader(bytes.NewReader(stream))
	var got []byte
	if err == nil {
		got, err = io.ReadAll(r)
	}
	if err != nil || !bytes.Equal(got, want) {
		tb.Fatalf("%s: decode the %d bytes of Encode(%d bytes) = %d bytes, %v, want the same back", what, len(stream), len(want), len(got), err)
	}
	// Stored blocks are what is left when nothing else helps: 5 bytes each, cut where the statistics changed.
	if most := len(want) + 6 + 5*(1+len(want)/(8<<10)); len(stream) > most {
		tb.Fatalf("%s: Encode(%d bytes) = %d bytes, want at most %d", what, len(want), len(stream), most)
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
	const golden = "29968cbebe560aa92fdb5733c7e64e35"
	if ID != "slot-zlib/1" {
		t.Fatalf("ID = %s: this digest is of slot-zlib/1", ID)
	}
	if got := lztest.Digest(inputs(), New().Encode); got != golden {
		t.Errorf("digest of all outputs = %s, want %s (%s/%s)", got, golden, runtime.GOOS, runtime.GOARCH)
	}
}

func TestSmallerThanTheStandardLibrary(t *testing.T) {
	text, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("block.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string][]byte{"go.sum": text, "block.go": source, "words": inputs()["words 128K"]} {
		var b bytes.Buffer
		w, err := zlib.NewWriterLevel(&b, zlib.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(in); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		if got := len(New().Encode(nil, in)); got >= b.Len() {
			t.Errorf("%s: Encode = %d bytes, compress/zlib makes %d", name, got, b.Len())
		}
	}
}

func TestTooLongInputPanics(t *testing.T) { lztest.LongerPanics(t, MaxInput, New().Encode) }

func FuzzEncode(f *testing.F) {
	e := New()
	lztest.Fuzz(f, func(t *testing.T, in []byte) { check(t, "fuzz", e.Encode(nil, in), in) })
}
