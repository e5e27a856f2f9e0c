package lztest

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Corpus is the file $LZ_CORPUS, else debian-root.tar in the cache folder. It skips when there is none.
func Corpus(tb testing.TB) []byte {
	tb.Helper()
	path := os.Getenv("LZ_CORPUS")
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
	return data
}

// CPUTime is what the process has used; wall time would depend on the neighbours.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Bench reports the speed, by CPU time, and the size of the corpus, cut into blocks of which every every-th is taken;
// $LZ_EVERY says otherwise.
func Bench(b *testing.B, size, every int, encode Encode) {
	if k, err := strconv.Atoi(os.Getenv("LZ_EVERY")); err == nil {
		every = k
	}
	data := Corpus(b)
	var blocks [][]byte
	in := 0
	for i := 0; i < len(data); i += every * size {
		blocks = append(blocks, data[i:min(i+size, len(data))])
		in += len(blocks[len(blocks)-1])
	}
	b.SetBytes(int64(in))
	out, rounds, buf := 0, 0, make([]byte, 0, 2*size)
	before := CPUTime()
	for b.Loop() {
		out = 0
		for _, block := range blocks {
			out += len(encode(buf, block))
		}
		rounds++
	}
	b.ReportMetric(float64(in*rounds)/1e6/(CPUTime()-before).Seconds(), "MB/cpu-s")
	b.ReportMetric(float64(out), "bytes")
	b.ReportMetric(100*float64(out)/float64(in), "%")
}
