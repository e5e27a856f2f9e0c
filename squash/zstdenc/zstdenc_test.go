package zstdenc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		skewed[i] = byte(rnd.ExpFloat64() * 9)
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

// bound is the longest a frame may be: 9 bytes of header and 3 per block of plain bytes.
func bound(n int) int {
	return n + 9 + 3*max(1, (n+maxBlock-1)/maxBlock)
}

// check decodes frame with klauspost's decoder and compares.
func check(tb testing.TB, what string, frame, want []byte) {
	tb.Helper()
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	defer d.Close()
	got, err := d.DecodeAll(frame, nil)
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
