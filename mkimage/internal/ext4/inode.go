package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	flagExtents  = 0x80000
	modeFile     = 0x8000
	modeDir      = 0x4000
	extentMagic  = 0xf30a
	extraIsize   = 32
	dindPointer  = 13 // index of the double indirect block in an inode without extents
	inodePayload = 60
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of ext4: without the inversions at both ends that the standard library makes.
func checksum(crc uint32, b []byte) uint32 { return ^crc32.Update(^crc, castagnoli, b) }

// inodeChecksum is the checksum of something that belongs to an inode of generation 0.
func (v *volume) inodeChecksum(ino uint32, b []byte) uint32 {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], ino)
	return checksum(checksum(v.seed, head[:]), b)
}

// record is what an inode says.
type record struct {
	mode    uint16
	links   uint16
	size    int64
	blocks  int64 // all blocks that belong to it, including those that list blocks
	flags   uint32
	payload [inodePayload]byte
}

// writeInodes writes the used start of the first inode table, in whole blocks. The rest counts as not initialised,
// and the kernel clears it in the background after the first mount.
func (v *volume) writeInodes() error {
	count := (int64(v.inodes)*inodeSize + blockSize - 1) / blockSize
	table := make([]byte, count*blockSize)
	put := func(ino uint32, r record) {
		v.putInode(table[(ino-1)*inodeSize:][:inodeSize], ino, r)
	}
	put(resizeInode, v.resizeRecord())
	put(journalInode, v.journalRecord())
	for _, n := range v.nodes {
		r := record{mode: uint16(n.mode.Perm()) | modeFile, links: n.links(), size: n.size, flags: flagExtents}
		if n.mode.IsDir() {
			r.mode ^= modeFile | modeDir
		}
		for _, x := range n.extents {
			r.blocks += x.count
		}
		r.blocks += n.leaves.count
		if n.leaves.count == 0 {
			putExtents(r.payload[:], n.extents, 0)
		} else {
			putIndex(r.payload[:], n.extents, n.leaves)
		}
		put(n.ino, r)
	}
	_, err := v.w.WriteAt(table, v.inodeTable(0)*blockSize)
	return err
}

func (v *volume) putInode(b []byte, ino uint32, r record) {
	le := binary.LittleEndian
	sec := max(0, v.opts.Time.Unix())
	le.PutUint16(b, r.mode)
	le.PutUint32(b[0x04:], uint32(r.size))
	for _, at := range []int{0x08, 0x0c, 0x10, 0x90} {
		le.PutUint32(b[at:], uint32(sec))
	}
	// The two low bits of the extra field count the wraps of the signed 32-bit seconds.
	epoch := uint32((sec-int64(int32(sec)))>>32) & 3
	for _, at := range []int{0x84, 0x88, 0x8c, 0x94} {
		le.PutUint32(b[at:], epoch)
	}
	le.PutUint16(b[0x1a:], r.links)
	sectors := r.blocks * (blockSize / 512)
	le.PutUint32(b[0x1c:], uint32(sectors))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	le.PutUint32(b[0x20:], r.flags)
	copy(b[0x28:], r.payload[:])
	le.PutUint32(b[0x6c:], uint32(r.size>>32))
	le.PutUint16(b[0x80:], extraIsize)
	sum := v.inodeChecksum(ino, b)
	le.PutUint16(b[0x7c:], uint16(sum))
	le.PutUint16(b[0x82:], uint16(sum>>16))
}

func putExtentHeader(b []byte, entries, room, depth int) {
	le := binary.LittleEndian
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[2:], uint16(entries))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(depth))
}

// putExtents writes a leaf, in an inode or a block, whose first extent holds the file's block from.
func putExtents(b []byte, extents []run, from int64) {
	putExtentHeader(b, len(extents), len(b)/extentEntry-1, 0)
	le := binary.LittleEndian
	for i, x := range extents {
		e := b[(i+1)*extentEntry:]
		le.PutUint32(e, uint32(from))
		le.PutUint16(e[4:], uint16(x.count))
		le.PutUint16(e[6:], uint16(x.start>>32))
		le.PutUint32(e[8:], uint32(x.start))
		from += x.count
	}
}

// putIndex writes the root of a tree whose leaves are in blocks of their own.
func putIndex(b []byte, extents []run, leaves run) {
	putExtentHeader(b, int(leaves.count), inlineExtents, 1)
	le := binary.LittleEndian
	var from int64
	for i := range int(leaves.count) {
		e := b[(i+1)*extentEntry:]
		le.PutUint32(e, uint32(from))
		le.PutUint32(e[4:], uint32(leaves.start+int64(i)))
		le.PutUint16(e[8:], uint16((leaves.start+int64(i))>>32))
		for _, x := range leaf(extents, i) {
			from += x.count
		}
	}
}

func leaf(extents []run, i int) []run {
	return extents[i*extentsPerBlock : min(len(extents), (i+1)*extentsPerBlock)]
}

func (v *volume) leafBlocks(n *node) []byte {
	b := make([]byte, n.leaves.count*blockSize)
	var from int64
	for i := range int(n.leaves.count) {
		block := b[i*blockSize:][:blockSize]
		putExtents(block[:blockSize-4], leaf(n.extents, i), from)
		sum := v.inodeChecksum(n.ino, block[:blockSize-4])
		binary.LittleEndian.PutUint32(block[blockSize-4:], sum)
		for _, x := range leaf(n.extents, i) {
			from += x.count
		}
	}
	return b
}
