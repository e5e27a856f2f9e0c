package huffman

import (
	"math/rand/v2"
	"testing"
)

// counts are those of random codes of all sizes; some are so skewed that a limit counts.
func counts(yield func([]uint32) bool) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range MaxSymbols {
		for _, skew := range []int{1, 4, 20} {
			count := make([]uint32, n+1)
			for i := range count {
				count[i] = rnd.Uint32() >> (32 - 17) >> rnd.IntN(skew)
			}
			if !yield(count) {
				return
			}
		}
	}
}

// size is the bits of what count says; places what its codes take of the 1<<16 that there are.
func size(length []uint8, count []uint32) (bits uint64, places int) {
	for i, l := range length {
		bits += uint64(l) * uint64(count[i])
		if l > 0 {
			places += 1 << (16 - l)
		}
	}
	return bits, places
}

func TestLengthsMakeACompleteCodeWithinTheLimit(t *testing.T) {
	var b Builder
	for count := range counts {
		occur := 0
		for _, n := range count {
			occur += int(min(n, 1))
		}
		var sizes [2]uint64
		for k, lengths := range []func([]uint8, []uint32, int){b.Best, b.Quick} {
			const limit = 11
			length := make([]uint8, len(count))
			lengths(length, count, limit)
			places := 0
			sizes[k], places = size(length, count)
			if want := 1 << 16 * min(occur, 2) / 2; places != want {
				t.Fatalf("%d symbols: the codes take %d of 65536 places, want %d", occur, places, want)
			}
			for i, l := range length {
				if (l > 0) != (count[i] > 0) || l > limit {
					t.Fatalf("symbol %d occurs %d times and has a code of %d bits", i, count[i], l)
				}
			}
		}
		if sizes[0] > sizes[1] {
			t.Errorf("%d symbols: Best takes %d bits, Quick %d", occur, sizes[0], sizes[1])
		}
	}
}

// TestBestIsBest compares with all codes of 5 symbols.
func TestBestIsBest(t *testing.T) {
	const limit = 3
	rnd := rand.New(rand.NewPCG(3, 4))
	var b Builder
	for range 300 {
		count := make([]uint32, 5)
		for i := range count {
			count[i] = 1 + rnd.Uint32N(1<<rnd.IntN(12))
		}
		length := make([]uint8, 5)
		b.Best(length, count, limit)
		got, _ := size(length, count)
		best := got
		for k := range 3 * 3 * 3 * 3 * 3 {
			try := make([]uint8, 5)
			for i := range try {
				try[i] = uint8(1 + k%3)
				k /= 3
			}
			if bits, places := size(try, count); places <= 1<<16 {
				best = min(best, bits)
			}
		}
		if got != best {
			t.Errorf("Best(%v, limit %d) = %v, %d bits, want %d", count, limit, length, got, best)
		}
	}
}
