package lz4enc

import "github.com/slotboot/slotboot/internal/lz/lz4block"

// enough is the size of a match that is not made longer at the cost of the one behind it: the most that one token holds.
const enough = 14 + minMatch

// Encoder makes LZ4 blocks. The zero value is ready; one Encoder serves one block after the other, and costs a quarter of
// a megabyte.
type Encoder struct {
	finder
	out    []byte
	anchor int // what is before has been written
}

// Block appends the LZ4 block of plain to dst.
func (e *Encoder) Block(dst, plain []byte) []byte {
	e.reset(plain)
	e.out, e.anchor = dst, 0
	for at := 0; at <= len(plain)-tailMatch && len(plain) > tailMatch; {
		first := e.wider(at, at, minMatch-1)
		if first.size < minMatch {
			at++
			continue
		}
		at = e.follow(first)
	}
	out := lz4block.AppendLast(e.out, plain[e.anchor:])
	e.out, e.text = nil, nil
	return out
}

// fits tells whether a search at at may still begin.
func (e *Encoder) fits(at int) bool { return at <= len(e.text)-tailMatch }

// follow writes the matches from first on until one has no better one that overlaps it, and returns where they end. It
// looks two matches ahead, and gives to each what serves all three best.
func (e *Encoder) follow(first match) int {
	original := first
	for {
		second := match{size: first.size}
		if e.fits(first.end()) {
			second = e.wider(first.end()-2, first.at, first.size)
		}
		if second.size == first.size {
			e.write(first)
			return e.anchor
		}
		if original.at < first.at && second.at < first.at+original.size {
			first = original // it was given up for one that is now given up itself
		}
		if second.at-first.at < 3 { // no room for the first
			first = second
			continue
		}
		var done bool
		if first, original, done = e.pair3(first, second, original); done {
			return e.anchor
		}
	}
}

// pair3 goes on with two matches, the second of them longer, until there is one left to follow, or none.
func (e *Encoder) pair3(first, second, original match) (match, match, bool) {
	for {
		e.share(first, &second)
		third := match{size: second.size}
		if e.fits(second.end()) {
			third = e.wider(second.end()-3, second.at, second.size)
		}
		if third.size == second.size {
			first.size = min(first.size, second.at-first.at)
			e.write(first)
			e.write(second)
			return first, original, true
		}
		if third.at < first.end()+3 { // no room for the second
			if third.at < first.end() {
				second = third
				continue
			}
			if overlap := first.end() - second.at; overlap > 0 {
				if second.cut(overlap); second.size < minMatch {
					second = third
				}
			}
			e.write(first)
			return third, second, false
		}
		if second.at < first.end() {
			if second.at-first.at < enough {
				first.size = min(first.size, enough)
				first.size = min(first.size, second.end()-minMatch-first.at)
				if overlap := first.end() - second.at; overlap > 0 {
					second.cut(overlap)
				}
			} else {
				first.size = second.at - first.at
			}
		}
		e.write(first)
		first, second = second, third
	}
}

// share moves the beginning of the second match back where the first is of more use.
func (e *Encoder) share(first match, second *match) {
	if second.at-first.at >= enough {
		return
	}
	size := min(first.size, enough)
	size = min(size, second.end()-minMatch-first.at)
	if overlap := first.at + size - second.at; overlap > 0 {
		second.cut(overlap)
	}
}

// write writes what is before a match as literals, and the match.
func (e *Encoder) write(m match) {
	e.out = lz4block.AppendMatch(e.out, e.text[e.anchor:m.at], m.at-m.ref, m.size)
	e.anchor = m.end()
}
