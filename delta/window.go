package delta

import (
	"bytes"
	"errors"
	"runtime"
	"strings"

	"github.com/slotboot/slotboot/squash"
)

// madeWindow is a window as it goes into the columns.
type madeWindow struct {
	ops        []absOp
	diff       []byte
	extra      []byte
	regions    []region
	made       int // bytes that the ops make
	placements []placement
	gap        int // bytes made since the last of them
	literal    int // stored bytes of regions that the encoder does not reproduce, or that cost too much
	costs      []cost
	err        error
}

// cost is what one file brought to the columns.
type cost struct {
	path             string
	changed          int // nonzero difference bytes
	extra, unchanged int
}

// maker makes the windows of a delta, several at a time.
type maker struct {
	old, next *imageMap
	refs      *references
	encoder   string
	packs     []pack            // of the new file
	oldPack   int               // stored bytes of the largest old pack
	literal   int               // stored bytes of packs that no encoder here makes
	mostMade  int               // bytes that the ops of one window make
	mostText  int               // of the largest member
	textLeft  int64             // that members may have yet, so that making the target stays cheap
	placed    map[int][]*placed // members, by region of the new file; nil if there are none
}

// maxAhead bounds the windows in the making: each may build a reference, whose index takes 60 MB.
const maxAhead = 5

// windows makes the windows of items, in order, and calls use with each.
func (m *maker) windows(items []item, use func(*madeWindow) error) error {
	type slot struct {
		done chan *madeWindow
	}
	ahead := min(runtime.GOMAXPROCS(0)+1, maxAhead)
	slots := make(chan slot, ahead)
	stop := make(chan struct{})
	defer close(stop)
	codecs := make(chan squash.Codec, ahead)
	for range ahead {
		var c squash.Codec
		if m.encoder != "" {
			var err error
			if c, err = squash.NewCodec(m.encoder, max(m.next.blockSize, squash.MinBlockSize)); err != nil {
				return err
			}
		}
		codecs <- c
	}
	go func() {
		defer close(slots)
		for _, it := range items {
			if it.length > 0 {
				continue
			}
			s := slot{make(chan *madeWindow, 1)}
			select {
			case slots <- s:
			case <-stop:
				return
			}
			go func() {
				c := <-codecs
				s.done <- m.window(it, c)
				codecs <- c
			}()
		}
	}()
	for s := range slots {
		w := <-s.done
		if w.err != nil {
			return w.err
		}
		if err := use(w); err != nil {
			return err
		}
	}
	return nil
}

// window makes one window.
func (m *maker) window(it item, c squash.Codec) *madeWindow {
	w := &madeWindow{}
	r := &runner{m: m, w: w}
	for i := it.first; i < it.first+it.count && w.err == nil; i++ {
		plain, reg, err := m.rebuildable(i, c)
		if err != nil {
			w.err = err
			return w
		}
		w.regions = append(w.regions, reg)
		if reg.kind == raw && m.next.regions[i].kind != raw { // the encoder is another: nothing inside can be patched
			w.literal += len(plain)
			r.keepMembers(i)
			r.flush()
			r.add(piece{}, plain)
			r.flush()
			continue
		}
		members := m.placed[i]
		for _, p := range m.pieces(i) {
			for len(members) > 0 && members[0].skip < p.skip {
				members = members[1:]
			}
			if len(members) == 0 || members[0].skip >= p.skip+p.size {
				r.add(p, plain[p.skip:p.skip+p.size])
				continue
			}
			one := members[0]
			if head := one.skip - p.skip; head > 0 {
				p.size = head
				r.add(p, plain[p.skip:one.skip])
			}
			r.member(one)
		}
	}
	r.flush()
	return w
}

// runner collects what follows each other in one path over the regions of a window.
type runner struct {
	m    *maker
	w    *madeWindow
	run  []byte
	from piece
}

func (r *runner) flush() {
	if r.w.err == nil && len(r.run) > 0 {
		r.w.err = r.m.match(r.w, r.from, r.run)
	}
	r.run = nil
}

// add adds bytes as they stand in the window.
func (r *runner) add(p piece, b []byte) {
	if len(r.run) == 0 || p.path != r.from.path || p.path == "" || p.off != r.from.off+int64(len(r.run)) {
		r.flush()
		r.from = p
	}
	r.run = append(r.run, b...)
	r.w.made += len(b)
	r.w.gap += len(b)
}

// member adds the text of a member in place of its bytes.
func (r *runner) member(p *placed) {
	r.flush()
	one := p.placement
	one.gap = r.w.gap
	r.w.placements, r.w.gap = append(r.w.placements, one), 0
	if one.plain == 0 || r.w.err != nil {
		return
	}
	file, _, err := r.m.next.whole(p.member.path)
	if err == nil {
		var f inflater
		r.run, _, err = f.inflate(file, maxText)
	}
	r.w.err = err
	r.w.made += len(r.run)
	r.from = piece{path: pathText + p.member.path}
	r.flush()
}

// keepMembers adds the members of a region that stands as it is, if others count on their being kept.
func (r *runner) keepMembers(i int) {
	for _, p := range r.m.placed[i] {
		if one := *p; one.pieces {
			one.off, one.n = 0, 0
			r.member(&one)
		}
	}
}

// rebuildable returns a region of the new file with its plain bytes, as a raw region of its stored bytes if the encoder
// makes others.
func (m *maker) rebuildable(i int, c squash.Codec) ([]byte, region, error) {
	r := m.next.regions[i]
	plain, err := m.next.content(i)
	if err != nil || r.kind == raw || r.kind == metaRaw || r.kind.isPack() {
		return plain, r, err
	}
	stored, err := m.next.stored(i)
	if err != nil {
		return nil, r, err
	}
	if c != nil && len(plain) <= mostPlain(len(stored)) {
		got, err := encode(nil, r.kind, c, plain)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, r, err
		}
		if bytes.Equal(got, stored) {
			return plain, r, nil
		}
	}
	r.kind, r.plain = raw, r.stored
	return stored, r, nil
}

// pieces returns what the plain bytes of a region of the new file are, without gaps or overlaps.
func (m *maker) pieces(i int) []piece {
	var all []piece
	at := 0
	for _, p := range m.next.owners[i] {
		if p.skip < at { // shared with the one before
			continue
		}
		if p.skip > at {
			all = append(all, piece{region: i, skip: at, size: p.skip - at})
		}
		all = append(all, p)
		at = p.skip + p.size
	}
	if n := m.next.regions[i].plain; at < n {
		all = append(all, piece{region: i, skip: at, size: n - at})
	}
	return all
}

// match patches the bytes of one path against the old file.
func (m *maker) match(w *madeWindow, p piece, target []byte) error {
	cost := cost{path: strings.TrimPrefix(p.path, pathText)}
	var ref *reference
	var guess int
	var err error
	if p.path != "" {
		if ref, guess, err = m.refs.get(p.path, p.off, target); err != nil {
			return err
		}
	}
	if ref == nil {
		if len(w.ops) == 0 {
			w.ops = append(w.ops, absOp{from: -1})
		}
		w.ops[len(w.ops)-1].extra += len(target)
		w.extra = append(w.extra, target...)
		cost.extra = len(target)
	} else {
		var pt patcher
		pt.run(ref.index, target, guess)
		w.ops = ref.add(w.ops, &pt, guess)
		w.diff = append(w.diff, pt.diff...)
		w.extra = append(w.extra, pt.extra...)
		cost.extra = len(pt.extra)
		for _, d := range pt.diff {
			if d != 0 {
				cost.changed++
			}
		}
		cost.unchanged = len(pt.diff) - cost.changed
	}
	w.costs = append(w.costs, cost)
	return nil
}
