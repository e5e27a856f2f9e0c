package ext4

import "encoding/binary"

func (v *volume) journalRecord() record {
	r := record{mode: modeFile | 0o600, links: 1, size: v.jrnl.count * blockSize, blocks: v.jrnl.count, flags: flagExtents}
	putExtents(r.payload[:], []run{v.jrnl}, 0)
	return r
}

// writeJournal writes an empty journal. Its blocks are written as zeros and not left as a hole: the file system's
// identity repeats from build to build, so records left by the same image would pass for valid ones.
func (v *volume) writeJournal() error {
	be := binary.BigEndian
	chunk := make([]byte, 1<<20)
	be.PutUint32(chunk, 0xc03b3998)
	be.PutUint32(chunk[0x04:], 4) // superblock, version 2
	be.PutUint32(chunk[0x0c:], blockSize)
	be.PutUint32(chunk[0x10:], uint32(v.jrnl.count))
	be.PutUint32(chunk[0x14:], 1) // first block of the log
	be.PutUint32(chunk[0x18:], 1) // first sequence number
	copy(chunk[0x30:], v.opts.UUID[:])
	be.PutUint32(chunk[0x40:], 1) // users
	for at := v.jrnl.start * blockSize; at < v.jrnl.end()*blockSize; at += int64(len(chunk)) {
		if _, err := v.w.WriteAt(chunk, at); err != nil {
			return err
		}
		clear(chunk[:blockSize])
	}
	return nil
}

// resizeRecord is the inode that owns the reserved descriptor blocks, so that the kernel can turn them into
// descriptors while the file system is mounted. Its only pointer is a double indirect block.
func (v *volume) resizeRecord() record {
	backups := int64(0)
	for group := int64(1); group < v.groups; group++ {
		if hasSuper(group) {
			backups++
		}
	}
	r := record{mode: modeFile | 0o600, links: 1, blocks: 1 + v.reserved*(1+backups)}
	// The size takes in every block that direct, indirect and double indirect pointers could reach.
	r.size = (12 + pointersPerBlk + pointersPerBlk*pointersPerBlk) * blockSize
	binary.LittleEndian.PutUint32(r.payload[4*dindPointer:], uint32(v.dind))
	return r
}

// writeResizeBlocks writes the pointers of the resize inode: to each reserved block of group 0, and from there to
// the same block of every backup.
func (v *volume) writeResizeBlocks() error {
	le := binary.LittleEndian
	dind := make([]byte, blockSize)
	blocks := make([]byte, v.reserved*blockSize)
	for i := range v.reserved {
		block := 1 + v.gdt + i
		le.PutUint32(dind[4*((v.gdt+i)%pointersPerBlk):], uint32(block))
		pointers := blocks[i*blockSize:]
		for group := int64(1); group < v.groups; group++ {
			if hasSuper(group) {
				le.PutUint32(pointers, uint32(group*groupBlocks+block))
				pointers = pointers[4:]
			}
		}
	}
	if _, err := v.w.WriteAt(dind, v.dind*blockSize); err != nil {
		return err
	}
	_, err := v.w.WriteAt(blocks, (1+v.gdt)*blockSize)
	return err
}
