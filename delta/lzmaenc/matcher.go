package lzmaenc

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// The lengths of matches that the format knows.
const (
	minMatch = 2
	maxMatch = 273
)

// match is a run that stands dist+1 bytes before.
type match struct{ length, dist uint32 }

// matcher holds the input that is at hand, and finds in it earlier runs by binary trees of all suffixes within the
// dictionary, sorted by their first bytes.
type matcher struct {
	r     io.Reader
	err   error  // of r; io.EOF at its end
	buf   []byte // the dictionary and what lies ahead
	base  uint32 // place in the stream of buf[0]
	pos   uint32 // place in the stream that is searched next
	dict  uint32
	nice  int // a match of that length ends the search
	depth int
	hash2 []uint32 // last place with a hash, plus one, of the next 2, 3 and 4 bytes
	hash3 []uint32
	hash4 []uint32
	shift uint
	son   []uint32 // of each place in the dictionary: the roots of smaller and larger suffixes, plus one
	found []match
}

// lookAhead is how much input is read at once beyond the dictionary.
const lookAhead = 1 << 20

// keepBehind is how far the encoder lags behind the search, and more.
const keepBehind = chunk + 4*maxMatch

func newMatcher(r io.Reader, dict uint32, nice, depth int) *matcher {
	n := min(max(bits.Len32(dict)-1, 16), 22)
	return &matcher{r: r, buf: make([]byte, 0, int(dict)+2*lookAhead), dict: dict, nice: nice, depth: depth, hash2: make([]uint32, 1<<10),
		hash3: make([]uint32, 1<<16), hash4: make([]uint32, 1<<n), shift: uint(32 - n), son: make([]uint32, 2*dict)}
}

// fill makes sure that a longest match and a bit more is at hand from the place of the search on, if the input has it.
func (m *matcher) fill() {
	const need = 2 * maxMatch
	if m.err != nil || len(m.buf)-int(m.pos-m.base) >= need+4096 {
		return
	}
	if len(m.buf) > cap(m.buf)-lookAhead {
		drop := int(m.pos-m.base) - int(m.dict) - keepBehind
		m.buf = m.buf[:copy(m.buf, m.buf[drop:])]
		m.base += uint32(drop)
	}
	end := len(m.buf) + lookAhead
	var n int
	n, m.err = io.ReadFull(m.r, m.buf[len(m.buf):end])
	m.buf = m.buf[:len(m.buf)+n]
	if m.err == io.ErrUnexpectedEOF {
		m.err = io.EOF
	}
}

// ahead returns the bytes from the place of the search on.
func (m *matcher) ahead() []byte { return m.buf[m.pos-m.base:] }

// next searches at one place and steps on. The matches become longer and farther; they are good until the next call.
func (m *matcher) next() []match {
	m.found = m.found[:0]
	m.insert(true)
	return m.found
}

func (m *matcher) skip(n int) {
	for range n {
		m.insert(false)
	}
}

func (m *matcher) insert(want bool) {
	m.fill()
	cur := m.ahead()
	pos := m.pos
	m.pos++
	limit := min(len(cur), m.nice)
	if limit < 4 {
		return
	}
	v := binary.LittleEndian.Uint32(cur)
	h2, h3, h4 := v<<16*0x9e3779b1>>22, v<<8*0x9e3779b1>>16, v*0x9e3779b1>>m.shift
	p2, p3, p4 := m.hash2[h2], m.hash3[h3], m.hash4[h4]
	m.hash2[h2], m.hash3[h3], m.hash4[h4] = pos+1, pos+1, pos+1
	best := 1
	if want {
		at := int(pos - m.base)
		for _, p := range [2]uint32{p2, p3} {
			if p == 0 || pos-(p-1) >= m.dict {
				continue
			}
			if l := common(m.buf[p-1-m.base:], cur, limit); l > best {
				best = l
				m.found = append(m.found, match{uint32(l), uint32(at) - (p - 1 - m.base) - 1})
			}
		}
		if best == limit {
			want = false
		}
	}
	m.walk(cur, pos, p4, limit, best, want)
}

// walk puts the suffix at pos at the root of its tree, and notes the matches longer than best on the way if they are
// wanted.
func (m *matcher) walk(cur []byte, pos, at uint32, limit, best int, want bool) {
	slot := pos % m.dict * 2
	larger, smaller := &m.son[slot+1], &m.son[slot]
	lenLarger, lenSmaller := 0, 0
	for depth := m.depth; ; depth-- {
		if depth == 0 || at == 0 || pos-(at-1) >= m.dict {
			*larger, *smaller = 0, 0
			return
		}
		pair := m.son[(at-1)%m.dict*2:][:2]
		old := m.buf[at-1-m.base:]
		n := min(lenLarger, lenSmaller)
		n += common(old[n:], cur[n:], limit-n)
		if want && n > best {
			best = n
			m.found = append(m.found, match{uint32(n), pos - (at - 1) - 1})
		}
		if n == limit {
			*smaller, *larger = pair[0], pair[1]
			return
		}
		if old[n] < cur[n] {
			*smaller = at
			smaller = &pair[1]
			at, lenSmaller = *smaller, n
		} else {
			*larger = at
			larger = &pair[0]
			at, lenLarger = *larger, n
		}
	}
}

// common returns the length of the common start of a and b, at most limit, which both have.
func common(a, b []byte, limit int) int {
	i := 0
	for ; i+8 <= limit && i+8 <= len(a); i += 8 {
		if d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); d != 0 {
			return i + bits.TrailingZeros64(d)>>3
		}
	}
	for i < limit && a[i] == b[i] {
		i++
	}
	return i
}
