package delta

import (
	"bytes"
	"runtime"
	"sort"
	"sync"

	"github.com/slotboot/slotboot/delta/gzipenc"
)

// pathText stands before the path of a gzip file to name its text.
const pathText = "\x01"

// newMember is a gzip file of the new image that the applier can make from its text.
type newMember struct {
	path   string
	start  int // of the member in the file: behind its header, if that is not gzip's own
	stored int
	plain  int
	header bool

	parts []newPart // that windows have to make, in the order of the image
}

// newPart is a piece of a member, by the place of its region among the items.
type newPart struct {
	item  int
	piece piece
}

// placed is a part and how it goes into its window.
type placed struct {
	placement
	member *newMember
	skip   int // in the region
	size   int
}

// findMembers decides which members of the new image are made from their text, and in what windows. Those that are
// the same in the old image stay as they are.
func (m *maker) findMembers(items []item) ([]item, error) {
	if m.encoder == "" {
		return items, nil
	}
	all, err := m.memberParts(items)
	if err != nil {
		return nil, err
	}
	made, err := m.remade(all)
	if err != nil || len(made) == 0 {
		return items, err
	}
	if err := m.addOldMembers(made); err != nil {
		return nil, err
	}
	return m.placeMembers(items, made), nil
}

// memberParts lists the gzip files of the new image that windows have to make, in the order of the image.
func (m *maker) memberParts(items []item) ([]*newMember, error) {
	var all []*newMember
	byPath := map[string]*newMember{}
	for n, it := range items {
		for i := it.first; i < it.first+it.count; i++ {
			for _, p := range m.pieces(i) {
				if p.path == "" || p.path[0] == 0 {
					continue
				}
				one, ok := byPath[p.path]
				if !ok {
					gz, err := m.isGzip(p.path)
					if err != nil {
						return nil, err
					}
					if gz {
						one = &newMember{path: p.path}
						all = append(all, one)
					}
					byPath[p.path] = one
				}
				if one != nil {
					one.parts = append(one.parts, newPart{n, p})
				}
			}
		}
	}
	return all, nil
}

// isGzip tells whether a file of the new image begins as gzip files do, and is not too long.
func (m *maker) isGzip(path string) (bool, error) {
	pieces := m.next.paths[path]
	last := pieces[len(pieces)-1]
	if last.off+int64(last.size) > maxMember || pieces[0].off != 0 || pieces[0].size < len(gzipHeader) {
		return false, nil
	}
	plain, err := m.next.content(pieces[0].region)
	if err != nil {
		return false, err
	}
	return bytes.HasPrefix(plain[pieces[0].skip:], gzipHeader[:3]), nil
}

// remade returns those members that are new and come out the same when their text is compressed again.
func (m *maker) remade(all []*newMember) ([]*newMember, error) {
	todo := make(chan *newMember)
	var mu sync.Mutex
	var first error
	good := map[*newMember]bool{}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			var f inflater
			var e gzipenc.Encoder
			for one := range todo {
				ok, err := m.remake(one, &f, &e)
				mu.Lock()
				good[one] = ok
				if err != nil && first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	for _, one := range all {
		todo <- one
	}
	close(todo)
	workers.Wait()
	var made []*newMember
	for _, one := range all {
		if good[one] {
			made = append(made, one)
		}
	}
	return made, first
}

// remake tries one member.
func (m *maker) remake(one *newMember, f *inflater, e *gzipenc.Encoder) (bool, error) {
	file, whole, err := m.next.whole(one.path)
	if err != nil || !whole {
		return false, err
	}
	if _, ok := m.old.paths[one.path]; ok {
		before, whole, err := m.old.whole(one.path)
		if err != nil || whole && bytes.Equal(before, file) {
			return false, err
		}
	}
	text, header, err := f.inflate(file, maxText)
	if err != nil || len(text) == 0 {
		return false, nil // damaged, or no gzip at all
	}
	if one.header = bytes.HasPrefix(file, gzipHeader) && header == len(gzipHeader); !one.header {
		one.start = header
	}
	one.plain, one.stored = len(text), len(file)-one.start
	again := appendMember(nil, e, text, one.header)
	return bytes.Equal(again, file[one.start:]), nil
}

// whole returns the content of a file, and whether it has no holes and at most maxMember bytes.
func (m *imageMap) whole(path string) (body []byte, ok bool, err error) {
	var all []byte
	for _, p := range m.paths[path] {
		if p.off != int64(len(all)) || len(all)+p.size > maxMember {
			return nil, false, nil
		}
		plain, err := m.content(p.region)
		if err != nil {
			return nil, false, err
		}
		all = append(all, plain[p.skip:p.skip+p.size]...)
	}
	return all, true, nil
}

// addOldMembers adds to the old plain content the text of the old versions of members.
func (m *maker) addOldMembers(made []*newMember) error {
	old := map[string]bool{}
	for _, one := range made {
		if q, ok := m.refs.find(one.path); ok {
			old[q] = true
		}
	}
	var paths []string
	for q := range old {
		paths = append(paths, q)
	}
	sort.Strings(paths)
	var f inflater
	total := 0
	for _, q := range paths {
		if total+len(m.old.paths[q]) > maxOldPieces {
			return nil // the others are not patched
		}
		file, whole, err := m.old.whole(q)
		if err != nil {
			return err
		}
		text, _, err := f.inflate(file, maxText)
		if !whole || err != nil || len(text) == 0 || len(m.old.paths[q]) > maxPieces {
			continue
		}
		total += len(m.old.paths[q])
		m.old.addInflated(oldMember{pieces: m.old.paths[q], plain: len(text), kind: inflated}, pathText+q)
	}
	return nil
}

// addInflated adds the plain bytes of a member behind the plain content, and to the end of a path, if not "".
func (m *imageMap) addInflated(one oldMember, path string) {
	n := len(m.regions)
	m.at = append(m.at, m.at[n-1]+int64(m.regions[n-1].plain))
	m.addRegion(region{off: int64(len(m.members)), plain: one.plain, kind: inflated}, path)
	m.members = append(m.members, one)
}

// text returns the plain bytes of an inflated region.
func (m *imageMap) text(r region) ([]byte, error) {
	one := m.members[r.off]
	var stored []byte
	for _, p := range one.pieces {
		plain, err := m.content(p.region)
		if err != nil {
			return nil, err
		}
		stored = append(stored, plain[p.skip:p.skip+p.size]...)
	}
	if one.kind.isPack() {
		return unpack(one.kind, stored, one.plain)
	}
	var f inflater
	text, _, err := f.inflate(stored, maxText)
	return text, err
}

// placeMembers says where in the windows the members go. It splits windows of more text than a window has plain bytes,
// and leaves away what does not fit at all.
func (m *maker) placeMembers(items []item, made []*newMember) []item {
	byRegion := map[int][]*placed{}
	for _, one := range made {
		for _, part := range one.parts {
			p := part.piece
			if p.off < int64(one.start) { // the header stands in the window as it is
				cut := one.start - int(p.off)
				if cut >= p.size {
					continue
				}
				p.off, p.skip, p.size = p.off+int64(cut), p.skip+cut, p.size-cut
			}
			byRegion[p.region] = append(byRegion[p.region], &placed{member: one, skip: p.skip, size: p.size,
				placement: placement{off: int(p.off) - one.start, n: p.size}})
		}
	}
	m.placed = map[int][]*placed{}
	m.textLeft = mostCost(m.next.size)
	for _, it := range items {
		for i := it.first; i < it.first+it.count; i++ {
			r := m.next.regions[i]
			m.textLeft -= int64(min(r.plain, mostPlain(r.stored)))
		}
	}
	var kept keeper
	number := map[*newMember]int{} // of those made, the how many-th that was kept
	var out []item
	for _, it := range items {
		out = append(out, item{first: it.first, from: it.from, length: it.length, sum: it.sum})
		current := &out[len(out)-1]
		plain, made := 0, 0
		for i := it.first; i < it.first+it.count; i++ {
			all, text := m.placeRegion(i, byRegion[i], &kept, number)
			if current.count > 0 && (plain+m.next.regions[i].plain > maxWindow || made+text > maxWindow) {
				out = append(out, item{first: i})
				current = &out[len(out)-1]
				plain, made = 0, 0
			}
			m.mostMade = max(m.mostMade, made+text)
			current.count++
			plain += m.next.regions[i].plain
			made += text
			if len(all) > 0 {
				m.placed[i] = all
			}
		}
	}
	return out
}

// placeRegion places what one region has of members, and returns how many bytes its text has.
func (m *maker) placeRegion(i int, parts []*placed, kept *keeper, number map[*newMember]int) (all []*placed, text int) {
	text = m.next.regions[i].plain
	for _, p := range parts {
		one := p.member
		p.stored, p.header = one.stored, one.header
		nth, made := number[one]
		switch {
		case !made && text+one.plain <= maxMade && int64(one.plain) <= m.textLeft:
			m.textLeft -= int64(one.plain)
			p.placement.plain = one.plain
			number[one] = -1
			m.mostText = max(m.mostText, one.plain)
			if p.n < one.stored {
				p.pieces = true
				number[one] = kept.gone + len(kept.sizes)
				kept.keep(one.stored)
			}
			text += one.plain - p.n
		case made && nth >= kept.gone:
			p.back = kept.gone + len(kept.sizes) - 1 - nth
			text -= p.n
		default: // it stays as it is
			continue
		}
		all = append(all, p)
	}
	return all, text
}
