package squash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// tables writes the inode and the folder table together, children before their folder: a folder's listing needs
// the places of its children's inodes, and its inode the place of the listing.
type tables struct {
	inodes  *metaWriter
	dirs    *metaWriter
	listing bytes.Buffer // the folder table, until the inode table is complete
	next    uint32
	refs    []uint64 // by inode number less one: the export table
	buf     []byte
}

// number gives inode numbers in the order in which emit writes them.
func (t *tables) number(n *node) {
	f := n.body.(*folder)
	f.sortKids()
	for _, k := range f.kids {
		if k.node.kind == typeDir {
			f.subdirs++
			k.node.body.(*folder).parent = n
			t.number(k.node)
		}
	}
	for _, k := range f.kids {
		if k.node.kind != typeDir && k.node.number == 0 {
			t.next++
			k.node.number = t.next
		}
	}
	t.next++
	n.number = t.next
}

// emit writes the inodes below the folder n, its listing and its inode.
func (t *tables) emit(n *node) error {
	f := n.body.(*folder)
	for _, k := range f.kids {
		if k.node.kind == typeDir {
			if err := t.emit(k.node); err != nil {
				return err
			}
		}
	}
	for _, k := range f.kids {
		// A hard link met again has its number, but it is not the next one.
		if k.node.kind != typeDir && int(k.node.number) == len(t.refs)+1 {
			if err := t.inode(k.node, t.leaf(k.node)); err != nil {
				return err
			}
		}
	}
	b, err := t.folder(n)
	if err != nil {
		return err
	}
	return t.inode(n, b)
}

// inode writes the bytes of n's inode and notes where it is.
func (t *tables) inode(n *node, b []byte) error {
	ref := t.inodes.ref()
	if ref>>16 > math.MaxUint32 {
		return fmt.Errorf("write inode %d: the inode table is beyond 4 GiB", n.number)
	}
	t.refs = append(t.refs, ref)
	return t.inodes.write(b)
}

// ref is where an inode that has been written is.
func (t *tables) ref(n *node) uint64 { return t.refs[n.number-1] }

// header is the part that all inodes begin with.
func (t *tables) header(n *node, kind uint16) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(t.buf[:0], kind)
	b = le.AppendUint16(b, n.perm)
	b = le.AppendUint16(b, n.uid)
	b = le.AppendUint16(b, n.gid)
	b = le.AppendUint32(b, n.mtime)
	return le.AppendUint32(b, n.number)
}

// leaf is the inode of anything but a folder, in the extended form only where it needs to be.
func (t *tables) leaf(n *node) []byte {
	le := binary.LittleEndian
	if f, ok := n.body.(*file); ok {
		t.buf = t.regular(n, f)
		return t.buf
	}
	kind := n.kind
	if n.xattr != noXattr {
		kind += extended
	}
	b := le.AppendUint32(t.header(n, kind), n.links)
	switch body := n.body.(type) {
	case target:
		b = le.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
	case device:
		b = le.AppendUint32(b, uint32(body))
	}
	if kind != n.kind {
		b = le.AppendUint32(b, n.xattr)
	}
	t.buf = b
	return b
}

func (t *tables) regular(n *node, f *file) []byte {
	le := binary.LittleEndian
	var r run
	if f.run != nil {
		r = *f.run
	}
	var b []byte
	if n.xattr == noXattr && n.links == 1 && f.holes() == 0 && r.start <= math.MaxUint32 && f.size <= math.MaxUint32 {
		b = le.AppendUint32(t.header(n, typeFile), uint32(r.start))
		b = le.AppendUint32(b, f.fragment)
		b = le.AppendUint32(b, f.offset)
		b = le.AppendUint32(b, uint32(f.size))
	} else {
		b = le.AppendUint64(t.header(n, typeFile+extended), r.start)
		b = le.AppendUint64(b, uint64(f.size))
		// The kernel counts st_blocks from size - holes - 1, unsigned: all holes would wrap around.
		b = le.AppendUint64(b, uint64(min(f.holes(), max(f.size-1, 0))))
		b = le.AppendUint32(b, n.links)
		b = le.AppendUint32(b, f.fragment)
		b = le.AppendUint32(b, f.offset)
		b = le.AppendUint32(b, n.xattr)
	}
	for _, size := range r.sizes {
		b = le.AppendUint32(b, size)
	}
	return b
}

// dirIndex says at which byte of a listing, and in which block of the folder table, the header before name is.
type dirIndex struct {
	at, block uint32
	name      string
}

// folder writes the listing of n and returns n's inode.
func (t *tables) folder(n *node) ([]byte, error) {
	le := binary.LittleEndian
	f := n.body.(*folder)
	block, offset := t.dirs.at()
	size, index, err := t.list(f)
	if err != nil {
		return nil, err
	}
	size += dirSizeBias
	if block > math.MaxUint32 || size > math.MaxUint32 {
		return nil, fmt.Errorf("write folder table: beyond 4 GiB")
	}
	parent := t.next + 1 // the root's: what mksquashfs writes
	if f.parent != nil {
		parent = f.parent.number
	}
	var b []byte
	if n.xattr == noXattr && len(index) == 0 && size <= math.MaxUint16 {
		b = le.AppendUint32(t.header(n, typeDir), uint32(block))
		b = le.AppendUint32(b, f.subdirs+2)
		b = le.AppendUint16(b, uint16(size))
		b = le.AppendUint16(b, offset)
		b = le.AppendUint32(b, parent)
	} else {
		b = le.AppendUint32(t.header(n, typeDir+extended), f.subdirs+2)
		b = le.AppendUint32(b, uint32(size))
		b = le.AppendUint32(b, uint32(block))
		b = le.AppendUint32(b, parent)
		b = le.AppendUint16(b, uint16(len(index)))
		b = le.AppendUint16(b, offset)
		b = le.AppendUint32(b, n.xattr)
		for _, x := range index {
			b = le.AppendUint32(b, x.at)
			b = le.AppendUint32(b, x.block)
			b = le.AppendUint32(b, uint32(len(x.name)-1))
			b = append(b, x.name...)
		}
	}
	t.buf = b
	return b, nil
}

// list writes a listing: entries behind headers, each header good for entries with nearby inodes. A header begins in
// every metadata block that the listing reaches into, and long listings get an index of those: looking up a
// name then reads one block of the listing instead of half of them.
func (t *tables) list(f *folder) (size int, index []dirIndex, err error) {
	le := binary.LittleEndian
	last, _ := t.dirs.at()
	for i := 0; i < len(f.kids); {
		block, offset := t.dirs.at()
		if block != last && len(index) < math.MaxUint16 {
			index = append(index, dirIndex{uint32(size), uint32(block), f.kids[i].name})
			last = block
		}
		end, bytes := t.headed(f.kids[i:], int(offset))
		first := f.kids[i].node
		b := le.AppendUint32(t.buf[:0], uint32(end-1))
		b = le.AppendUint32(b, uint32(t.ref(first)>>16))
		b = le.AppendUint32(b, first.number)
		for _, k := range f.kids[i : i+end] {
			b = le.AppendUint16(b, uint16(t.ref(k.node)))
			b = le.AppendUint16(b, uint16(k.node.number-first.number))
			b = le.AppendUint16(b, k.node.kind)
			b = le.AppendUint16(b, uint16(len(k.name)-1))
			b = append(b, k.name...)
		}
		t.buf = b
		if err := t.dirs.write(b); err != nil {
			return 0, nil, err
		}
		size += bytes
		i += end
	}
	if size < metaSize {
		index = nil // two blocks at most: an index would be longer than what it saves
	}
	return size, index, nil
}

// headed returns how many of kids one header serves when it is written at offset of a metadata block, and the bytes.
func (t *tables) headed(kids []kid, offset int) (n, size int) {
	first := kids[0].node
	block := t.ref(first) >> 16
	size = dirHeaderSize
	for _, k := range kids {
		diff := int64(k.node.number) - int64(first.number)
		if n == dirRunMax || t.ref(k.node)>>16 != block || diff != int64(int16(diff)) || n > 0 && offset+size >= metaSize {
			break
		}
		size += dirEntrySize + len(k.name)
		n++
	}
	return n, size
}
