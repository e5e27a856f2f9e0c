package squash

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"time"
)

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// Stat is what an inode says. fs.FileInfo.Sys of a file of an Image returns a *Stat.
type Stat struct {
	Inode    uint32
	Mode     fs.FileMode
	Links    uint32
	UID, GID uint32
	ModTime  time.Time
	Size     int64  // of a regular file; of a symlink's target
	Target   string // of a symlink
	Major    uint32 // of a device
	Minor    uint32
	// HasXattrs tells whether Image.Xattrs returns any.
	HasXattrs bool
}

// inode is an inode as it was read.
type inode struct {
	Stat
	kind     uint16 // basic type
	ref      uint64
	xattr    uint32
	start    uint64 // of a file's blocks; of a folder's listing, in the folder table
	fragment uint32
	offset   uint32 // in the fragment; in the block of the listing
	listing  int64  // plain bytes of a folder's listing
	parent   uint32
	indexes  int
	rest     metaReader // at the block sizes of a file, at the index of a folder
}

// inodeSizes are the bytes of each type after the common 16, without what varies.
var inodeSizes = [...]int{typeDir: 16, typeFile: 16, typeSymlink: 8, typeBlockDev: 8, typeCharDev: 8, typeFifo: 4, typeSocket: 4,
	typeDir + extended: 24, typeFile + extended: 40, typeSymlink + extended: 8, typeBlockDev + extended: 12,
	typeCharDev + extended: 12, typeFifo + extended: 8, typeSocket + extended: 8}

// inode reads the inode that ref names.
func (m *Image) inode(ref uint64) (*inode, error) {
	n, err := m.readInode(ref)
	if err != nil {
		return nil, fmt.Errorf("read inode at %d:%d of the table at offset %d: %w", ref>>16, ref&0xffff, m.sb.inodeTable, err)
	}
	return n, nil
}

func (m *Image) readInode(ref uint64) (*inode, error) {
	if ref>>16 >= m.sb.dirTable-m.sb.inodeTable {
		return nil, fmt.Errorf("it is outside of the table, which has %d bytes", m.sb.dirTable-m.sb.inodeTable)
	}
	n := &inode{ref: ref, xattr: noXattr, fragment: noFragment}
	n.rest = metaReader{m: m, block: int64(m.sb.inodeTable + ref>>16), off: int(ref & 0xffff), end: int64(m.sb.dirTable)}
	var b [16 + 40]byte
	if err := n.rest.read(b[:16]); err != nil {
		return nil, err
	}
	kind := le16(b[:])
	if kind == 0 || int(kind) >= len(inodeSizes) {
		return nil, fmt.Errorf("type %d, want 1 to %d", kind, len(inodeSizes)-1)
	}
	rec := b[16 : 16+inodeSizes[kind]]
	if err := n.rest.read(rec); err != nil {
		return nil, err
	}
	n.kind = kind
	if kind > extended {
		n.kind -= extended
	}
	uid, gid := int(le16(b[4:])), int(le16(b[6:]))
	if max(uid, gid) >= len(m.ids) {
		return nil, fmt.Errorf("owner %d of %d", max(uid, gid), len(m.ids))
	}
	n.Mode, n.UID, n.GID = modeOf(n.kind, le16(b[2:])), m.ids[uid], m.ids[gid]
	n.ModTime, n.Inode = time.Unix(int64(le32(b[8:])), 0), le32(b[12:])
	if err := n.parse(kind, rec); err != nil {
		return nil, err
	}
	n.HasXattrs = n.xattr != noXattr
	return n, nil
}

// parse takes the part of the record that differs between types.
func (n *inode) parse(kind uint16, b []byte) error {
	switch kind {
	case typeFile:
		n.start, n.fragment, n.offset, n.Size, n.Links = uint64(le32(b)), le32(b[4:]), le32(b[8:]), int64(le32(b[12:])), 1
	case typeFile + extended:
		n.start, n.Size, n.Links = le64(b), int64(le64(b[8:])), le32(b[24:])
		n.fragment, n.offset, n.xattr = le32(b[28:]), le32(b[32:]), le32(b[36:])
		if n.Size < 0 || n.start > math.MaxInt64 {
			return fmt.Errorf("size %d at offset %d", uint64(n.Size), n.start)
		}
	case typeDir:
		n.start, n.Links, n.listing, n.offset, n.parent = uint64(le32(b)), le32(b[4:]), int64(le16(b[8:])), uint32(le16(b[10:])), le32(b[12:])
	case typeDir + extended:
		n.Links, n.listing, n.start, n.parent = le32(b), int64(le32(b[4:])), uint64(le32(b[8:])), le32(b[12:])
		n.indexes, n.offset, n.xattr = int(le16(b[16:])), uint32(le16(b[18:])), le32(b[20:])
	case typeSymlink, typeSymlink + extended:
		return n.parseSymlink(kind, b)
	default:
		n.Links = le32(b)
		b = b[4:]
		if n.kind == typeBlockDev || n.kind == typeCharDev {
			n.Major, n.Minor = decodeDevice(le32(b))
			b = b[4:]
		}
		if kind > extended {
			n.xattr = le32(b)
		}
	}
	if n.kind == typeDir {
		n.listing = max(n.listing-dirSizeBias, 0)
	}
	return nil
}

func (n *inode) parseSymlink(kind uint16, b []byte) error {
	n.Links = le32(b)
	size := le32(b[4:])
	if size == 0 || size > targetMax {
		return fmt.Errorf("symlink target of %d bytes, want 1 to %d", size, targetMax)
	}
	text := make([]byte, size)
	if err := n.rest.read(text); err != nil {
		return err
	}
	n.Target, n.Size = string(text), int64(size)
	if kind > extended {
		var x [4]byte
		if err := n.rest.read(x[:]); err != nil {
			return err
		}
		n.xattr = le32(x[:])
	}
	return nil
}

// root returns the inode of the root folder.
func (m *Image) root() (*inode, error) {
	n, err := m.inode(m.sb.root)
	if err == nil && n.kind != typeDir {
		err = fmt.Errorf("the root at offset 32 is not a folder but %v", n.Mode)
	}
	return n, err
}
