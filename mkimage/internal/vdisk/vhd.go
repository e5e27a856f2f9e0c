package vdisk

import "encoding/binary"

const vhdCookie = "conectix"

// Footer returns the 512 bytes that make a raw disk of size bytes a fixed VHD. Format: Microsoft's "Virtual Hard Disk
// Image Format Specification".
//
// The creator is "win ", because QEMU takes the size of the disk from its geometry, which rounds it down, for creators
// that it does not know. The time is 2000-01-01, so that equal disks are equal files.
func Footer(size int64, id [16]byte) []byte {
	b := make([]byte, sector)
	be := binary.BigEndian
	copy(b, vhdCookie)
	be.PutUint32(b[8:], 2)           // reserved, always set
	be.PutUint32(b[12:], 0x00010000) // version of the format
	be.PutUint64(b[16:], ^uint64(0)) // no dynamic header
	copy(b[28:], "win ")
	be.PutUint32(b[32:], 0x000a0000)
	copy(b[36:], "Wi2k")
	be.PutUint64(b[40:], uint64(size))
	be.PutUint64(b[48:], uint64(size))
	cylinders, heads, sectors := vhdGeometry(size / sector)
	be.PutUint16(b[56:], uint16(cylinders))
	b[58], b[59] = byte(heads), byte(sectors)
	be.PutUint32(b[60:], 2) // fixed
	copy(b[68:], id[:])
	sum := uint32(0)
	for _, c := range b {
		sum += uint32(c)
	}
	be.PutUint32(b[64:], ^sum)
	return b
}

// vhdGeometry is the algorithm in the appendix of the specification.
func vhdGeometry(total int64) (cylinders, heads, sectors int64) {
	total = min(total, 65535*16*255)
	if total >= 65535*16*63 {
		return total / 255 / 16, 16, 255
	}
	sectors = 17
	times := total / sectors
	heads = max((times+1023)/1024, 4)
	if times >= heads*1024 || heads > 16 {
		sectors, heads = 31, 16
		times = total / sectors
	}
	if times >= heads*1024 {
		sectors, heads = 63, 16
		times = total / sectors
	}
	return times / heads, heads, sectors
}
