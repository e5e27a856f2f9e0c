package flateenc

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zlib"
)

// corpus is every 8th block of 128 KiB of $FLATEENC_CORPUS, else of debian-root.tar in the cache folder.
func corpus(tb testing.TB) [][]byte {
	tb.Helper()
	path := os.Getenv("FLATEENC_CORPUS")
	if path == "" {
		cache := os.Getenv("SLOTBOOT_CACHE")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				tb.Skip(err)
			}
			cache = filepath.Join(home, ".cache", "slotboot")
		}
		path = filepath.Join(cache, "debian-root.tar")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Skipf("no corpus: %v", err)
	}
	const size = 128 << 10
	var blocks [][]byte
	for i := 0; i+size <= len(data); i += 8 * size {
		blocks = append(blocks, data[i:i+size])
	}
	return blocks
}

func bench(b *testing.B, encode func(src []byte) int) {
	blocks := corpus(b)
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	in, out := 0, 0
	before := cpu()
	rounds := 0
	for b.Loop() {
		in, out = 0, 0
		for _, block := range blocks {
			in += len(block)
			out += encode(block)
		}
		rounds++
	}
	b.ReportMetric(float64(in*rounds)/1e6/(cpu()-before).Seconds(), "MB/cpu-s")
	b.ReportMetric(float64(out), "bytes")
	b.ReportMetric(100*float64(out)/float64(in), "%")
}

func BenchmarkOurs(b *testing.B) {
	e := New()
	var buf []byte
	bench(b, func(src []byte) int {
		buf = e.Encode(buf[:0], src)
		return len(buf)
	})
}

func BenchmarkKlauspost9(b *testing.B) {
	var buf bytes.Buffer
	w, err := zlib.NewWriterLevel(&buf, 9)
	if err != nil {
		b.Fatal(err)
	}
	bench(b, func(src []byte) int {
		buf.Reset()
		w.Reset(&buf)
		if _, err := w.Write(src); err != nil || w.Close() != nil {
			b.Fatal(err)
		}
		return buf.Len()
	})
}
