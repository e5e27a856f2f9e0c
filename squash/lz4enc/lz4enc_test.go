package lz4enc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// inputs are the kinds of blocks that have their own path through the encoder, the same on every machine.
func inputs() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, MaxInput)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 200_000) // few matches, codes of very different lengths
	for i := range skewed {
		skewed[i] = byte(rnd.Uint32()) & byte(rnd.Uint32()) & byte(rnd.Uint32()>>2)
	}
	var words []byte
	for len(words) < MaxInput {
		words = fmt.Appendf(words, "%s %d ", []string{"root", "the", "of", "slot", "boot", "kernel"}[rnd.IntN(6)], rnd.IntN(900))
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	m := map[string][]byte{
		"zeros 128K":       make([]byte, 128<<10),
		"zeros 1M":         make([]byte, MaxInput),
		"random 128K":      random[:128<<10],
		"random 1M":        random,
		"skewed":           skewed,
		"words 128K":       words[:128<<10],
		"words 1M":         words[:MaxInput],
		"every byte":       all,
		"every byte often": bytes.Repeat(all, 1000),
		"far away":         append(bytes.Clone(random[:maxDistance]), random[:maxDistance]...),
		"too far away":     append(bytes.Clone(random[:maxDistance+1]), random[:maxDistance+1]...),
		"zeros in random":  append(append(bytes.Clone(random[:70_000]), make([]byte, 140_000)...), random[:90_000]...),
		"period 3":         bytes.Repeat([]byte("abc"), 100_000),
		"long period":      bytes.Repeat(random[:5000], 200),
		"random then text": append(bytes.Clone(random[:128<<10]), words[:200_000]...),
		"fibonacci":        fibonacci(),
	}
	for n := range 40 {
		m[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
		m[fmt.Sprintf("random %d", n)] = random[:n]
		m[fmt.Sprintf("words %d", n)] = words[:n]
	}
	for _, n := range []int{255, 256, 257, 258, 259, 260, 4096, 65535, 65536, 128<<10 - 1, 128<<10 + 1, 128<<10 + 7, 300_001} {
		m[fmt.Sprintf("words %d", n)] = words[:n]
		m[fmt.Sprintf("random %d", n)] = random[:n]
		m[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
	}
	return m
}

// fibonacci is bytes of very different counts, in an order without long matches.
func fibonacci() []byte {
	var b []byte
	a, n := 1, 1
	for s := range 24 {
		b = append(b, bytes.Repeat([]byte{byte(s)}, n)...)
		a, n = n, a+n
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	rnd.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
	return b[:min(len(b), MaxInput)]
}

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
			if matches > 0 && lits < lastPlain {
				tb.Fatalf("%s: the block ends with %d literals, want %d at least", what, lits, lastPlain)
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
	used := New()
	in := inputs()
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if got, want := used.Encode(nil, in[name]), New().Encode(nil, in[name]); !bytes.Equal(got, want) {
			t.Errorf("%s: a used encoder gives %d bytes, a new one %d other ones", name, len(got), len(want))
		}
	}
	got := used.Encode([]byte("before"), in["words 257"])
	if rest, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(rest, New().Encode(nil, in["words 257"])) {
		t.Errorf("Encode(before, ...) = %q..., want the stream behind what was there", got[:min(len(got), 20)])
	}
}

// The digest freezes the output of ID. If this test fails because the encoder is better now, ID has to change too.
func TestOutputOfThisIDIsFrozen(t *testing.T) {
	const golden = "48465c892fd6b3253c3d50153860f6ca"
	if ID != "slot-lz4/1" {
		t.Fatalf("ID = %s: this digest is of slot-lz4/1", ID)
	}
	in := inputs()
	e := New()
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(in)) {
		sum.Write(e.Encode(nil, in[name]))
	}
	if got := hex.EncodeToString(sum.Sum(nil)[:16]); got != golden {
		t.Errorf("digest of all outputs = %s, want %s (%s/%s)", got, golden, runtime.GOOS, runtime.GOARCH)
	}
}

func TestTooLongInputPanics(t *testing.T) {
	defer func() {
		if r := fmt.Sprint(recover()); !strings.Contains(r, "want at most 1048576") {
			t.Errorf("Encode(1 MiB and a byte) panics with %q, want the limit", r)
		}
	}()
	New().Encode(nil, make([]byte, MaxInput+1))
}

func FuzzEncode(f *testing.F) {
	for _, in := range inputs() {
		f.Add(in[:min(len(in), 4096)], uint16(len(in)), uint16(len(in)%7))
	}
	e := New()
	f.Fuzz(func(t *testing.T, in []byte, distance, times uint16) {
		// A short input becomes a long one, with matches at any distance.
		long := bytes.Clone(in)
		for range times % 64 {
			long = append(append(long, make([]byte, int(distance)%3000)...), in...)
		}
		long = long[:min(len(long), MaxInput)]
		check(t, "fuzz", e.Encode(nil, long), long)
	})
}
