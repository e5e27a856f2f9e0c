package zstdenc

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func envInt(name string, def int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return def
}

func BenchmarkExp(b *testing.B) {
	e := New(Level(envInt("L", 2)))
	e.find.depth = envInt("DEPTH", e.find.depth)
	e.find.nice = envInt("NICE", e.find.nice)
	e.find.inherit = envInt("XI", e.find.inherit)
	e.find.passes = envInt("PASSES", e.find.passes)
	e.find.slack = uint32(envInt("XS", int(e.find.slack)))
	bench(b, envInt("SIZE", 128)<<10, e.Encode)
}

func BenchmarkStages(b *testing.B) {
	data := corpus(b)[:16<<20]
	e := New(Default)
	e.find.depth = envInt("DEPTH", e.find.depth)
	e.find.nice = envInt("NICE", e.find.nice)
	e.find.inherit = envInt("XI", e.find.inherit)
	e.find.passes = envInt("PASSES", e.find.passes)
	e.find.slack = uint32(envInt("XS", int(e.find.slack)))
	size := envInt("SIZE", 128) << 10
	best := [4]time.Duration{1 << 60, 1 << 60, 1 << 60, 1 << 60}
	for b.Loop() {
		var sum [4]time.Duration
		for i := 0; i+size <= len(data); i += size {
			src := data[i : i+size]
			e.in = append(append(append(e.in[:0], make([]byte, front)...), src...), make([]byte, pad)...)
			t0 := cpuTime()
			e.find.reset(e.in)
			e.out.reset()
			e.find.find(front, front+size)
			t1 := cpuTime()
			e.prime(front, front+size)
			t2 := cpuTime()
			e.seqs = e.parser.parse(e.find, front, front+size, e.out.repeats, e.seqs[:0])
			t3 := cpuTime()
			e.gather(front, front+size)
			e.appendParts(nil, front, front+size, true)
			t4 := cpuTime()
			sum[0] += t1 - t0
			sum[1] += t2 - t1
			sum[2] += t3 - t2
			sum[3] += t4 - t3
		}
		for i, d := range sum {
			best[i] = min(best[i], d)
		}
	}
	for i, name := range []string{"find", "lazy", "parse", "write"} {
		b.ReportMetric(float64(best[i])/float64(len(data)), name+"-ns/B")
	}
}
