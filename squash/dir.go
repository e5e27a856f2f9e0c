package squash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
)

// dirEntry is one name of a folder.
type dirEntry struct {
	name string
	kind uint16
	ref  uint64
}

// dirReader reads the names of a folder one by one.
type dirReader struct {
	m       *Image
	dir     *inode
	r       metaReader
	left    int64  // plain bytes of the listing
	count   uint32 // entries left under the header
	block   uint32 // of their inodes
	last    string
	started bool
}

// dir starts reading the names of n.
func (m *Image) dir(n *inode) (*dirReader, error) {
	if n.kind != typeDir {
		return nil, errNotFolder
	}
	table := int64(m.sb.dirTable)
	return &dirReader{m: m, dir: n, left: n.listing,
		r: metaReader{m: m, block: table + int64(n.start), off: int(n.offset), end: m.dirTableEnd()}}, nil
}

var errNotFolder = errors.New("not a folder")

// dirTableEnd is where the folder table ends at the latest: at the first index of another table.
func (m *Image) dirTableEnd() int64 {
	end := m.sb.idTable
	if m.sb.fragments > 0 {
		end = min(end, m.sb.fragTable)
	}
	if m.sb.exportTable > m.sb.dirTable {
		end = min(end, m.sb.exportTable)
	}
	return int64(end)
}

// next returns the next name, or io.EOF. Names come in ascending order: a folder where they do not is damaged, and the
// kernel would not find them.
func (d *dirReader) next() (dirEntry, error) {
	e, err := d.read()
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read folder table at offset %d: listing of inode %d: %w", d.r.block, d.dir.Inode, err)
	}
	return e, err
}

func (d *dirReader) read() (dirEntry, error) {
	for d.count == 0 {
		if d.left <= 0 {
			return dirEntry{}, io.EOF
		}
		var h [dirHeaderSize]byte
		if err := d.take(h[:]); err != nil {
			return dirEntry{}, err
		}
		if d.count = le32(h[:]) + 1; d.count == 0 || d.count > dirRunMax {
			return dirEntry{}, fmt.Errorf("header for %d entries, at most %d", uint64(le32(h[:]))+1, dirRunMax)
		}
		d.block = le32(h[4:])
	}
	var b [dirEntrySize + nameMax]byte
	if err := d.take(b[:dirEntrySize]); err != nil {
		return dirEntry{}, err
	}
	size := int(le16(b[6:])) + 1
	if size > nameMax {
		return dirEntry{}, fmt.Errorf("name of %d bytes, at most %d", size, nameMax)
	}
	if err := d.take(b[dirEntrySize : dirEntrySize+size]); err != nil {
		return dirEntry{}, err
	}
	name := string(b[dirEntrySize : dirEntrySize+size])
	if err := checkName(name); err != nil {
		return dirEntry{}, err
	}
	if d.started && name <= d.last {
		return dirEntry{}, fmt.Errorf("name %q after %q", name, d.last)
	}
	d.last, d.started = name, true
	d.count--
	kind := le16(b[4:])
	if kind == 0 || kind > typeSocket {
		return dirEntry{}, fmt.Errorf("name %q has type %d, want 1 to %d", name, kind, typeSocket)
	}
	return dirEntry{name, kind, uint64(d.block)<<16 | uint64(le16(b[:]))}, nil
}

func checkName(name string) error {
	if name == "." || name == ".." {
		return fmt.Errorf("name %q", name)
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return fmt.Errorf("name %q with a slash or NUL", name)
		}
	}
	return nil
}

func (d *dirReader) take(b []byte) error {
	if d.left -= int64(len(b)); d.left < 0 {
		return errors.New("it ends in the middle of an entry")
	}
	return d.r.read(b)
}

// lookup finds name in the folder n, or returns fs.ErrNotExist.
func (m *Image) lookup(n *inode, name string) (*inode, error) {
	d, err := m.dir(n)
	if err != nil {
		return nil, err
	}
	if err := d.skipTo(name); err != nil {
		return nil, err
	}
	for {
		e, err := d.next()
		if err == io.EOF || err == nil && e.name > name {
			return nil, fs.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		if e.name == name {
			return m.child(n, e)
		}
	}
}

// skipTo moves to the last header of the folder's index that is not behind name.
func (d *dirReader) skipTo(name string) error {
	r := d.dir.rest
	for range d.dir.indexes {
		var b [12 + nameMax]byte
		if err := r.read(b[:12]); err != nil {
			return fmt.Errorf("read index of folder inode %d: %w", d.dir.Inode, err)
		}
		size := int64(le32(b[8:])) + 1
		if size > nameMax {
			return fmt.Errorf("read index of folder inode %d: name of %d bytes, at most %d", d.dir.Inode, size, nameMax)
		}
		if err := r.read(b[12 : 12+size]); err != nil {
			return fmt.Errorf("read index of folder inode %d: %w", d.dir.Inode, err)
		}
		if string(b[12:12+size]) > name {
			break
		}
		at := int64(le32(b[:]))
		if at > d.dir.listing {
			return fmt.Errorf("read index of folder inode %d: place %d in a listing of %d bytes", d.dir.Inode, at, d.dir.listing)
		}
		d.left = d.dir.listing - at
		d.r = metaReader{m: d.m, block: int64(d.m.sb.dirTable) + int64(le32(b[4:])), off: int((int64(d.dir.offset) + at) % metaSize), end: d.r.end}
	}
	return nil
}

// claimsMax bounds the memory of claims; a tree with more folders is read without the check.
const claimsMax = 1 << 19

// child reads the inode of a name in the folder n, and sees to it that folders have one name.
func (m *Image) child(n *inode, e dirEntry) (*inode, error) {
	c, err := m.inode(e.ref)
	if err != nil {
		return nil, err
	}
	if c.kind != e.kind {
		return nil, fmt.Errorf("name %q of folder inode %d has type %d, its inode %d", e.name, n.Inode, e.kind, c.kind)
	}
	if c.kind != typeDir {
		return c, nil
	}
	// The name of a folder is told apart by the folder it is in and a hash, which is enough to notice a second one.
	claim := n.ref
	for i := range len(e.name) {
		claim = (claim ^ uint64(e.name[i])) * 0x100000001b3 // FNV-1a
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	prior, ok := m.claims[c.ref]
	if ok && prior != claim || c.ref == m.sb.root {
		return nil, fmt.Errorf("folder inode %d at %d:%d has a second name, %q in folder inode %d", c.Inode, c.ref>>16, c.ref&math.MaxUint16, e.name, n.Inode)
	}
	if !ok && len(m.claims) < claimsMax {
		m.claims[c.ref] = claim
	}
	return c, nil
}
