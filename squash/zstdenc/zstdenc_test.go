package zstdenc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/internal/lz/lztest"
	"github.com/slotboot/slotboot/internal/need"
)

// levels are all levels, for tests that hold for each.
var levels = []Level{Fast, Default, Best}

// frozen are the kinds of blocks that have their own path through the encoder, the same on every machine.
func frozen() map[string][]byte {
	m := lztest.Blocks(255, 256, 257, 4096, 65535, 65791, 65792, 65793, 128<<10-1, 128<<10+1, 128<<10+7, 300_001)
	m["text 128K"] = text(128 << 10)
	m["text 1M"] = text(MaxInput)
	m["patchwork"] = patchwork(300_000)
	m["binary 256K"] = binaryLike(256 << 10)
	m["random then same"] = bytes.Repeat(m["random 1M"][:300_000], 2)
	return m
}

// inputs are frozen and what is another for each build of this test.
func inputs() map[string][]byte {
	m := frozen()
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
		if got := lztest.Run(t, frames, tool, "-dc", "--single-thread"); !bytes.Equal(got, plain) {
			t.Errorf("level %d: zstd -dc gives back %d bytes, want the %d that were encoded", level, len(got), len(plain))
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
	in := frozen()
	for _, level := range levels {
		if got := lztest.Digest(in, New(level).Encode); got != golden[level] {
			t.Errorf("level %d: digest of all frames %q, want %q", level, got, golden[level])
		}
	}
}

func TestWhatWasEncodedBeforeDoesNotCount(t *testing.T) {
	for _, level := range levels {
		lztest.UsedWritesWhatFreshDoes(t, inputs(), func() lztest.Encode { return New(level).Encode })
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

func TestTooLongInputPanics(t *testing.T) {
	lztest.LongerPanics(t, MaxInput, New(Fast).Encode)
	lztest.LongerPanics(t, MaxLong, New(Fast).EncodeLong)
}

func FuzzEncode(f *testing.F) {
	encoders := map[Level]*Encoder{}
	for _, level := range levels {
		encoders[level] = New(level)
	}
	lztest.Fuzz(f, func(t *testing.T, in []byte) {
		for _, level := range levels {
			check(t, fmt.Sprintf("level %d", level), encoders[level].Encode(nil, in), in)
		}
	})
}
