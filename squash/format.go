package squash

import (
	"encoding/binary"
	"fmt"
	"io/fs"
)

// Numbers of the format. Sources: Linux Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h, and
// doc/format.adoc of squashfs-tools-ng.
const (
	magic          = 0x73717368 // "hsqs", little endian
	superSize      = 96
	metaSize       = 8192 // plain bytes of a metadata block, at most
	metaPlain      = 0x8000
	padSize        = 4096 // an image is padded to this, or the kernel cannot read its end from a block device
	noTable        = ^uint64(0)
	noFragment     = ^uint32(0)
	noXattr        = ^uint32(0)
	blockPlain     = 1 << 24 // set in a stored size: the block is not compressed
	blockSizeMask  = blockPlain - 1
	dirHeaderSize  = 12
	dirEntrySize   = 8
	dirRunMax      = 256   // entries under one header
	dirSizeBias    = 3     // a folder's size counts "." and ".." as three bytes
	nameMax        = 256   // bytes; Linux itself stops at 255
	writeNameMax   = 255   // NAME_MAX: a longer name could be stored but never be opened
	targetMax      = 65535 // bytes of a symlink, read; see writeTargetMax
	writeTargetMax = 4095  // PATH_MAX less the closing NUL: newer kernels refuse longer ones
	idsMax         = 65535 // distinct owners: the count is 16 bits
	fragEntrySize  = 16
	xattrIDSize    = 16

	// MinBlockSize and MaxBlockSize bound Options.BlockSize, which is a power of two.
	MinBlockSize = 4 << 10
	MaxBlockSize = 1 << 20
)

// Superblock flags.
const (
	flagPlainInodes    = 0x0001
	flagPlainData      = 0x0002
	flagPlainFragments = 0x0008
	flagNoFragments    = 0x0010
	flagTailsPacked    = 0x0020
	flagDeduplicated   = 0x0040
	flagExportable     = 0x0080
	flagPlainXattrs    = 0x0100
	flagNoXattrs       = 0x0200
	flagOptions        = 0x0400
	flagPlainIDs       = 0x0800
)

// Inode types; the extended form of a basic type is that type plus extended.
const (
	typeDir      = 1
	typeFile     = 2
	typeSymlink  = 3
	typeBlockDev = 4
	typeCharDev  = 5
	typeFifo     = 6
	typeSocket   = 7
	extended     = 7
)

// Xattr key prefixes by their number in the image.
const (
	xattrUser      = 0
	xattrTrusted   = 1
	xattrSecurity  = 2
	xattrElsewhere = 0x0100 // the value is stored at a reference, once for several files
)

// superblock is the first 96 bytes, in their order.
type superblock struct {
	inodes      uint32
	modTime     uint32
	blockSize   uint32
	fragments   uint32
	compression Compression
	flags       uint16
	ids         uint16
	root        uint64
	used        uint64
	idTable     uint64
	xattrTable  uint64
	inodeTable  uint64
	dirTable    uint64
	fragTable   uint64
	exportTable uint64
}

func log2(n uint32) uint16 {
	var l uint16
	for n > 1 {
		n >>= 1
		l++
	}
	return l
}

func (s *superblock) bytes() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, superSize)
	b = le.AppendUint32(b, magic)
	b = le.AppendUint32(b, s.inodes)
	b = le.AppendUint32(b, s.modTime)
	b = le.AppendUint32(b, s.blockSize)
	b = le.AppendUint32(b, s.fragments)
	b = le.AppendUint16(b, uint16(s.compression))
	b = le.AppendUint16(b, log2(s.blockSize))
	b = le.AppendUint16(b, s.flags)
	b = le.AppendUint16(b, s.ids)
	b = le.AppendUint16(b, 4) // version 4.0
	b = le.AppendUint16(b, 0)
	for _, v := range []uint64{s.root, s.used, s.idTable, s.xattrTable, s.inodeTable, s.dirTable, s.fragTable, s.exportTable} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// parseSuperblock checks everything that can be checked without reading further.
func parseSuperblock(b []byte) (superblock, error) {
	le := binary.LittleEndian
	if got := le.Uint32(b); got != magic {
		return superblock{}, fmt.Errorf("magic at offset 0 is %#x, want %#x", got, uint32(magic))
	}
	s := superblock{
		inodes: le.Uint32(b[4:]), modTime: le.Uint32(b[8:]), blockSize: le.Uint32(b[12:]), fragments: le.Uint32(b[16:]),
		compression: Compression(le.Uint16(b[20:])), flags: le.Uint16(b[24:]), ids: le.Uint16(b[26:]),
		root: le.Uint64(b[32:]), used: le.Uint64(b[40:]), idTable: le.Uint64(b[48:]), xattrTable: le.Uint64(b[56:]),
		inodeTable: le.Uint64(b[64:]), dirTable: le.Uint64(b[72:]), fragTable: le.Uint64(b[80:]), exportTable: le.Uint64(b[88:]),
	}
	if major, minor := le.Uint16(b[28:]), le.Uint16(b[30:]); major != 4 || minor != 0 {
		return s, fmt.Errorf("version at offset 28 is %d.%d, want 4.0", major, minor)
	}
	if s.blockSize < MinBlockSize || s.blockSize > MaxBlockSize || s.blockSize&(s.blockSize-1) != 0 {
		return s, fmt.Errorf("block size at offset 12 is %d, want a power of two from %d to %d", s.blockSize, MinBlockSize, MaxBlockSize)
	}
	if got := le.Uint16(b[22:]); got != log2(s.blockSize) {
		return s, fmt.Errorf("block log at offset 22 is %d, want %d for blocks of %d bytes", got, log2(s.blockSize), s.blockSize)
	}
	if s.used < superSize || s.used > 1<<62 {
		return s, fmt.Errorf("size at offset 40 is %d", s.used)
	}
	if s.inodeTable < superSize || s.inodeTable >= s.dirTable || s.dirTable > s.used {
		return s, fmt.Errorf("tables at offsets 64 and 72 are out of order: inodes at %d, folders at %d, end at %d", s.inodeTable, s.dirTable, s.used)
	}
	if s.idTable < s.dirTable || s.idTable >= s.used || s.ids == 0 {
		return s, fmt.Errorf("owner table at offset 48 is at %d with %d owners, want it between %d and %d", s.idTable, s.ids, s.dirTable, s.used)
	}
	if s.fragments > 0 && (s.fragTable < s.dirTable || s.fragTable >= s.used) {
		return s, fmt.Errorf("fragment table at offset 80 is at %d, want it between %d and %d", s.fragTable, s.dirTable, s.used)
	}
	if s.xattrTable != noTable && (s.xattrTable < s.dirTable || s.xattrTable > s.used-16) {
		return s, fmt.Errorf("xattr table at offset 56 is at %d, want it between %d and %d", s.xattrTable, s.dirTable, s.used)
	}
	return s, nil
}

// typeOf returns the basic inode type of a mode.
func typeOf(m fs.FileMode) (uint16, error) {
	switch m & (fs.ModeType) {
	case 0:
		return typeFile, nil
	case fs.ModeDir:
		return typeDir, nil
	case fs.ModeSymlink:
		return typeSymlink, nil
	case fs.ModeDevice:
		return typeBlockDev, nil
	case fs.ModeDevice | fs.ModeCharDevice:
		return typeCharDev, nil
	case fs.ModeNamedPipe:
		return typeFifo, nil
	case fs.ModeSocket:
		return typeSocket, nil
	}
	return 0, fmt.Errorf("mode %v has no file type of squashfs", m)
}

// modeOf is the mode of a basic inode type and its twelve permission bits.
func modeOf(kind, perm uint16) fs.FileMode {
	m := fs.FileMode(perm & 0o777)
	switch kind {
	case typeDir:
		m |= fs.ModeDir
	case typeSymlink:
		m |= fs.ModeSymlink
	case typeBlockDev:
		m |= fs.ModeDevice
	case typeCharDev:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case typeFifo:
		m |= fs.ModeNamedPipe
	case typeSocket:
		m |= fs.ModeSocket
	}
	for bit, flag := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if perm&bit != 0 {
			m |= flag
		}
	}
	return m
}

// permOf is the twelve permission bits of a mode.
func permOf(m fs.FileMode) uint16 {
	p := uint16(m.Perm())
	if m&fs.ModeSetuid != 0 {
		p |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		p |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		p |= 0o1000
	}
	return p
}

// encodeDevice packs a device number as Linux's new_encode_dev does.
func encodeDevice(major, minor uint32) (uint32, error) {
	if major > 0xfff || minor > 0xfffff {
		return 0, fmt.Errorf("device %d:%d is out of range: 12 bits of major and 20 of minor", major, minor)
	}
	return minor&0xff | major<<8 | (minor&^0xff)<<12, nil
}

func decodeDevice(d uint32) (major, minor uint32) {
	return d >> 8 & 0xfff, d&0xff | d>>12&0xfff00
}
