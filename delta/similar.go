package delta

import (
	"math/bits"
	"sync"
)

// similar finds the old file that a new one resembles most by what is in them, for those that no name leads to: moved
// folders, split libraries, copies.
//
// Places are chosen by content: where a rolling hash of the last 64 bytes has zeros at its top, about once in step
// bytes. Two files with a stretch in common have its places in common.
type similar struct {
	old    *imageMap
	once   sync.Once
	err    error
	top    uint // bits that are zero at a place
	places map[uint64]place
	paths  []string
}

// place is where a hash stands first in the old file.
type place struct {
	path int32
	off  int64
}

const (
	minSimilar = 4 << 10 // bytes that are worth a search
	maxPlaces  = 1 << 20 // of the old file: about 50 MB of tables
	minStep    = 512
)

// gear has a random number for each byte value, as rolling hashes need it; fixed, since deltas reproduce.
var gear = func() (t [256]uint64) {
	x := uint64(1)
	for i := range t {
		for range 4 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		t[i] = x * 0x9e3779b97f4a7c15
	}
	return t
}()

// each calls visit with the hash and the end of every place of b.
func (s *similar) each(b []byte, visit func(h uint64, end int)) {
	var h uint64
	for i, c := range b {
		h = h<<1 + gear[c]
		if h>>(64-s.top) == 0 && i >= 63 {
			visit(h, i+1)
		}
	}
}

// index looks at every file of the old image, region by region, so that each is decoded once.
func (s *similar) index() {
	var total int64
	for _, r := range s.old.regions {
		total += int64(r.plain)
	}
	s.top = uint(bits.Len64(max(uint64(total)/maxPlaces, minStep) - 1))
	s.places = map[uint64]place{}
	ids := map[string]int32{}
	for i, owners := range s.old.owners {
		if len(owners) == 0 || owners[0].path[0] == 0 {
			continue
		}
		plain, err := s.old.content(i)
		if err != nil {
			s.err = err
			return
		}
		for _, p := range owners {
			id, ok := ids[p.path]
			if !ok {
				id = int32(len(s.paths))
				ids[p.path] = id
				s.paths = append(s.paths, p.path)
			}
			s.each(plain[p.skip:p.skip+p.size], func(h uint64, end int) {
				if _, ok := s.places[h]; !ok {
					s.places[h] = place{id, p.off + int64(end)}
				}
			})
		}
	}
}

// find returns the old path that has the most places in common with b, and where in it the first of them says that b
// begins.
func (s *similar) find(b []byte) (path string, off int64, ok bool, err error) {
	if len(b) < minSimilar {
		return "", 0, false, nil
	}
	if s.once.Do(s.index); s.err != nil {
		return "", 0, false, s.err
	}
	type candidate struct {
		votes int
		first int64
	}
	votes := map[int32]candidate{}
	all, best := 0, int32(-1)
	s.each(b, func(h uint64, end int) {
		all++
		at, ok := s.places[h]
		if !ok {
			return
		}
		c, ok := votes[at.path]
		if !ok {
			c.first = at.off - int64(end)
		}
		c.votes++
		votes[at.path] = c
		if best < 0 || c.votes > votes[best].votes {
			best = at.path
		}
	})
	if best < 0 || votes[best].votes < max(2, all/20) {
		return "", 0, false, nil
	}
	return s.paths[best], max(0, votes[best].first), true, nil
}
