package sys

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers of ioctls, the same on all architectures that slotboot is for: include/uapi/linux/blkpg.h and ext4.h.
const (
	blkpg        = 0x1269
	ext4ResizeFS = 0x40086610
)

// Extent is the size of an ext4.
type Extent struct {
	BlockSize int64
	Blocks    int64
	// MostBlocks is what it can grow to while it is mounted, by the room that its maker has set aside for more group
	// descriptors. Beyond that the kernel would change its layout to one that GRUB 2.06 misreads (meta_bg). It is Blocks
	// if the file system cannot grow.
	MostBlocks int64
	// Dirty says that its journal has yet to be replayed: what is on the disk may be older than that.
	Dirty bool
}

// ReadExtent returns the size of the ext4 on r. Offsets: Documentation/filesystems/ext4/super.rst.
func ReadExtent(r io.ReaderAt) (Extent, error) {
	sb := make([]byte, 1024)
	if n, err := r.ReadAt(sb, 1024); n < len(sb) {
		return Extent{}, fmt.Errorf("read size of ext4: %w", err)
	}
	le := binary.LittleEndian
	u32 := func(at int) int64 { return int64(le.Uint32(sb[at:])) }
	shift, perGroup, first := le.Uint32(sb[0x18:]), u32(0x20), u32(0x14)
	if le.Uint16(sb[0x38:]) != 0xef53 || shift > 6 || perGroup == 0 {
		return Extent{}, fmt.Errorf("read size of ext4: %w", ErrUnknownFormat)
	}
	const (
		resizeInode, sparseSuper2 = 0x10, 0x200     // compatible features
		recover, metaBG, bits64   = 0x4, 0x10, 0x80 // incompatible
		bigalloc                  = 0x200           // compatible for reading
		hasErrors                 = 2               // state
	)
	e := Extent{BlockSize: 1024 << shift, Blocks: u32(0x04), Dirty: u32(0x60)&recover != 0}
	desc, most := int64(32), int64(1)<<32-1
	if u32(0x60)&bits64 != 0 {
		e.Blocks |= u32(0x150) << 32
		desc, most = max(32, int64(le.Uint16(sb[0xfe:]))), 1<<48
	}
	if first > 1 || e.Blocks <= first || e.Blocks >= most || desc > e.BlockSize {
		return Extent{}, fmt.Errorf("read size of ext4: %w", ErrUnknownFormat)
	}
	e.MostBlocks = e.Blocks
	if u32(0x5c)&(resizeInode|sparseSuper2) != resizeInode || u32(0x60)&metaBG != 0 || u32(0x64)&bigalloc != 0 || le.Uint16(sb[0x3a:])&hasErrors != 0 {
		return e, nil
	}
	perBlock := e.BlockSize / desc
	groups := (e.Blocks - first + perGroup - 1) / perGroup
	tables := (groups+perBlock-1)/perBlock + int64(le.Uint16(sb[0xce:]))
	e.MostBlocks = max(e.Blocks, min(first+tables*perBlock*perGroup, most))
	return e, nil
}

// ResizePartition is part of Machine.
func (l *Linux) ResizePartition(disk string, number int, start, size int64) error {
	f, err := os.Open(disk)
	if err != nil {
		return fmt.Errorf("resize partition: %w", err)
	}
	defer f.Close()
	part := unix.BlkpgPartition{Start: start, Length: size, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), blkpg, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return fmt.Errorf("resize partition %d of %s: %w", number, disk, errno)
	}
	return nil
}

// GrowExt4 is part of Machine.
func (l *Linux) GrowExt4(target string, blocks int64) error {
	f, err := os.Open(target)
	if err != nil {
		return fmt.Errorf("grow file system: %w", err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4ResizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("grow file system at %s: %w", target, errno)
	}
	return nil
}
