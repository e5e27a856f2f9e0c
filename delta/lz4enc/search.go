package lz4enc

import (
	"encoding/binary"
	"math/bits"

	"github.com/slotboot/slotboot/internal/lz/lz4block"
)

const (
	minMatch    = lz4block.MinMatch
	maxDistance = lz4block.MaxDistance
	hashLog     = 15
	attempts    = 256                // places that a search looks at
	tailMatch   = lz4block.LastMatch // no match begins in the last so many bytes
)

// finder looks for matches in one block. Places are counted from 1, so that 0 is none.
type finder struct {
	text  []byte
	limit int                 // matches end before it
	next  int                 // the first place that is not in the tables
	last  [1 << hashLog]int32 // the last place of each hash, plus 1
	chain [1 << 16]uint16     // from each place, how far back the one before it with its hash is
}

func (f *finder) reset(text []byte) {
	clear(f.last[:])
	f.text, f.limit, f.next = text, len(text)-lz4block.LastLiterals, 0
}

func (f *finder) word(at int) uint32 { return binary.LittleEndian.Uint32(f.text[at:]) }

func hash(word uint32) uint32 { return word * 2654435761 >> (32 - hashLog) }

// insert takes all places before to into the tables.
func (f *finder) insert(to int) {
	for ; f.next < to; f.next++ {
		h := hash(f.word(f.next))
		back := maxDistance
		if before := int(f.last[h]); before > 0 {
			back = min(back, f.next-(before-1))
		}
		f.chain[f.next&0xffff] = uint16(back)
		f.last[h] = int32(f.next + 1)
	}
}

// match is a stretch of text that stands at ref as well.
type match struct {
	at, ref, size int
}

func (m match) end() int { return m.at + m.size }

// cut makes the match begin n bytes later.
func (m *match) cut(n int) {
	m.at, m.ref, m.size = m.at+n, m.ref+n, m.size-n
}

// wider returns the first of the longest matches that cover at and do not begin before floor, if it is longer than
// longest; else a match of that size and no use.
//
// Where the text repeats one byte, places one behind the other make long chains of the same match. They are skipped by
// counting how often the byte stands there and here.
func (f *finder) wider(at, floor, longest int) match {
	found := match{size: longest}
	f.insert(at)
	lowest := max(0, at-maxDistance)
	pattern := f.word(at)
	ahead := at - floor
	ones, run := false, -1 // run: how often the byte stands at at; -1: not yet looked
	candidate := int(f.last[hash(pattern)]) - 1
	for tries := attempts; candidate >= lowest && tries > 0; tries-- {
		if probe := candidate - ahead + found.size - 1; f.pair(floor+found.size-1) == f.pair(probe) && f.word(candidate) == pattern {
			back := f.back(at, candidate, floor)
			if n := minMatch + f.common(at+minMatch, candidate+minMatch) + back; n > found.size {
				found = match{at - back, candidate - back, n}
			}
		}
		distance := int(f.chain[candidate&0xffff])
		if distance == 1 {
			if run < 0 {
				run = 0
				if ones = pattern == pattern&0xff*0x01010101; ones {
					run = f.run(at)
				}
			}
			if before := candidate - 1; ones && before >= lowest && f.word(before) == pattern {
				next, stop := f.skip(&found, at, before, lowest, run, ahead)
				if stop {
					break
				}
				candidate = next
				continue
			}
		}
		candidate -= distance
	}
	return found
}

// skip is at before, in a stretch of one byte that stands run times at at, and returns the next candidate, and whether
// there is none.
func (f *finder) skip(found *match, at, before, lowest, run, ahead int) (candidate int, stop bool) {
	forward := f.run(before)
	back := min(f.runBack(before), before-lowest)
	if back+forward >= run && forward <= run {
		return before + forward - run, false // where the whole of it fits, and more may match behind
	}
	candidate = before - back
	if ahead > 0 {
		return candidate, false
	}
	if n := min(back+forward, run); found.size < n {
		if at-candidate > maxDistance {
			return 0, true
		}
		*found = match{at, candidate, n}
	}
	return candidate - int(f.chain[candidate&0xffff]), false
}

// run counts how often the byte at at stands there, up to the limit.
func (f *finder) run(at int) int {
	n := at
	for c := f.text[at]; n < f.limit && f.text[n] == c; n++ {
	}
	return n - at
}

// runBack counts how often the byte at at stands before it.
func (f *finder) runBack(at int) int {
	n := at
	for c := f.text[at]; n > 0 && f.text[n-1] == c; n-- {
	}
	return at - n
}

// pair returns the two bytes at at.
func (f *finder) pair(at int) uint16 { return binary.LittleEndian.Uint16(f.text[at:]) }

// back returns how many bytes before at and ref are the same, not before floor.
func (f *finder) back(at, ref, floor int) int {
	n := 0
	for at-n > floor && ref-n > 0 && f.text[at-n-1] == f.text[ref-n-1] {
		n++
	}
	return n
}

// common returns how many bytes at at and ref are the same, before the limit. word.Prefix would do, but costs 4 % of the
// whole: it has two slices to check instead of one.
func (f *finder) common(at, ref int) int {
	n := 0
	for ; at+n+8 <= f.limit; n += 8 {
		if d := binary.LittleEndian.Uint64(f.text[at+n:]) ^ binary.LittleEndian.Uint64(f.text[ref+n:]); d != 0 {
			return n + bits.TrailingZeros64(d)>>3
		}
	}
	for at+n < f.limit && f.text[at+n] == f.text[ref+n] {
		n++
	}
	return n
}
