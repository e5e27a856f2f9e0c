package squash

import (
	"fmt"
	"sort"
)

// BlockKind says what is in a block.
type BlockKind uint8

// The kinds of blocks, in their usual order in an image.
const (
	DataBlock     BlockKind = iota + 1 // of one file, or of several with the same bytes
	FragmentBlock                      // tails of files
	InodeBlock
	FolderBlock
	TableBlock // of the fragment, export, owner or xattr table
)

// String is the kind in a word.
func (k BlockKind) String() string {
	if k >= DataBlock && k <= TableBlock {
		return [...]string{"data", "fragment", "inode", "folder", "table"}[k-1]
	}
	return fmt.Sprintf("block kind %d", uint8(k))
}

// Block is one block as it is stored.
type Block struct {
	Kind   BlockKind
	Offset int64 // of the stored bytes in the image; of a metadata block, behind its two bytes of length
	Stored int   // stored bytes
	Plain  int   // bytes it decodes to; of a metadata block, 0: it is not known before decoding it
	Packed bool  // compressed; else Stored bytes are the plain ones
	// Path is the first file in Walk's order that has this data block, and FileOffset where in that file it is. Of
	// a fragment, Path is the first file with its tail in it.
	Path       string
	FileOffset int64
	// Fragment is the number of a fragment block.
	Fragment int
}

// Blocks lists every block of the image once, by offset. What is between them is the superblock, the compressor
// options, the lengths before metadata blocks and the lists of tables' offsets. The list is as long as the image has
// blocks.
func (m *Image) Blocks() ([]Block, error) {
	l := blockLister{m: m, seen: map[int64]int{}, fragments: map[uint32]int{}}
	if err := m.Walk(l.visit); err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	if err := l.metadata(); err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	sort.Slice(l.list, func(i, j int) bool { return l.list[i].Offset < l.list[j].Offset })
	for i := 1; i < len(l.list); i++ {
		if a, b := l.list[i-1], l.list[i]; a.Offset+int64(a.Stored) > b.Offset {
			return nil, fmt.Errorf("list blocks: %v block at offset %d reaches into the %v block at offset %d", a.Kind, a.Offset, b.Kind, b.Offset)
		}
	}
	return l.list, nil
}

type blockLister struct {
	m         *Image
	list      []Block
	seen      map[int64]int // offset -> place in list
	fragments map[uint32]int
	stored    int64
}

// add takes a block that may be there already, from another file. Blocks do not overlap, so together they are not
// longer than the image: that bounds the list.
func (l *blockLister) add(b Block) error {
	if err := l.check(&b); err != nil {
		return err
	}
	if i, ok := l.seen[b.Offset]; ok {
		if have := l.list[i]; have.Stored != b.Stored || have.Packed != b.Packed || have.Plain != b.Plain {
			return fmt.Errorf("block at offset %d is %d of %d bytes in %s and %d of %d in %s",
				b.Offset, have.Stored, have.Plain, have.Path, b.Stored, b.Plain, b.Path)
		}
		return nil
	}
	if l.stored += int64(b.Stored); l.stored > int64(l.m.sb.used) {
		return fmt.Errorf("block at offset %d: all blocks together are longer than the image", b.Offset)
	}
	l.seen[b.Offset] = len(l.list)
	l.list = append(l.list, b)
	return nil
}

// check refuses what no reader of the block would take.
func (l *blockLister) check(b *Block) error {
	if b.Stored < 1 || b.Offset < superSize || b.Offset > int64(l.m.sb.used)-int64(b.Stored) {
		return fmt.Errorf("%v block at offset %d has %d stored bytes, the image ends at %d", b.Kind, b.Offset, b.Stored, l.m.sb.used)
	}
	if most := int(l.m.sb.blockSize); b.Kind <= FragmentBlock && b.Stored > most {
		return fmt.Errorf("%v block at offset %d has %d stored bytes, want at most %d", b.Kind, b.Offset, b.Stored, most)
	}
	if b.Kind == DataBlock && !b.Packed && b.Stored != b.Plain {
		return fmt.Errorf("block at offset %d stores %d plain bytes, want %d", b.Offset, b.Stored, b.Plain)
	}
	return nil
}

func (l *blockLister) visit(f *Found) error {
	if !f.Mode.IsRegular() {
		return nil
	}
	c := l.m.content(f.n)
	for i := range c.blocks {
		off, size, err := c.at(i)
		if err != nil {
			return err
		}
		if size == 0 {
			continue
		}
		b := Block{Kind: DataBlock, Offset: int64(off), Stored: int(size & blockSizeMask), Plain: c.plainSize(i), Packed: size&blockPlain == 0,
			Path: f.Path, FileOffset: i * int64(l.m.sb.blockSize)}
		if err := l.add(b); err != nil {
			return err
		}
	}
	if f.n.fragment == noFragment || f.Size == 0 {
		return nil
	}
	return l.tail(f, c)
}

// tail lists the fragment of a file. Its plain size is where the last tail in it ends.
func (l *blockLister) tail(f *Found, c *content) error {
	end := int(f.n.offset) + c.plainSize(c.blocks)
	if end > int(l.m.sb.blockSize) {
		return fmt.Errorf("tail of %s ends at byte %d of fragment %d, beyond the block size", f.Path, end, f.n.fragment)
	}
	if i, ok := l.fragments[f.n.fragment]; ok {
		l.list[i].Plain = max(l.list[i].Plain, end)
		return nil
	}
	off, size, err := l.m.fragmentAt(f.n.fragment)
	if err != nil {
		return err
	}
	if _, ok := l.seen[int64(off)]; ok {
		return fmt.Errorf("fragment %d at offset %d is another block as well", f.n.fragment, off)
	}
	l.fragments[f.n.fragment] = len(l.list)
	return l.add(Block{Kind: FragmentBlock, Offset: int64(off), Stored: int(size & blockSizeMask), Plain: end, Packed: size&blockPlain == 0,
		Path: f.Path, Fragment: int(f.n.fragment)})
}

// metadata lists the blocks of the tables. The folder table ends where the first of the tables behind it begins.
func (l *blockLister) metadata() error {
	sb := &l.m.sb
	if err := l.metaRow(InodeBlock, int64(sb.inodeTable), int64(sb.dirTable)); err != nil {
		return err
	}
	tables := []table{{name: "owner", start: int64(sb.idTable), count: int64(sb.ids)}, l.m.fragTable, l.m.xattrTable}
	if sb.exportTable != noTable {
		tables = append(tables, table{name: "export", start: int64(sb.exportTable), count: int64(sb.inodes)})
	}
	end := int64(sb.idTable)
	var rows [][2]int64
	for _, t := range tables {
		if t.count == 0 {
			continue
		}
		first, err := l.firstBlock(t)
		if err != nil {
			return err
		}
		row := [2]int64{first, t.start}
		if t.name == l.m.xattrTable.name {
			row[1] = int64(sb.xattrTable) // where its head is
			rows = append(rows, [2]int64{l.m.xattrStart, first})
			end = min(end, l.m.xattrStart)
		}
		rows = append(rows, row)
		end = min(end, first)
	}
	if err := l.metaRow(FolderBlock, int64(sb.dirTable), end); err != nil {
		return err
	}
	for _, r := range rows {
		if err := l.metaRow(TableBlock, r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// firstBlock returns where a table's blocks begin.
func (l *blockLister) firstBlock(t table) (int64, error) {
	var b [8]byte
	if err := l.m.readAt(b[:], t.start); err != nil {
		return 0, err
	}
	first := int64(le64(b[:]))
	if first < int64(l.m.sb.dirTable) || first > t.start {
		return 0, fmt.Errorf("%s table at offset %d begins at offset %d", t.name, t.start, first)
	}
	return first, nil
}

// metaRow lists the metadata blocks from start to end, which follow one another.
func (l *blockLister) metaRow(kind BlockKind, start, end int64) error {
	for at := start; at < end; {
		var head [2]byte
		if err := l.m.readAt(head[:], at); err != nil {
			return err
		}
		size, plain := metaStored(head)
		if size == 0 || size > metaSize || at+2+int64(size) > end {
			return fmt.Errorf("metadata block at offset %d has %d stored bytes, its table ends at %d", at, size, end)
		}
		b := Block{Kind: kind, Offset: at + 2, Stored: size, Packed: !plain}
		if err := l.add(b); err != nil {
			return err
		}
		at += 2 + int64(size)
	}
	return nil
}
