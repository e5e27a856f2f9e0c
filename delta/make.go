package delta

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
)

// MakeOptions says how a delta is made. The zero value is good.
type MakeOptions struct {
	Encoder  string                  // id of the encoder of the new image's blocks, from its manifest; "": find out
	TempDir  string                  // for spools; "": the system's
	Progress func(done, total int64) // called with plain bytes of windows made
	inflate  int64                   // what the delta may have inflated, for tests; 0: what any may
	memory   int64                   // what appliers have, for tests; 0: maxMemory
	noPacks  bool
}

// Report says what a delta is made of.
type Report struct {
	Header  Header
	Size    int64      // bytes of the delta
	Copied  int64      // target bytes that are stored the same in the old file
	Rebuilt int64      // plain bytes that are patched and compressed again
	Literal int64      // stored bytes of blocks and packs that the encoder does not reproduce, or only at too high a cost
	Files   []FileCost // by what they brought, most first
}

// FileCost is what a file brought to the columns before compression.
type FileCost struct {
	Path      string `json:"path"`      // what is no file's content begins with a NUL
	Extra     int    `json:"extra"`     // bytes found nowhere in the old file's version
	Changed   int    `json:"changed"`   // bytes that differ in place
	Unchanged int    `json:"unchanged"` // bytes that do not, but share a block with some that do
}

// Make writes to out the delta that turns the old file into the new one. The same files and options give the same
// bytes.
func Make(out io.Writer, old, next io.ReaderAt, oldSize, newSize int64, o MakeOptions) (*Report, error) {
	src, err := digest(old, oldSize)
	if err != nil {
		return nil, fmt.Errorf("read old file: %w", err)
	}
	dst, err := digest(next, newSize)
	if err != nil {
		return nil, fmt.Errorf("read new file: %w", err)
	}
	if o.memory == 0 {
		o.memory = maxMemory
	}
	rep, err := makeDelta(out, old, next, src, dst, o)
	if errors.Is(err, errMemory) {
		o.noPacks = true
		rep, err = makeDelta(out, old, next, src, dst, o)
	}
	return rep, err
}

// errMemory: packs would need more memory than appliers have. Nothing has been written.
var errMemory = errors.New("applying takes too much memory")

func makeDelta(out io.Writer, old, next io.ReaderAt, src, dst File, o MakeOptions) (*Report, error) {
	var err error
	m := &maker{}
	if m.old, err = mapImage(old, src.Size); err != nil {
		return nil, fmt.Errorf("read old file: %w", err)
	}
	if m.next, err = mapImage(next, dst.Size); err != nil {
		return nil, fmt.Errorf("read new file: %w", err)
	}
	if m.encoder, err = chooseEncoder(m.next, o.Encoder); err != nil {
		return nil, err
	}
	if src != dst && !o.noPacks {
		if err := m.findPacks(); err != nil {
			return nil, err
		}
	}
	m.refs = newReferences(m.old)
	items, err := planItems(m.old, m.next)
	if err != nil {
		return nil, err
	}
	if items, err = m.findMembers(items); err != nil {
		return nil, err
	}
	b, err := newBuilder(m, o)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.fill(items); err != nil {
		return nil, err
	}
	// What has been read of the files is not needed any more; compressing the columns needs memory of its own.
	m.refs = nil
	m.old.forget()
	m.next.forget()
	return b.write(out, src, dst)
}

func digest(r io.ReaderAt, size int64) (File, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(r, 0, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return File{Size: size, SHA256: fmt.Sprintf("%x", sum.Sum(nil))}, err
}

// builder collects the columns.
type builder struct {
	m       *maker
	o       MakeOptions
	report  Report
	spools  [numColumns]*spool
	marks   [][numColumns]int64 // plain bytes of each column that are needed by the end of each window
	costs   map[string]*FileCost
	windows []*madeWindow // without their bytes, which are in the spools
	used    []bool        // regions of the old file that windows are patched from
	purse   *purse
}

func newBuilder(m *maker, o MakeOptions) (*builder, error) {
	b := &builder{m: m, o: o, costs: map[string]*FileCost{}, used: make([]bool, len(m.old.regions))}
	most := o.inflate
	if most == 0 {
		most = mostCost(m.next.size)
	}
	b.report.Literal = int64(m.literal)
	b.purse = newPurse(m.old, b.needs(), most)
	for i := range b.spools {
		var err error
		if b.spools[i], err = newSpool(o.TempDir); err != nil {
			b.close()
			return nil, err
		}
	}
	return b, nil
}

func (b *builder) close() {
	for _, s := range b.spools {
		if s != nil {
			s.close()
		}
	}
}

// fill makes the windows, whose differences and extra bytes go into spools at once, then writes the other columns,
// which need to know what parts of the old file are used.
func (b *builder) fill(items []item) error {
	var total, done int64
	for _, it := range items {
		if it.length > 0 {
			b.report.Copied += it.length
		}
		for i := it.first; i < it.first+it.count; i++ {
			total += int64(b.m.next.regions[i].plain)
		}
	}
	err := b.m.windows(items, func(w *madeWindow) error {
		if err := b.purse.pay(w); err != nil {
			return err
		}
		b.spools[colDiff].Write(w.diff)
		b.spools[colExtra].Write(w.extra)
		for _, o := range w.ops {
			b.use(o.from, o.add)
		}
		b.count(w)
		for _, r := range w.regions {
			done += int64(r.plain)
		}
		if b.o.Progress != nil {
			b.o.Progress(done, total)
		}
		b.windows = append(b.windows, &madeWindow{ops: w.ops, regions: w.regions, placements: w.placements, made: w.made})
		return nil
	})
	if err != nil {
		return err
	}
	b.control(items)
	for _, s := range b.spools {
		if s.err != nil {
			return fmt.Errorf("write spool: %w", s.err)
		}
	}
	return nil
}

// use notes which regions of the old file hold plain bytes from on.
func (b *builder) use(from int64, n int) {
	at := b.m.old.at
	for i := sort.Search(len(at), func(i int) bool { return at[i] > from }) - 1; n > 0 && i < len(at); i++ {
		b.used[i] = true
		skip := int(from - at[i])
		n -= b.m.old.regions[i].plain - skip
		from = at[i] + int64(b.m.old.regions[i].plain)
	}
}

func (b *builder) count(w *madeWindow) {
	b.report.Literal += int64(w.literal)
	for _, r := range w.regions {
		if r.kind == block || r.kind == meta || r.kind.isPack() {
			b.report.Rebuilt += int64(r.plain)
		}
	}
	for _, p := range w.placements {
		b.report.Rebuilt += int64(p.plain)
	}
	for _, c := range w.costs {
		f := b.costs[c.path]
		if f == nil {
			f = &FileCost{Path: c.path}
			b.costs[c.path] = f
		}
		f.Extra += c.extra
		f.Changed += c.changed
		f.Unchanged += c.unchanged
	}
}

// control writes the table of sources and the items.
func (b *builder) control(items []item) {
	compact := b.sources()
	control := b.spools[colControl]
	var copied, pos int64
	windows := b.windows
	var diff, extra int64
	for _, it := range items {
		if it.length > 0 {
			control.uint(itemCopy)
			control.int(it.from - copied)
			control.uint(uint64(it.length))
			b.spools[colCheck].sum(it.sum)
			copied = it.from + it.length
		} else {
			w := windows[0]
			windows = windows[1:]
			pos = b.window(w, compact, pos)
			for _, o := range w.ops {
				diff += int64(o.add)
				extra += int64(o.extra)
			}
		}
		var mark [numColumns]int64
		for i, s := range b.spools {
			mark[i] = s.n
		}
		mark[colDiff], mark[colExtra] = diff, extra
		b.marks = append(b.marks, mark)
	}
	control.uint(itemEnd)
}

// sources writes the table of the used regions and returns where each begins in their plain content.
func (b *builder) sources() []int64 {
	control := b.spools[colControl]
	n := 0
	for i, used := range b.used {
		if !used {
			continue
		}
		if r := b.m.old.regions[i]; r.kind == inflated { // they come last
			for _, p := range b.m.old.members[r.off].pieces {
				b.used[p.region] = true
			}
		}
	}
	for i, used := range b.used {
		if used && b.m.old.regions[i].kind != inflated {
			n++
		}
	}
	control.uint(uint64(n))
	compact := make([]int64, len(b.used))
	var end, at int64
	for i, r := range b.m.old.regions {
		if !b.used[i] || r.kind == inflated {
			continue
		}
		control.uint(uint64(r.off - end))
		control.region(r)
		stored, err := b.m.old.stored(i)
		if err != nil && control.err == nil {
			control.err = err
		}
		b.spools[colCheck].sum(crc32.Checksum(stored, castagnoli))
		end = r.off + int64(r.stored)
		compact[i] = at
		at += int64(r.plain)
	}
	if len(b.needs()) > 0 {
		b.oldMembers(compact, at)
	}
	return compact
}

// oldMembers writes the table of the used old members, whose text begins at at in the plain content.
func (b *builder) oldMembers(compact []int64, at int64) {
	control := b.spools[colControl]
	var all []int
	for i, r := range b.m.old.regions {
		if b.used[i] && r.kind == inflated {
			all = append(all, i)
		}
	}
	control.uint(uint64(len(all)))
	var end int64
	for _, i := range all {
		r := b.m.old.regions[i]
		one := b.m.old.members[r.off]
		control.uint(uint64(r.plain)<<2 | uint64(one.kind-inflated))
		control.uint(uint64(len(one.pieces)))
		for _, p := range one.pieces {
			from := compact[p.region] + int64(p.skip)
			control.int(from - end)
			control.uint(uint64(p.size))
			end = from + int64(p.size)
		}
		compact[i] = at
		at += int64(r.plain)
	}
}

// window writes one window; pos is the place in the plain content of the sources before and after it.
func (b *builder) window(w *madeWindow, compact []int64, pos int64) int64 {
	control := b.spools[colControl]
	plain := 0
	for _, r := range w.regions {
		plain += r.plain
	}
	ops := w.ops
	// A seek stands behind an op, so the first op may have to be a mere seek.
	place := func(o absOp) int64 {
		if o.add == 0 {
			return pos
		}
		at := b.m.old.at
		i := sort.Search(len(at), func(i int) bool { return at[i] > o.from }) - 1
		return compact[i] + o.from - at[i]
	}
	if len(ops) > 0 && place(ops[0]) != pos {
		ops = append([]absOp{{from: -1}}, ops...)
	}
	switch {
	case w.regions[0].kind.isPack():
		control.uint(itemLZ4 + uint64(w.regions[0].kind-lz4Block))
	case len(w.placements) > 0:
		control.uint(itemText)
	default:
		control.uint(itemWindow)
	}
	control.uint(uint64(plain))
	control.uint(uint64(len(ops)))
	if w.regions[0].kind.isPack() {
		control.uint(uint64(w.regions[0].stored))
	} else {
		control.uint(uint64(len(w.regions)))
		for _, r := range w.regions {
			control.region(r)
		}
	}
	if len(w.placements) > 0 {
		control.uint(uint64(w.made))
		control.uint(uint64(len(w.placements)))
		for _, p := range w.placements {
			control.placement(p)
		}
	}
	for i, o := range ops {
		b.spools[colLength].uint(uint64(o.add))
		b.spools[colLength].uint(uint64(o.extra))
		pos += int64(o.add)
		var seek int64
		if i+1 < len(ops) {
			seek = place(ops[i+1]) - pos
		}
		b.spools[colSeek].int(seek)
		pos += seek
	}
	return pos
}

// spool is a column before compression, in an unlinked temporary file.
type spool struct {
	f   tempFile
	w   *bufio.Writer
	n   int64
	err error
}

func newSpool(dir string) (*spool, error) {
	f, err := newTempFile(dir)
	if err != nil {
		return nil, err
	}
	return &spool{f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

func (s *spool) close() { s.f.Close() }

// Write keeps the first error for later.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (s *spool) uint(v uint64) { s.Write(binary.AppendUvarint(nil, v)) }
func (s *spool) int(v int64)   { s.uint(uint64(v<<1) ^ uint64(v>>63)) }
func (s *spool) sum(v uint32)  { s.Write(binary.LittleEndian.AppendUint32(nil, v)) }

// region writes what readRegion reads.
func (s *spool) region(r region) {
	s.uint(uint64(r.plain)<<2 | uint64(r.kind))
	if r.kind == block || r.kind == meta {
		s.uint(uint64(r.stored))
	}
}

// reader returns n bytes of the content from off on.
func (s *spool) reader(off, n int64) (io.Reader, error) {
	if err := s.w.Flush(); err != nil {
		return nil, err
	}
	return io.NewSectionReader(s.f, off, n), nil
}
