package zstdenc

import (
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/internal/lz/lztest"
	"github.com/slotboot/slotboot/internal/lz/word"
)

func BenchmarkOurs(b *testing.B) {
	for _, size := range []int{128 << 10, 256 << 10, 1 << 20} {
		for _, level := range levels {
			b.Run(strconv.Itoa(size>>10)+"K/"+strconv.Itoa(int(level)), func(b *testing.B) {
				lztest.Bench(b, size, 1, New(level).Encode)
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
				lztest.Bench(b, size, 1, func(dst, src []byte) []byte { return e.EncodeAll(src, dst) })
			})
		}
	}
}

// BenchmarkStages says where the default level spends its time, in ns for each byte: the best of all rounds.
func BenchmarkStages(b *testing.B) {
	data := lztest.Corpus(b)
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
				func() { e.find.Find(word.Front, word.Front+size) },
				func() { e.choose(word.Front, word.Front+size) },
				func() { e.appendParts(nil, word.Front, word.Front+size, true) },
			} {
				before := lztest.CPUTime()
				stage()
				sum[k] += lztest.CPUTime() - before
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
