package ext4

import (
	"encoding/binary"
	"math/bits"
)

const (
	inodeUninit = 1
	blockUninit = 2

	compatFeatures   = 0x4 | 0x8 | 0x10 | 0x20               // has_journal ext_attr resize_inode dir_index
	incompatFeatures = 0x2 | 0x40 | 0x80 | 0x200             // filetype extent 64bit flex_bg
	roFeatures       = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400 // sparse_super large_file huge_file dir_nlink extra_isize metadata_csum
	superOffset      = 1024
	superSize        = 1024
)

// descriptor is what the file system says about a group.
type descriptor struct {
	free   int64
	flags  uint16
	inodes int64 // in use
	dirs   int64
	bitmap []byte // of blocks, nil when the flags say that readers can work it out
}

// describe works out the descriptors. A group that holds nothing but its own copy of the superblock needs no bitmap.
func (v *volume) describe() {
	v.desc = make([]descriptor, v.groups)
	next := 0
	for group := range v.groups {
		d := &v.desc[group]
		base, size := group*groupBlocks, v.groupSize(group)
		d.free = size
		bitmap := make([]byte, blockSize)
		for next > 0 && v.taken[next-1].end() > base {
			next--
		}
		for ; next < len(v.taken) && v.taken[next].start < base+size; next++ {
			from, to := max(v.taken[next].start, base)-base, min(v.taken[next].end(), base+size)-base
			setBits(bitmap, from, max(from, to))
		}
		for _, b := range bitmap {
			d.free -= int64(bits.OnesCount8(b))
		}
		setBits(bitmap, size, groupBlocks)
		first, _, _ := v.flex(group)
		if own := size - v.superBlocks(group); d.free == own && group != first && group != v.groups-1 {
			d.flags |= blockUninit
		} else {
			d.bitmap = bitmap
		}
		if group > 0 {
			d.flags |= inodeUninit
		}
	}
	v.desc[0].inodes = int64(v.inodes)
	for _, n := range v.nodes {
		if n.mode.IsDir() {
			v.desc[0].dirs++
		}
	}
}

func setBits(b []byte, from, to int64) {
	for ; from < to && from%8 != 0; from++ {
		b[from/8] |= 1 << (from % 8)
	}
	for ; from+8 <= to; from += 8 {
		b[from/8] = 0xff
	}
	for ; from < to; from++ {
		b[from/8] |= 1 << (from % 8)
	}
}

func (v *volume) inodeBits() []byte {
	b := make([]byte, blockSize)
	setBits(b, 0, int64(v.inodes))
	setBits(b, groupInodes, groupBlocks)
	return b
}

func (v *volume) writeBitmaps() error {
	if _, err := v.w.WriteAt(v.inodeBits(), v.inodeBitmap(0)*blockSize); err != nil {
		return err
	}
	for group, d := range v.desc {
		if d.bitmap == nil {
			continue
		}
		if _, err := v.w.WriteAt(d.bitmap, v.blockBitmap(int64(group))*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// descriptors returns the blocks of group descriptors.
func (v *volume) descriptors() []byte {
	le := binary.LittleEndian
	b := make([]byte, v.gdt*blockSize)
	inodeSum := checksum(v.seed, v.inodeBits()[:groupInodes/8])
	for group, d := range v.desc {
		e := b[group*descSize:][:descSize]
		put := func(low, high int, value int64) {
			le.PutUint32(e[low:], uint32(value))
			le.PutUint32(e[high:], uint32(value>>32))
		}
		put16 := func(low, high int, value uint32) {
			le.PutUint16(e[low:], uint16(value))
			le.PutUint16(e[high:], uint16(value>>16))
		}
		put(0x00, 0x20, v.blockBitmap(int64(group)))
		put(0x04, 0x24, v.inodeBitmap(int64(group)))
		put(0x08, 0x28, v.inodeTable(int64(group)))
		put16(0x0c, 0x2c, uint32(d.free))
		put16(0x0e, 0x2e, uint32(groupInodes-d.inodes))
		put16(0x10, 0x30, uint32(d.dirs))
		put16(0x1c, 0x32, uint32(groupInodes-d.inodes))
		le.PutUint16(e[0x12:], d.flags)
		if d.bitmap != nil {
			put16(0x18, 0x38, checksum(v.seed, d.bitmap))
		}
		if d.flags&inodeUninit == 0 {
			put16(0x1a, 0x3a, inodeSum)
		}
		var number [4]byte
		le.PutUint32(number[:], uint32(group))
		le.PutUint16(e[0x1e:], uint16(checksum(checksum(v.seed, number[:]), e)))
	}
	return b
}

// writeSupers writes the superblock and the descriptors, last of all, and their copies.
func (v *volume) writeSupers() error {
	desc := v.descriptors()
	for group := v.groups - 1; group >= 0; group-- {
		if !hasSuper(group) {
			continue
		}
		block := make([]byte, blockSize, blockSize+len(desc))
		at := 0
		if group == 0 {
			at = superOffset
		}
		v.putSuper(block[at:][:superSize], uint16(group))
		if _, err := v.w.WriteAt(append(block, desc...), group*groupBlocks*blockSize); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) putSuper(b []byte, group uint16) {
	le := binary.LittleEndian
	put32 := func(at int, value int64) { le.PutUint32(b[at:], uint32(value)) }
	put64 := func(low, high int, value int64) { put32(low, value); put32(high, value>>32) }
	var free int64
	for _, d := range v.desc {
		free += d.free
	}
	put32(0x00, v.groups*groupInodes)
	put64(0x04, 0x150, v.geometry.blocks)
	put64(0x0c, 0x158, free)
	put32(0x10, v.groups*groupInodes-int64(v.inodes))
	put32(0x18, 2) // block size, as a power of two from 1024
	put32(0x1c, 2)
	put32(0x20, groupBlocks)
	put32(0x24, groupBlocks)
	put32(0x28, groupInodes)
	le.PutUint16(b[0x36:], 0xffff) // no check because of a count of mounts
	le.PutUint16(b[0x38:], 0xef53)
	le.PutUint16(b[0x3a:], 1) // unmounted cleanly
	le.PutUint16(b[0x3c:], 2) // on errors, go on read-only: nothing on the device could repair it later
	put32(0x4c, 1)
	put32(0x54, firstInode)
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint16(b[0x5a:], group)
	put32(0x5c, compatFeatures)
	put32(0x60, incompatFeatures)
	put32(0x64, roFeatures)
	copy(b[0x68:], v.opts.UUID[:])
	copy(b[0x78:0x88], v.opts.Label)
	le.PutUint16(b[0xce:], uint16(v.reserved))
	put32(0xe0, journalInode)
	copy(b[0xec:], v.opts.HashSeed[:])
	b[0xfc] = 1 // half MD4
	le.PutUint16(b[0xfe:], descSize)
	put32(0x100, 0xc) // user_xattr and acl
	le.PutUint16(b[0x15c:], extraIsize)
	le.PutUint16(b[0x15e:], extraIsize)
	put32(0x160, 2) // names are hashed as unsigned bytes
	b[0x174] = uint8(bits.TrailingZeros(flexGroups))
	b[0x175] = 1 // CRC-32C
	v.putSuperTimes(b)
	v.putJournalBackup(b)
	le.PutUint32(b[0x3fc:], checksum(^uint32(0), b[:0x3fc]))
}

func (v *volume) putSuperTimes(b []byte) {
	sec := max(0, v.opts.Time.Unix())
	for _, at := range []struct{ low, high int }{{0x30, 0x274}, {0x40, 0x277}, {0x108, 0x276}} {
		binary.LittleEndian.PutUint32(b[at.low:], uint32(sec))
		b[at.high] = byte(sec >> 32)
	}
}

// putJournalBackup copies the journal's inode, with which e2fsck finds the journal when the inode is damaged.
func (v *volume) putJournalBackup(b []byte) {
	r := v.journalRecord()
	b[0xfd] = 1
	copy(b[0x10c:], r.payload[:])
	binary.LittleEndian.PutUint32(b[0x10c+inodePayload:], uint32(r.size>>32))
	binary.LittleEndian.PutUint32(b[0x10c+inodePayload+4:], uint32(r.size))
}
