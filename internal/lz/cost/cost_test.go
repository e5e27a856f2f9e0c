package cost

import (
	"math"
	"testing"
)

func TestLog2IsWithinAHundredthOfABit(t *testing.T) {
	before := uint32(0)
	for v := uint32(1); v < 1<<31; v += 1 + v>>8 {
		got := Log2(v)
		if want := math.Log2(float64(v)) * Bit; math.Abs(float64(got)-want) > 0.01*Bit {
			t.Fatalf("Log2(%d) = %d/256, want %.2f/256", v, got, want)
		}
		if got < before {
			t.Fatalf("Log2(%d) = %d, less than of a smaller number: %d", v, got, before)
		}
		before = got
	}
}

func TestRarerSymbolsCostMoreAndNoneLessThanTheLeast(t *testing.T) {
	count := []uint32{0, 1, 10, 100, 100_000}
	price := make([]uint32, len(count))
	SetPrices(price, count, Bit/2)
	for i := 1; i < len(price); i++ {
		if price[i] >= price[i-1] {
			t.Errorf("SetPrices(%v) = %v, want them to fall", count, price)
		}
	}
	if price[4] != Bit/2 {
		t.Errorf("SetPrices(%v): the last costs %d, want the least, %d", count, price[4], Bit/2)
	}
}

func TestCodedIsTheEntropyAndTheDescriptions(t *testing.T) {
	a, b := []uint32{5000, 0, 300, 1}, []uint32{1000, 0, 0, 7}
	const more = 1
	entropy, total, kinds := 0.0, float64(more), 0
	for i := range a {
		total += float64(a[i] + b[i])
	}
	for i := range a {
		if n := float64(a[i] + b[i]); n > 0 {
			entropy += n * math.Log2(total/n)
			kinds++
		}
	}
	entropy += more * math.Log2(total)
	want := entropy + float64(kinds)*newSymbol/Bit
	if got := float64(Coded(a, b, more)) / Bit; math.Abs(got-want) > 0.01*want {
		t.Errorf("Coded(%v, %v, %d) = %.1f bits, want %.1f", a, b, more, got, want)
	}
}
