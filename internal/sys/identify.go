package sys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Identity is what a file system says about itself.
type Identity struct {
	Type  string // ext4 (also for ext2 and ext3), vfat
	UUID  string // lower case; of vfat the serial number, "abcd-1234"
	Label string // of vfat the one in its boot sector, which every mkfs writes
}

// ErrUnknownFormat says that there is no file system or partition table that this package reads.
var ErrUnknownFormat = errors.New("unknown format")

// Identify reads the identity of the file system on r. Offsets: Documentation/filesystems/ext4/super.rst, and
// Microsoft's FAT specification 1.03.
func Identify(r io.ReaderAt) (Identity, error) {
	buf := make([]byte, 2048)
	if n, err := r.ReadAt(buf, 0); n < len(buf) {
		return Identity{}, fmt.Errorf("identify file system: %w", err)
	}
	ext, fat := buf[1024:], buf[:512]
	switch {
	case binary.LittleEndian.Uint16(ext[0x38:]) == 0xef53:
		return Identity{"ext4", uuidText(ext[0x68:0x78], false), trimLabel(ext[0x78:0x88])}, nil
	case fat[510] == 0x55 && fat[511] == 0xaa && string(fat[0x52:0x57]) == "FAT32":
		return Identity{"vfat", fatSerial(fat[0x43:]), trimLabel(fat[0x47:0x52])}, nil
	case fat[510] == 0x55 && fat[511] == 0xaa && string(fat[0x36:0x39]) == "FAT":
		return Identity{"vfat", fatSerial(fat[0x27:]), trimLabel(fat[0x2b:0x36])}, nil
	}
	return Identity{}, fmt.Errorf("identify file system: %w", ErrUnknownFormat)
}

func fatSerial(b []byte) string {
	n := binary.LittleEndian.Uint32(b)
	return fmt.Sprintf("%04x-%04x", n>>16, n&0xffff)
}

func trimLabel(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimRight(string(b), " ")
}

// Partition is an entry of a partition table.
type Partition struct {
	UUID string // lower case, as blkid's PARTUUID: a GUID of GPT, "1234abcd-02" of MBR
	Type string // lower case: a GUID of GPT, "ef" of MBR ("" for a logical partition)
}

// ESP says whether p is an EFI system partition.
func (p Partition) ESP() bool {
	return p.Type == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" || p.Type == "ef"
}

// ReadPartition returns entry number, counted from 1, of the partition table on the disk r, whose logical blocks have
// sector bytes. Only the first copy of a GPT is read, as the kernel does, which has checked its checksums before there
// was a partition to ask about.
func ReadPartition(r io.ReaderAt, sector, number int) (Partition, error) {
	head := make([]byte, 1024)
	if sector > 512 {
		head = make([]byte, 2*sector)
	}
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return Partition{}, fmt.Errorf("read partition table: %w", err)
	}
	mbr, gpt := head[:512], head[len(head)/2:]
	switch {
	case number < 1 || number > 1024:
	case string(gpt[:8]) == "EFI PART":
		return readGPT(r, gpt, len(head)/2, number)
	case mbr[510] == 0x55 && mbr[511] == 0xaa:
		p := Partition{UUID: fmt.Sprintf("%08x-%02x", binary.LittleEndian.Uint32(mbr[0x1b8:]), number)}
		if number <= 4 {
			p.Type = fmt.Sprintf("%02x", mbr[0x1be+16*(number-1)+4])
		}
		return p, nil
	}
	return Partition{}, fmt.Errorf("read partition %d: %w", number, ErrUnknownFormat)
}

// readGPT reads an entry of the table that header describes. Format: UEFI specification, section 5.3.
func readGPT(r io.ReaderAt, header []byte, sector, number int) (Partition, error) {
	table := binary.LittleEndian.Uint64(header[72:])
	entries, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if table > 1<<40 || size < 128 || size > 4096 || uint32(number) > entries {
		return Partition{}, fmt.Errorf("read partition %d of %d: %w", number, entries, ErrUnknownFormat)
	}
	entry := make([]byte, 32)
	at := int64(table)*int64(sector) + int64(number-1)*int64(size)
	if n, err := r.ReadAt(entry, at); n < len(entry) {
		return Partition{}, fmt.Errorf("read partition %d: %w", number, err)
	}
	return Partition{UUID: uuidText(entry[16:], true), Type: uuidText(entry, true)}, nil
}

// uuidText writes a UUID; mixed is for those of GPT, whose first three fields are little-endian.
func uuidText(b []byte, mixed bool) string {
	u := [16]byte(b)
	if mixed {
		u = [16]byte{u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]}
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
