package match

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/slotboot/slotboot/internal/lz/lztest"
	"github.com/slotboot/slotboot/internal/lz/word"
)

// rules are those of deflate and zstd, with the efforts that their encoders take.
var rules = map[string]Rules{
	"near and short": {Longest: 258, Farthest: 32 << 10, First: word.First5, Depth: 32, Nice: 64, Inherit: 16},
	"unlimited":      {Longest: Unlimited, Farthest: Unlimited, First: word.First6, Depth: 4, Nice: 64, Inherit: 8},
}

func TestEveryListedMatchIsOneAndLongerThanTheOneBefore(t *testing.T) {
	for name, r := range rules {
		f := NewFinder(r)
		for _, kind := range lztest.Kinds() {
			src := lztest.Sample(kind, 140_000, rand.New(rand.NewPCG(1, 2)))
			in := word.Frame(nil, src)
			f.Reset(in)
			for from := word.Front; from < word.Front+len(src); from += ChunkSize {
				to := min(from+ChunkSize, word.Front+len(src))
				f.Find(from, to)
				for i := from; i < to; i++ {
					if err := check(f, i, to); err != nil {
						t.Fatalf("%s, %s: %v", name, kind, err)
					}
				}
			}
		}
	}
}

// check says what is wrong with the matches of position i.
func check(f *Finder, i, to int) error {
	before := minMatch - 1
	for _, m := range f.At(i) {
		l, d := m.Length(), m.Distance()
		if l <= before || l > f.Longest || i+l > to || d < 1 || d > f.Farthest || i-d < word.Front {
			return fmt.Errorf("position %d of %d lists a match of %d at distance %d behind one of %d", i, to, l, d, before)
		}
		before = l
		if l > 1000 && i%64 != 0 {
			continue // to compare 128 KiB of zeros at every position takes seconds
		}
		if n := word.Common(f.In, i-d, i, i+l); n != l {
			return fmt.Errorf("position %d lists a match of %d at distance %d: %d bytes are equal", i, l, d, n)
		}
	}
	if last := f.Last(i); f.None(i) != (len(f.At(i)) == 0) || f.None(i) != (last == 0) || last != 0 && last.Length() != before {
		return fmt.Errorf("position %d: %d matches, none %t, last %d", i, len(f.At(i)), f.None(i), last.Length())
	}
	return nil
}

func TestWhatStoodFarBeforeIsFound(t *testing.T) {
	noise := lztest.Sample("noise", 200_000, rand.New(rand.NewPCG(3, 4)))
	for name, r := range rules {
		for _, distance := range []int{100, 32 << 10, 32<<10 + 1, 190_000} {
			f := NewFinder(r)
			in := word.Frame(nil, append(noise[:distance:distance], noise[:100]...))
			f.Reset(in)
			f.Find(word.Front, word.Front+min(distance+100, ChunkSize))
			if distance+100 > ChunkSize {
				f.Find(word.Front+ChunkSize, word.Front+distance+100)
			}
			m := f.Last(word.Front + distance)
			if want := distance <= r.Farthest; (m != 0) != want || want && (m.Length() != 100 || m.Distance() != distance) {
				t.Errorf("%s: 100 bytes from %d before: found %d from %d before, want it: %t", name, distance, m.Length(), m.Distance(), want)
			}
		}
	}
}
