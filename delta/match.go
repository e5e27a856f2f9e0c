package delta

import (
	"encoding/binary"
	"math/bits"

	"github.com/slotboot/slotboot/internal/lz/word"
)

// op is one step of a patch: add takes that many bytes of the old content and adds as many from the difference column;
// then extra bytes come from the extra column; then the position in the old content moves by seek.
type op struct {
	add   int
	extra int
	seek  int64
}

// The limits of the match search, chosen on rebuilt executables and shared libraries of Debian packages: a longer hash
// misses the short runs between two changed addresses, a deeper chain costs time and finds nothing better.
const (
	hashLen   = 6  // bytes that must be equal for two places to meet
	chainDeep = 48 // candidates looked at per place
	minGain   = 8  // bytes by which a new alignment must beat the present one, as in bsdiff
)

// index finds places in old content whose bytes equal those at a place of the new content.
type index struct {
	old   []byte
	head  []int32 // last place of each hash, plus one
	prev  []int32 // the place before it with the same hash, plus one
	shift uint
}

// newIndex indexes old, which must be shorter than 2 GiB. It takes 4 bytes a byte of old, and a table of up to 4 MiB.
func newIndex(old []byte) *index {
	n := min(max(bits.Len(uint(len(old))), 8), 20)
	x := &index{old: old, head: make([]int32, 1<<n), prev: make([]int32, len(old)), shift: uint(64 - n)}
	for i := 0; i+8 <= len(old); i++ {
		h := x.hash(old[i:])
		x.prev[i] = x.head[h]
		x.head[h] = int32(i + 1)
	}
	return x
}

func (x *index) hash(p []byte) uint64 {
	v := binary.LittleEndian.Uint64(p) << (64 - 8*hashLen)
	return v * 0x9e3779b97f4a7c15 >> x.shift
}

// longest returns the longest run of old that equals the start of p, and where it begins.
func (x *index) longest(p []byte) (pos, n int) {
	if len(p) < 8 || len(x.old) < 8 {
		return 0, 0
	}
	at := x.head[x.hash(p)]
	for tries := chainDeep; at != 0 && tries > 0; tries-- {
		cand := x.old[at-1:]
		if n == 0 || len(cand) > n && len(p) > n && cand[n] == p[n] {
			if l := word.Prefix(cand, p); l > n {
				pos, n = int(at-1), l
			}
		}
		at = x.prev[at-1]
	}
	return pos, n
}

// patcher collects the columns of a patch.
type patcher struct {
	ops   []op
	diff  []byte
	extra []byte
}

// run appends to the columns what turns the old content of x into target. The position in the old content is from when
// it begins, and the position it leaves is returned.
//
// The walk is that of Percival's "Naive differences of executable code": follow an alignment of old and new through
// mismatches as long as it explains more than half of the bytes, and leave it only for one that explains minGain more.
func (p *patcher) run(x *index, target []byte, from int) int {
	old := x.old
	var (
		scan, pos, length   int // the match under look
		lastScan, lastPos   int // where the alignment in use begins
		lastOffset          int // old place minus new place of that alignment
		place               = from
		explained, scanFrom int
	)
	lastPos, lastOffset = from, from
	for scan < len(target) {
		explained = 0
		scan += length
		for scanFrom = scan; scan < len(target); scan++ {
			if at := scan + lastOffset; scan == 0 && at >= 0 && at < len(old) {
				// The caller's guess of the start is as good as any match of the same length.
				pos, length = at, word.Prefix(old[at:], target)
			} else {
				length = 0
			}
			if q, l := x.longest(target[scan:]); l > length {
				pos, length = q, l
			}
			for ; scanFrom < scan+length; scanFrom++ {
				if at := scanFrom + lastOffset; at >= 0 && at < len(old) && old[at] == target[scanFrom] {
					explained++
				}
			}
			if length == explained && length != 0 || length > explained+minGain {
				break
			}
			if at := scan + lastOffset; at >= 0 && at < len(old) && old[at] == target[scan] {
				explained--
			}
		}
		if length == explained && scan < len(target) {
			continue // the alignment in use explains the match as well
		}
		scan = min(scan, len(target))
		ahead := forward(old, target, lastPos, lastScan, scan)
		back := 0
		if scan < len(target) {
			back = backward(old, target, pos, scan, lastScan)
		}
		if overlap := lastScan + ahead - (scan - back); overlap > 0 {
			keep := split(old, target, lastPos+ahead-overlap, lastScan+ahead-overlap, pos-back, scan-back, overlap)
			ahead += keep - overlap
			back -= keep
		}
		next := pos - back
		if scan >= len(target) {
			next = lastPos + ahead
		}
		p.step(old, target, lastPos, lastScan, ahead, scan-back-(lastScan+ahead), next, &place)
		lastScan, lastPos = scan-back, next
		lastOffset = pos - scan
	}
	return place
}

// step appends one op: ahead bytes by difference, extra bytes as they are, then old moves on to next.
func (p *patcher) step(old, target []byte, oldPos, newPos, ahead, extra, next int, place *int) {
	if ahead == 0 && extra == 0 && next == *place {
		return
	}
	if oldPos != *place { // only ever at the very start
		p.ops = append(p.ops, op{seek: int64(oldPos - *place)})
	}
	for i := range ahead {
		p.diff = append(p.diff, target[newPos+i]-old[oldPos+i])
	}
	p.extra = append(p.extra, target[newPos+ahead:newPos+ahead+extra]...)
	p.ops = append(p.ops, op{add: ahead, extra: extra, seek: int64(next - (oldPos + ahead))})
	*place = next
}

// forward returns how far the alignment of old[pos:] and target[scan:end] is worth following: to where it has explained
// the most bytes beyond half.
func forward(old, target []byte, pos, scan, end int) int {
	best, bestLen, score := 0, 0, 0
	for i := 0; scan+i < end && pos+i < len(old); i++ {
		if old[pos+i] == target[scan+i] {
			score++
		}
		if gain := score*2 - (i + 1); gain > best {
			best, bestLen = gain, i+1
		}
	}
	return bestLen
}

// backward does the same towards the front, not beyond target[floor].
func backward(old, target []byte, pos, scan, floor int) int {
	best, bestLen, score := 0, 0, 0
	for i := 1; scan-i >= floor && pos-i >= 0; i++ {
		if old[pos-i] == target[scan-i] {
			score++
		}
		if gain := score*2 - i; gain > best {
			best, bestLen = gain, i
		}
	}
	return bestLen
}

// split returns how many of the n bytes that two alignments both claim go to the first, so that the most are explained.
func split(old, target []byte, pos1, scan1, pos2, scan2, n int) int {
	best, bestLen, score := 0, 0, 0
	for i := range n {
		if old[pos1+i] == target[scan1+i] {
			score++
		}
		if old[pos2+i] == target[scan2+i] {
			score--
		}
		if score > best {
			best, bestLen = score, i+1
		}
	}
	return bestLen
}
