package zstdenc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/internal/need"
)

// levels are all levels, for tests that hold for each.
var levels = []Level{Fast, Default, Best}

// inputs are the kinds of blocks that have their own path through the encoder.
func inputs() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, MaxInput)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 200_000)
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
		"text 128K":        text(128 << 10),
		"text 1M":          text(MaxInput),
		"patchwork":        patchwork(300_000),
		"binary 256K":      binaryLike(256 << 10),
		"zeros 128K":       make([]byte, 128<<10),
		"zeros 1M":         make([]byte, MaxInput),
		"random 128K":      random[:128<<10],
		"random 1M":        random,
		"skewed":           skewed,
		"words 128K":       words[:128<<10],
		"words 1M":         words[:MaxInput],
		"every byte":       all,
		"every byte often": bytes.Repeat(all, 1000),
		"random then same": append(bytes.Clone(random[:300_000]), random[:300_000]...),
		"zeros in random":  append(append(bytes.Clone(random[:70_000]), make([]byte, 140_000)...), random[:90_000]...),
		"period 3":         bytes.Repeat([]byte("abc"), 100_000),
		"long period":      bytes.Repeat(random[:5000], 200),
		"random then text": append(bytes.Clone(random[:128<<10]), words[:200_000]...),
	}
	for n := range 40 {
		m[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
		m[fmt.Sprintf("random %d", n)] = random[:n]
		m[fmt.Sprintf("words %d", n)] = words[:n]
	}
	for _, n := range []int{255, 256, 257, 4096, 65535, 65791, 65792, 65793, 128<<10 - 1, 128<<10 + 1, 128<<10 + 7, 300_001} {
		m[fmt.Sprintf("words %d", n)] = words[:n]
		m[fmt.Sprintf("random %d", n)] = random[:n]
	}
	if exe, err := os.ReadFile("/proc/self/exe"); err == nil {
		m["executable 128K"] = exe[1<<20:][:128<<10]
		m["executable 1M"] = exe[1<<20:][:MaxInput]
	}
	return m
}

// text is prose-like bytes with names, numbers and repeats at all distances, the same on every machine.
func text(n int) []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	var words [][]byte
	for range 500 {
		w := make([]byte, 1+rnd.IntN(9))
		for i := range w {
			w[i] = "etaoinshrdlucmfwypvbgk"[rnd.IntN(1+rnd.IntN(22))]
		}
		words = append(words, w)
	}
	var b []byte
	for len(b) < n {
		switch rnd.IntN(12) {
		case 0:
			b = fmt.Appendf(b, "%d:%x\n", rnd.IntN(100), rnd.Uint32())
		case 1:
			from := rnd.IntN(len(b) + 1)
			b = append(b, b[from:min(len(b), from+rnd.IntN(60))]...)
		default:
			b = append(append(b, words[rnd.IntN(1+rnd.IntN(500))]...), ' ')
		}
	}
	return b[:n]
}

// binaryLike is records of small numbers, pointers and flags, as tables in executables are.
func binaryLike(n int) []byte {
	rnd := rand.New(rand.NewPCG(5, 6))
	var b []byte
	for at := uint32(0x401000); len(b) < n; at += uint32(rnd.IntN(64)) {
		b = append(b, byte(at), byte(at>>8), byte(at>>16), 0, byte(rnd.IntN(4)), 0, byte(rnd.Uint32())&byte(rnd.Uint32()), 0x48)
	}
	return b[:n]
}

// bound is the longest a frame may be: 9 bytes of header and 3 per block of plain bytes.
func bound(n int) int {
	return n + 9 + 3*max(1, (n+maxBlock-1)/maxBlock)
}

// patchwork alternates runs that split well with bytes that do not compress, so that the frame is tempted to grow.
func patchwork(n int) []byte {
	rnd := rand.New(rand.NewPCG(7, 8))
	var b []byte
	for len(b) < n {
		low := byte(rnd.Uint32())
		for range 1000 + rnd.IntN(1000) {
			b = append(b, low+byte(rnd.IntN(251)))
		}
	}
	return b[:n]
}

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return d
})

// check decodes frame with klauspost's decoder and compares.
func check(tb testing.TB, what string, frame, want []byte) {
	tb.Helper()
	got, err := decoder().DecodeAll(frame, nil)
	if err != nil {
		tb.Fatalf("%s: %d bytes as a frame of %d: decode: %v", what, len(want), len(frame), err)
	}
	if !bytes.Equal(got, want) {
		tb.Fatalf("%s: %d bytes as a frame of %d: got %d other bytes back", what, len(want), len(frame), len(got))
	}
	if len(frame) > bound(len(want)) {
		tb.Fatalf("%s: %d bytes: frame has %d bytes, want at most %d", what, len(want), len(frame), bound(len(want)))
	}
}

func TestEveryInputComesBackAndIsNeverLongerThanPlain(t *testing.T) {
	for _, level := range levels {
		e := New(level)
		for name, in := range inputs() {
			check(t, fmt.Sprintf("level %d, %s", level, name), e.Encode(nil, in), in)
		}
	}
}

func TestLibzstdReadsEveryFrame(t *testing.T) {
	tool := need.Tool(t, "zstd", "zstd")
	for _, level := range levels {
		var frames, plain []byte
		e := New(level)
		for _, in := range inputs() {
			frames = e.Encode(frames, in)
			plain = append(plain, in...)
		}
		file := filepath.Join(t.TempDir(), "frames")
		if err := os.WriteFile(file, frames, 0o600); err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd := exec.Command(tool, "-dc", "--single-thread", file)
		cmd.Stderr = &stderr
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("level %d: zstd -dc: %v: %s: got %d bytes, want %d", level, err, stderr.String(), len(got), len(plain))
		}
	}
}

// The digests freeze the output of ID. If this test fails because the encoder is better now, ID has to change too.
func TestOutputOfThisIDIsFrozen(t *testing.T) {
	golden := map[Level]string{
		Fast:    "adbbf8a172b1c7b8eaf56610645ef131",
		Default: "d3e18a0fa6e2887e40c1f99b17d95d1c",
		Best:    "055983de51f2ffefb2cb39f618b4dfb3",
	}
	if ID != "slot-zstd/1" {
		t.Fatalf("ID = %s: these digests are of slot-zstd/1", ID)
	}
	in := inputs()
	for _, level := range levels {
		e, h := New(level), sha256.New()
		for _, name := range slices.Sorted(maps.Keys(in)) {
			if !strings.HasPrefix(name, "executable") { // the test's own, another for each build
				h.Write(e.Encode(nil, in[name]))
			}
		}
		if got := hex.EncodeToString(h.Sum(nil)[:16]); got != golden[level] {
			t.Errorf("level %d: digest of all frames %q, want %q", level, got, golden[level])
		}
	}
}

func TestUsedEncoderWritesWhatAFreshOneDoes(t *testing.T) {
	in := inputs()
	for _, level := range levels {
		used := New(level)
		for name, src := range in { // any order
			if got, want := used.Encode(nil, src), New(level).Encode(nil, src); !bytes.Equal(got, want) {
				t.Errorf("level %d, %s: a used encoder writes %d bytes, a fresh one %d others", level, name, len(got), len(want))
			}
		}
	}
}

func TestEncoderStaysBelow12MB(t *testing.T) {
	for _, level := range levels {
		var before, after runtime.MemStats
		in := inputs()
		runtime.GC()
		runtime.ReadMemStats(&before)
		e := New(level)
		out := make([]byte, 0, bound(MaxInput))
		for _, src := range in {
			e.Encode(out, src)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		got := int64(after.HeapAlloc) - int64(before.HeapAlloc) - int64(cap(out))
		t.Logf("level %d: %d KB", level, got>>10)
		if got > 12<<20 {
			t.Errorf("level %d: an encoder holds %d bytes, want at most 12 MB", level, got)
		}
		runtime.KeepAlive(e)
		runtime.KeepAlive(out)
		runtime.KeepAlive(in)
	}
}

func TestMoreThanMaxInputPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Errorf("Encode of MaxInput+1 bytes returned, want a panic")
		}
	}()
	New(Fast).Encode(nil, make([]byte, MaxInput+1))
}

func TestEncodeAppendsAndKeepsItsInput(t *testing.T) {
	src := text(5000)
	keep := bytes.Clone(src)
	want := New(Default).Encode(nil, src)
	got := New(Default).Encode([]byte("before"), src)
	if !bytes.Equal(got, append([]byte("before"), want...)) || !bytes.Equal(src, keep) {
		t.Errorf("Encode(before, src) = %d bytes, want %d with the prefix kept and src unchanged", len(got), 6+len(want))
	}
}

// FuzzEncode makes inputs from the fuzzer's bytes: as they are, and repeated with changes, so that matches at all
// distances and of all lengths arise.
func FuzzEncode(f *testing.F) {
	for _, n := range []int{0, 1, 7, 300, 5000} {
		f.Add(text(n), uint16(n*7), byte(n))
		f.Add(binaryLike(n), uint16(n), byte(3))
	}
	f.Add(make([]byte, 2000), uint16(999), byte(1))
	encoders := map[Level]*Encoder{}
	for _, level := range levels {
		encoders[level] = New(level)
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint16, copies byte) {
		rnd := rand.New(rand.NewPCG(uint64(seed), uint64(copies)))
		in := bytes.Clone(data)
		for range copies {
			if len(in) == 0 || len(in) > 200_000 {
				break
			}
			from := rnd.IntN(len(in))
			in = append(in, in[from:from+rnd.IntN(len(in)-from+1)]...)
			in[rnd.IntN(len(in))] = byte(rnd.Uint32())
		}
		in = in[:min(len(in), MaxInput)]
		for _, level := range levels {
			check(t, fmt.Sprintf("level %d", level), encoders[level].Encode(nil, in), in)
		}
	})
}
