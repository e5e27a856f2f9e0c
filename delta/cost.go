package delta

import "sort"

// A delta of a few bytes could ask for hours: each op may inflate other old content, and zeros pack to nothing. So the
// header says how many bytes are inflated and compressed in all, a target of so many bytes allows so much of either, and
// the applier counts. Make keeps within it: what would cost too much becomes extra bytes.

const (
	freeCost    = 64 << 20 // plain bytes that any delta may cost
	costPerByte = 32       // and for each byte of the target
	opBytes     = 4        // bytes that a window has for each op
	freeOps     = 16
	sourceCost  = 1 << 10 // what a source, and a piece of one, counts besides its bytes
)

// mostCost returns how many plain bytes the delta of a target of so many bytes may have inflated, or compressed.
func mostCost(target int64) int64 {
	if target > 1<<50 {
		return 1 << 62
	}
	return freeCost + costPerByte*target
}

// mostPlain returns how many plain bytes a piece of the target may be compressed from again.
func mostPlain(stored int) int { return costPerByte * stored }

// maxOps returns how many ops may make so many bytes.
func maxOps(made int64) int64 { return made/opBytes + freeOps }

// purse counts what the windows of a delta cost an applier, before it is written.
type purse struct {
	old     *imageMap
	sources *sources // as the applier has them, without their bytes
	most    int64    // what may be inflated
}

// newPurse returns a purse for deltas from old that need what is listed.
func newPurse(old *imageMap, needs []string, most int64) *purse {
	s := newSources(oldCache(needs), 1<<62)
	s.dry = true
	for i, r := range old.regions {
		s.list = append(s.list, source{region: r, at: old.at[i]})
		s.size += int64(r.plain)
	}
	for _, one := range old.members {
		var spans []span
		for _, p := range one.pieces {
			spans = append(spans, span{old.at[p.region] + int64(p.skip), p.size})
		}
		s.members = append(s.members, member{spans, one.kind})
	}
	return &purse{old, s, most}
}

// pay makes of a window what an applier may be asked for, and counts that.
func (p *purse) pay(w *madeWindow) error {
	if int64(len(w.ops)+1) > maxOps(int64(w.made)) {
		// An op for each of these has 16 bytes at least.
		if err := p.spell(w, func(o absOp) (bool, error) { return o.add >= 4*opBytes, nil }); err != nil {
			return err
		}
	}
	return p.spell(w, func(o absOp) (bool, error) {
		if p.sources.spent+p.sources.dearest(o.from, int64(o.add)) > p.most {
			return false, nil
		}
		return true, p.sources.visit(o.from, int64(o.add), nil)
	})
}

// spell makes extra bytes of the ops that keep does not want.
func (p *purse) spell(w *madeWindow, keep func(absOp) (bool, error)) error {
	dear := map[int]bool{}
	for i, o := range w.ops {
		if o.add == 0 {
			continue
		}
		if ok, err := keep(o); err != nil {
			return err
		} else if !ok {
			dear[i] = true
		}
	}
	if len(dear) == 0 {
		return nil
	}
	ops, diff, extra := w.ops, w.diff, w.extra
	w.ops, w.diff, w.extra = []absOp{{from: -1}}, nil, nil
	for i, o := range ops {
		change := diff[:o.add]
		diff = diff[o.add:]
		if dear[i] {
			plain, err := p.old.bytes(o.from, o.add)
			if err != nil {
				return err
			}
			for k, d := range change {
				plain[k] += d
			}
			w.extra = append(w.extra, plain...)
			w.ops[len(w.ops)-1].extra += o.add
		} else if o.add > 0 {
			w.ops = append(w.ops, absOp{from: o.from, add: o.add})
			w.diff = append(w.diff, change...)
		}
		w.extra = append(w.extra, extra[:o.extra]...)
		w.ops[len(w.ops)-1].extra += o.extra
		extra = extra[o.extra:]
	}
	return nil
}

// bytes returns n bytes of the plain content of a file from on.
func (m *imageMap) bytes(from int64, n int) ([]byte, error) {
	all := make([]byte, 0, n)
	for i := sort.Search(len(m.at), func(i int) bool { return m.at[i] > from }) - 1; len(all) < n; i++ {
		plain, err := m.content(i)
		if err != nil {
			return nil, err
		}
		skip := int(from + int64(len(all)) - m.at[i])
		all = append(all, plain[skip:min(len(plain), skip+n-len(all))]...)
	}
	return all, nil
}
