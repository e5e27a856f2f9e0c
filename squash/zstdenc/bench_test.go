package zstdenc

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// corpus is a file to cut into blocks: $ZSTDENC_CORPUS, else debian-root.tar in the cache folder.
func corpus(tb testing.TB) []byte {
	tb.Helper()
	path := os.Getenv("ZSTDENC_CORPUS")
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

// cpuTime is what the process has used; wall time would depend on the neighbours.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func bench(b *testing.B, size int, encode func(dst, src []byte) []byte) {
	data := corpus(b)
	if k, err := strconv.Atoi(os.Getenv("ZSTDENC_EVERY")); err == nil { // every k-th block only
		var some []byte
		for i := 0; i+size <= len(data); i += k * size {
			some = append(some, data[i:i+size]...)
		}
		data = some
	}
	out, buf := 0, make([]byte, 0, 2*size)
	b.SetBytes(int64(len(data)))
	var cpu time.Duration
	for b.Loop() {
		out = 0
		before := cpuTime()
		for i := 0; i < len(data); i += size {
			out += len(encode(buf, data[i:min(i+size, len(data))]))
		}
		cpu = cpuTime() - before
	}
	b.ReportMetric(float64(len(data))/1e6/cpu.Seconds(), "MB/cpu-s")
	b.ReportMetric(float64(out), "bytes")
	b.ReportMetric(100*float64(out)/float64(len(data)), "%")
}

func BenchmarkOurs(b *testing.B) {
	for _, size := range []int{128 << 10, 256 << 10, 1 << 20} {
		for _, level := range levels {
			b.Run(strconv.Itoa(size>>10)+"K/"+strconv.Itoa(int(level)), func(b *testing.B) {
				bench(b, size, New(level).Encode)
			})
		}
	}
}

func BenchmarkKlauspost(b *testing.B) {
	for _, size := range []int{128 << 10, 256 << 10, 1 << 20} {
		for level := zstd.SpeedFastest; level <= zstd.SpeedBestCompression; level++ {
			b.Run(strconv.Itoa(size>>10)+"K/"+strconv.Itoa(int(level)), func(b *testing.B) {
				e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
				if err != nil {
					b.Fatal(err)
				}
				defer e.Close()
				bench(b, size, func(dst, src []byte) []byte { return e.EncodeAll(src, dst) })
			})
		}
	}
}

// BenchmarkStages says where the default level spends its time, in ns for each byte: the best of all rounds.
func BenchmarkStages(b *testing.B) {
	data := corpus(b)
	data = data[:min(len(data), 16<<20)]
	const size = 128 << 10
	e := New(Default)
	stages := []string{"find", "parse", "write"}
	best := make([]time.Duration, len(stages))
	for b.Loop() {
		sum := make([]time.Duration, len(stages))
		for i := 0; i+size <= len(data); i += size {
			e.load(data[i : i+size])
			for k, stage := range []func(){
				func() { e.find.find(front, front+size) },
				func() { e.choose(front, front+size) },
				func() { e.appendParts(nil, front, front+size, true) },
			} {
				before := cpuTime()
				stage()
				sum[k] += cpuTime() - before
			}
		}
		for k, d := range sum {
			if best[k] == 0 || d < best[k] {
				best[k] = d
			}
		}
	}
	for k, name := range stages {
		b.ReportMetric(float64(best[k])/float64(len(data)), name+"-ns/B")
	}
}
