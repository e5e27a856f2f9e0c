package zstdenc

import "math/bits"

// sequence is one step of the decoder: copy literals, then length bytes from distance bytes back. The repeat codes are
// found when the block is written, so that a block may be split or stored plain without touching its sequences.
type sequence struct {
	literals uint32
	length   uint32
	distance uint32
}

// The kinds of codes, in the order of their tables in a block.
const (
	kindLiterals = iota
	kindOffset
	kindLength
	kinds
)

// Most codes a kind has, and the largest table log the format allows it (RFC 8878, section 3.1.1.3.2.1).
const (
	literalsCodes = 36
	offsetCodes   = 32
	lengthCodes   = 53
)

var maxLogs = [kinds]uint{9, 8, 9}

// minMatch is the shortest match the format can express.
const minMatch = 3

// Base value and extra bits of each code (RFC 8878, tables 16 and 17).
var (
	literalsBase = [literalsCodes]uint32{
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024,
		2048, 4096, 8192, 16384, 32768, 65536,
	}
	literalsExtra = [literalsCodes]uint8{
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	}
	lengthBase = [lengthCodes]uint32{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
		33, 34, 35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051, 4099, 8195, 16387, 32771, 65539,
	}
	lengthExtra = [lengthCodes]uint8{
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2,
		3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	}
	literalsCodeTab = makeCodeTab(literalsBase[:], 0)
	lengthCodeTab   = makeCodeTab(lengthBase[:], minMatch)
)

// makeCodeTab lists the code of each small value above low.
func makeCodeTab(base []uint32, low uint32) (tab [128]uint8) {
	code := 0
	for v := range tab {
		for code+1 < len(base) && base[code+1] <= uint32(v)+low {
			code++
		}
		tab[v] = uint8(code)
	}
	return tab
}

func literalsCode(n uint32) uint8 {
	if n < 64 {
		return literalsCodeTab[n&127]
	}
	return uint8(bits.Len32(n)) + 18
}

func lengthCode(n uint32) uint8 {
	n -= minMatch
	if n < 128 {
		return lengthCodeTab[n&127]
	}
	return uint8(bits.Len32(n)) + 35
}

// The predefined distributions (RFC 8878, section 3.1.1.3.2.2).
var predefined = [kinds]struct {
	log  uint
	norm []int16
}{
	{6, []int16{
		4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
	}},
	{5, []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}},
	{6, []int16{
		1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
	}},
}

func makePredefined() (tables [kinds]*fseTable) {
	for k, p := range predefined {
		t := &fseTable{log: p.log, symbols: len(p.norm)}
		copy(t.norm[:], p.norm)
		t.build()
		tables[k] = t
	}
	return tables
}

// repeats are the distances of the last three different matches (RFC 8878, section 3.1.1.5). A struct, since the
// compiler keeps no array in registers.
type repeats struct{ first, second, third uint32 }

var firstRepeats = repeats{1, 4, 8}

// candidates are the distances with the offset values 1, 2 and 3 after a run of literals; 0 is none.
func (r repeats) candidates(run uint32) (uint32, uint32, uint32) {
	if run == 0 {
		return r.second, r.third, r.first - 1
	}
	return r.first, r.second, r.third
}

// after returns the repeats after a match.
func (r repeats) after(distance uint32) repeats {
	second, third := r.first, r.second
	if distance == r.first {
		second = r.second
	}
	if distance == r.first || distance == r.second {
		third = r.third
	}
	return repeats{distance, second, third}
}

// code returns the offset value of a match after a run of literals, and the repeats after it.
func (r repeats) code(distance, run uint32) (uint32, repeats) {
	a, b, c := r.candidates(run)
	switch distance {
	case a:
		if run != 0 {
			return 1, r
		}
		return 1, repeats{a, r.first, r.third}
	case b:
		if run != 0 {
			return 2, repeats{b, r.first, r.third}
		}
		return 2, repeats{b, r.first, r.second}
	case c:
		return 3, repeats{c, r.first, r.second}
	}
	return distance + 3, repeats{distance, r.first, r.second}
}
