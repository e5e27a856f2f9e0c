package delta

import (
	"container/list"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/slotboot/slotboot/internal/lz/word"
)

// refSize is how much of an old file a piece of the new one is compared with, in bytes, around the same place.
const refSize = 8 << 20

// reference is old content that a piece of the new file is patched from: bytes and where they are in the plain content
// of the old file.
type reference struct {
	index *index
	first int64 // offset in the old file of the first byte
	segs  []segment
}

// segment is a stretch of a reference that is in one piece in the plain content.
type segment struct {
	local int   // where it begins in the reference
	at    int64 // and in the plain content
	size  int
}

// add appends the ops of a patch against the reference, with places in the plain content, split where it is not in one
// piece there.
func (r *reference) add(ops []absOp, p *patcher, from int) []absOp {
	pos := from
	for _, o := range p.ops {
		for left := o.add; left > 0; {
			i := sort.Search(len(r.segs), func(i int) bool { return r.segs[i].local > pos }) - 1
			seg := r.segs[i]
			n := min(left, seg.local+seg.size-pos)
			ops = append(ops, absOp{from: seg.at + int64(pos-seg.local), add: n})
			left -= n
			pos += n
		}
		if o.extra > 0 {
			if len(ops) == 0 {
				ops = append(ops, absOp{from: -1})
			}
			ops[len(ops)-1].extra += o.extra
		}
		pos += int(o.seek)
	}
	return ops
}

// absOp is an op with its place in the plain content of the old file; -1 if add is 0 and any place will do.
type absOp struct {
	from  int64
	add   int
	extra int
}

// references finds and keeps references in the old file.
type references struct {
	old     *imageMap
	similar map[string][]string // name without what versions change -> paths
	content similar
	mu      sync.Mutex
	cache   map[refKey]*list.Element
	order   *list.List
	held    int
}

type refKey struct {
	path  string
	first int64
}

type refEntry struct {
	key  refKey
	once sync.Once
	ref  *reference
	err  error
	size int
}

// refCache is how many bytes of old content stay indexed; an index is five times as large as what it indexes.
const refCache = 32 << 20

func newReferences(old *imageMap) *references {
	r := &references{old: old, content: similar{old: old}, similar: map[string][]string{}, cache: map[refKey]*list.Element{}, order: list.New()}
	for p := range old.paths {
		r.similar[stem(p)] = append(r.similar[stem(p)], p)
	}
	for _, paths := range r.similar {
		sort.Strings(paths)
	}
	return r
}

// stem is a path with every run of digits made one mark: what stays of libcrypto.so.3.0.15 when it becomes 3.0.16.
func stem(p string) string {
	var b strings.Builder
	digits := false
	for _, c := range []byte(p) {
		if c >= '0' && c <= '9' {
			if !digits {
				b.WriteByte('#')
			}
			digits = true
			continue
		}
		if digits && c == '.' { // 1.2.3 and 1.2 are the same
			continue
		}
		digits = false
		b.WriteByte(c)
	}
	return b.String()
}

// find returns the path in the old file that a new path most likely was.
func (r *references) find(p string) (string, bool) {
	if _, ok := r.old.paths[p]; ok {
		return p, true
	}
	best, bestScore := "", -1
	for _, q := range r.similar[stem(p)] {
		if score := word.Prefix([]byte(path.Base(p)), []byte(path.Base(q))); score > bestScore {
			best, bestScore = q, score
		}
	}
	return best, bestScore >= 0
}

// findText does the same for the text of a gzip file, and returns the path of the old text.
func (r *references) findText(p string) (string, bool) {
	q, ok := r.find(strings.TrimPrefix(p, pathText))
	if ok {
		q = pathText + q
		_, ok = r.old.paths[q]
	}
	return q, ok
}

// get returns the reference for a piece of path at off, and where in it the piece most likely begins; or nil if the old
// file has nothing like it.
func (r *references) get(p string, off int64, target []byte) (*reference, int, error) {
	find := r.find
	if strings.HasPrefix(p, pathText) {
		find = r.findText
	}
	q, ok := find(p)
	if !ok {
		var err error
		if q, off, ok, err = r.content.find(target); !ok || err != nil {
			return nil, 0, err
		}
	}
	ref, err := r.around(q, off, len(target))
	if err != nil {
		return nil, 0, err
	}
	return ref, int(min(max(off-ref.first, 0), int64(len(ref.index.old)))), nil
}

// around returns the reference of an old path for size bytes at off.
func (r *references) around(q string, off int64, size int) (*reference, error) {
	pieces := r.old.paths[q]
	last := pieces[len(pieces)-1]
	total := last.off + int64(last.size)
	// Steps of half a reference, so that neighbours share one.
	first := max(0, min(off+int64(size)/2-refSize/2, total-refSize)) / (refSize / 2) * (refSize / 2)
	e := r.entry(refKey{q, first})
	e.once.Do(func() { e.ref, e.err = r.build(pieces, first) })
	if e.err != nil {
		return nil, e.err
	}
	r.charge(e)
	return e.ref, nil
}

// entry returns the cache's entry for a key, a new one if need be.
func (r *references) entry(k refKey) *refEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.cache[k]; ok {
		r.order.MoveToFront(e)
		return e.Value.(*refEntry)
	}
	e := &refEntry{key: k}
	r.cache[k] = r.order.PushFront(e)
	return e
}

// charge counts a built entry and lets go of those that were used longest ago.
func (r *references) charge(e *refEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.cache[e.key]; !ok || e.size > 0 {
		return
	}
	e.size = len(e.ref.index.old) + 64
	r.held += e.size
	for r.held > refCache && r.order.Len() > 1 {
		back := r.order.Back()
		old := back.Value.(*refEntry)
		if old == e {
			break
		}
		r.order.Remove(back)
		delete(r.cache, old.key)
		r.held -= old.size
	}
}

// build reads refSize and a half of a file's content from first on and indexes it.
func (r *references) build(pieces []piece, first int64) (*reference, error) {
	ref := &reference{first: first}
	var buf []byte
	for _, p := range pieces {
		end := p.off + int64(p.size)
		if end <= first || p.off >= first+refSize+refSize/2 {
			continue
		}
		plain, err := r.old.content(p.region)
		if err != nil {
			return nil, err
		}
		cut := max(0, int(first-p.off))
		ref.segs = append(ref.segs, segment{local: len(buf), at: r.old.at[p.region] + int64(p.skip+cut), size: p.size - cut})
		buf = append(buf, plain[p.skip+cut:p.skip+p.size]...)
	}
	ref.index = newIndex(buf)
	return ref, nil
}
