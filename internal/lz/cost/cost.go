// Package cost estimates what symbols cost in bits, for encoders that choose by price.
//
// Costs are fixed point, so that every machine takes the same decisions. The numbers are tuned on a Debian root, and frozen:
// a change of any of them is a new ID of every encoder that uses it.
package cost

import "math/bits"

// FracBits is how many bits of a cost stand behind the point; Bit is the cost of a bit.
const (
	FracBits = 8
	Bit      = 1 << FracBits
)

const log2Steps = 1 << 9

// log2Tab holds log2(1+i/512) in 1/256 bits.
var log2Tab = makeLog2Tab()

func makeLog2Tab() (tab [log2Steps]uint16) {
	for i := range tab {
		// Square the mantissa again and again: each time it passes 2 is a one bit of its logarithm.
		x := uint64(log2Steps+i) << 22 // 1.0 is 1<<31
		var log uint32
		for range FracBits + 2 {
			x = x * x >> 31
			log <<= 1
			if x >= 1<<32 {
				x >>= 1
				log |= 1
			}
		}
		tab[i] = uint16((log + 2) >> 2)
	}
	return tab
}

// Log2 is log2(v) in 1/256 bits, and 0 of 0; beyond the first ten bits v is cut.
func Log2(v uint32) uint32 {
	n := uint32(31 - bits.LeadingZeros32(v|1))
	m := v << (31 - n) >> (31 - 9) & (log2Steps - 1)
	return n<<FracBits + uint32(log2Tab[m])
}

// unseen is twice what each symbol counts beside its real counts, so that prices of rare symbols do not jump. 8 instead of
// 1 saves 0.1 % of a Debian root.
const unseen = 8

// SetPrices sets price to what a symbol costs that has this share of count: -log2 of it, at least least.
func SetPrices(price, count []uint32, least uint32) {
	total := uint32(0)
	for _, c := range count {
		total += c*2 + unseen
	}
	logTotal := Log2(total)
	for i, c := range count {
		price[i] = max(logTotal-Log2(c*2+unseen), least)
	}
}

// Prices follow the input: after every Step bytes the old counts lose an eighth (Decay), and the new ones count Weight times.
const (
	Step   = 2 << 10
	Weight = 4
	decay  = 8
)

// Decay takes an eighth from all counts, so that later ones weigh more.
func Decay(count []uint32) {
	for i, n := range count {
		count[i] = n - n/decay
	}
}

// Add adds the counts of more to count; both are of the same symbols.
func Add(count, more []uint32) {
	for i, n := range more {
		count[i] += n
	}
}

// Block is about what a block costs apart from its symbols: headers, and the ends of its streams.
const Block = 20 * 8 * Bit

// newSymbol is about what a symbol adds to the description of its code.
const newSymbol = 4 * Bit

// savedTab holds, for a symbol that occurs n times, n*log2(n) less newSymbol.
var savedTab = makeSavedTab()

func makeSavedTab() (tab [4096]int32) {
	for n := 1; n < len(tab); n++ {
		tab[n] = int32(n)*int32(Log2(uint32(n))) - newSymbol
	}
	return tab
}

func saved(n uint32) int64 {
	if n < uint32(len(savedTab)) {
		return int64(savedTab[n])
	}
	return int64(n)*int64(Log2(n)) - newSymbol
}

// Coded estimates what symbols cost that occur as often as a and b say together, and more of them that are certain once
// each, with the code that suits them and its description.
func Coded(a, b []uint32, more uint32) int64 {
	total, sum := more, int64(0)
	b = b[:len(a)]
	for i, n := range a {
		n += b[i]
		total += n
		sum -= saved(n)
	}
	return sum + int64(total)*int64(Log2(total))
}
