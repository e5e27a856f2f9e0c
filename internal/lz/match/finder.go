package match

import (
	"math/bits"

	"github.com/slotboot/slotboot/internal/lz/word"
)

// Match is a length in the low 32 bits and a distance above. The zero Match is none.
type Match uint64

func makeMatch(length, distance int) Match { return Match(distance<<32 | length) }

// Length is how many bytes are equal.
func (m Match) Length() int { return int(uint32(m)) }

// Distance is how far back they stand.
func (m Match) Distance() int { return int(m >> 32) }

// minMatch is the shortest match that is listed.
const minMatch = 3

// ChunkSize is the most bytes that one call of Find lists the matches of.
const ChunkSize = 128 << 10

// Unlimited stands for a limit that no input reaches.
const Unlimited = 1 << 30

// Rules say what a format can express and how hard to look for it.
type Rules struct {
	Longest  int    // match that is listed
	Farthest int    // distance that is listed
	First    uint64 // word.First5 or word.First6: what is equal along the chain
	Depth    int    // steps along the chain
	Nice     int    // a match of this length is taken without looking inside it
	Inherit  int    // while a match has more than this left, only longer ones are looked for
}

// Finder finds, for each position of a chunk, matches of growing length: the nearest of 3 bytes, the nearest of 4, some of
// 5 or 6 and more, and what is left of the longest match of the position before.
//
// Its tables cover the whole input, 64 Ki entries each: 128 KiB of input fill them well, and three of them fit the
// second-level cache.
type Finder struct {
	Rules
	In    []byte // framed
	head3 []uint32
	head4 []uint32
	head  []uint32 // of the chain
	shift uint     // to hash for these tables
	chain []uint32 // the position before with the same hash
	list  []Match
	from  int      // where the chunk begins
	at    []uint32 // where the matches of each position of the chunk begin in list; one more for the end
}

// NewFinder returns a Finder. It keeps 1 to 10 MB, by the largest input seen.
func NewFinder(r Rules) *Finder {
	return &Finder{Rules: r, at: make([]uint32, ChunkSize+1)}
}

// The sizes of the tables, by the size of the input; inputs beyond longInput get larger ones.
const (
	minTableLog  = 10
	maxTableLog  = 16
	longTableLog = 18 // 20 makes an initrd 0.05 % smaller, and takes 9 MB more
	longInput    = word.Front + 1<<20 + word.Pad
)

// TablesMax is what the tables take for the longest inputs, apart from four bytes for each byte of input.
const TablesMax = 3 * 4 << longTableLog

// Reset begins a framed input, which must stay as it is until the last call of Find.
func (f *Finder) Reset(in []byte) {
	f.In = in
	log := min(maxTableLog, max(minTableLog, bits.Len(uint(len(in)))))
	if len(in) > longInput {
		log = longTableLog
	}
	f.shift = uint(64 - log)
	f.head3, f.head4, f.head = zeros(f.head3, 1<<log), zeros(f.head4, 1<<log), zeros(f.head, 1<<log)
	if len(f.chain) < len(in) {
		f.chain = make([]uint32, len(in))
	}
}

// zeros returns a table of n zeros, in table if that has the room.
func zeros(table []uint32, n int) []uint32 {
	if cap(table) < n {
		return make([]uint32, n)
	}
	clear(table[:n])
	return table[:n]
}

// At returns the matches of position i of the chunk, each longer than the one before.
func (f *Finder) At(i int) []Match { return f.list[f.at[i-f.from]:f.at[i-f.from+1]] }

// None tells whether position i has no match.
func (f *Finder) None(i int) bool { return f.at[i-f.from] == f.at[i-f.from+1] }

// Last returns the longest match of position i, or the zero Match.
func (f *Finder) Last(i int) Match {
	if a, b := f.at[i-f.from], f.at[i-f.from+1]; b > a {
		return f.list[b-1]
	}
	return 0
}

// Find lists the matches of the chunk In[from:to]. The chunks of an input follow each other: matches reach back to all
// before, and none reaches beyond to.
func (f *Finder) Find(from, to int) {
	f.list, f.from, f.at = f.list[:0], from, f.at[:to-from+1]
	in, chain, at := f.In, f.chain, f.at
	head3, head4, head, first, shift := f.head3, f.head4, f.head, f.First, f.shift
	farthest, most := f.Farthest, f.Longest
	longest, distance := 0, 0 // of the position before
	v := word.Load64(in, from)
	h3, h4, h := word.Hash(v, word.First3, shift), word.Hash(v, word.First4, shift), word.Hash(v, first, shift)
	c3, c4, c := head3[h3], head4[h4], head[h]
	i := from
	for ; i <= to-8; i++ {
		at[i-from] = uint32(len(f.list))
		head3[h3], head4[h4], head[h] = uint32(i), uint32(i), uint32(i)
		chain[i] = c
		n3, n4, n, w := int(c3), int(c4), int(c), v
		// Load the next position's candidates now: they arrive while this one is compared.
		v = word.Load64(in, i+1)
		h3, h4, h = word.Hash(v, word.First3, shift), word.Hash(v, word.First4, shift), word.Hash(v, first, shift)
		c3, c4, c = head3[h3], head4[h4], head[h]
		best := minMatch - 1
		least, limit := max(i-farthest, word.Front), min(to, i+most)
		if longest > f.Inherit {
			best = longest - 1
			f.list = append(f.list, makeMatch(best, distance))
			if n >= least && word.Load32(in, n+best-3) == word.Load32(in, i+best-3) {
				best = f.try(i, n, limit, best)
			}
		} else {
			if n3 >= least && (word.Load32(in, n3)^uint32(w))<<8 == 0 {
				best = f.try(i, n3, limit, best)
			}
			if k := max(best-3, 0); n4 >= least && word.Load32(in, n4+k) == word.Load32(in, i+k) {
				best = f.try(i, n4, limit, best)
			}
			if n >= least {
				best = f.walk(i, n, least, limit, best)
			}
			if longest-1 > best {
				best = longest - 1
				f.list = append(f.list, makeMatch(best, distance))
			}
		}
		longest = 0
		if best >= minMatch {
			longest, distance = best, f.list[len(f.list)-1].Distance()
		}
		if best >= f.Nice {
			i = f.skip(i+1, i+best, distance) - 1
			longest = 0
			v = word.Load64(in, i+1)
			h3, h4, h = word.Hash(v, word.First3, shift), word.Hash(v, word.First4, shift), word.Hash(v, first, shift)
			c3, c4, c = head3[h3], head4[h4], head[h]
		}
	}
	f.skip(i, to, 0)
	at[to-from] = uint32(len(f.list))
}

// try lists the match of i with c when it is longer than best, and returns the longer length.
func (f *Finder) try(i, c, limit, best int) int {
	l := word.Common(f.In, c, i, limit)
	if l <= best {
		return best
	}
	f.list = append(f.list, makeMatch(l, i-c))
	return l
}

// walk tries the positions from c along the chain, down to least.
func (f *Finder) walk(i, c, least, limit, best int) int {
	in, chain := f.In, f.chain
	k := max(best-3, 0) // a longer match has the same 4 bytes here
	tail := word.Load32(in, i+k)
	for n := f.Depth; n > 0 && c >= least; n-- {
		if word.Load32(in, c+k) == tail {
			if l := word.Common(in, c, i, limit); l > best {
				f.list = append(f.list, makeMatch(l, i-c))
				if best = l; l >= f.Nice {
					break
				}
				k = max(best-3, 0)
				tail = word.Load32(in, i+k)
			}
		}
		c = int(chain[c])
	}
	return best
}

// skip enters the positions from i to end into the tables and returns end. They all lie in a match of this distance,
// unless it is 0, and what is left of it is their only match.
func (f *Finder) skip(i, end, distance int) int {
	in, chain, at, from := f.In, f.chain, f.at, f.from
	head3, head4, head, first, shift := f.head3, f.head4, f.head, f.First, f.shift
	for ; i < end; i++ {
		at[i-from] = uint32(len(f.list))
		if distance > 0 && end-i >= minMatch {
			f.list = append(f.list, makeMatch(end-i, distance))
		}
		v := word.Load64(in, i)
		h3, h4, h := word.Hash(v, word.First3, shift), word.Hash(v, word.First4, shift), word.Hash(v, first, shift)
		chain[i] = head[h]
		head3[h3], head4[h4], head[h] = uint32(i), uint32(i), uint32(i)
	}
	return end
}
