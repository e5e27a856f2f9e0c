package vmrun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"github.com/slotboot/slotboot/mkimage/internal/fat"
	"github.com/slotboot/slotboot/mkimage/internal/vdisk"
)

const sector = 512

// Machine is what a disk looks made for.
type Machine struct {
	Arch     string // amd64 or arm64
	Firmware string // uefi or bios
	Format   string // as QEMU calls it: raw, qcow2, vmdk or vpc
}

// Detect looks at the boot files of the disk's EFI system partition. A raw disk without any is for BIOS on amd64; the
// inside of a qcow2 or VMDK file is not looked at, and it counts as UEFI on amd64. What is no disk is vdisk.ErrNoDisk.
func Detect(path string) (Machine, error) {
	form, err := vdisk.Detect(path)
	if err != nil {
		return Machine{}, err
	}
	format := map[vdisk.Format]string{vdisk.Raw: "raw", vdisk.QCOW2: "qcow2", vdisk.VMDK: "vmdk", vdisk.VHD: "vpc"}[form]
	if form == vdisk.QCOW2 || form == vdisk.VMDK {
		return Machine{"amd64", "uefi", format}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return Machine{}, err
	}
	defer f.Close()
	boots, err := bootPartitions(f)
	if err != nil {
		return Machine{}, fmt.Errorf("%w: read partition table: %w", vdisk.ErrNoDisk, err)
	}
	for _, boot := range boots {
		names, err := fat.List(boot, "EFI/BOOT")
		if err != nil {
			return Machine{}, fmt.Errorf("%w: read EFI system partition: %w", vdisk.ErrNoDisk, err)
		}
		for _, name := range names {
			switch strings.ToUpper(name) {
			case "BOOTX64.EFI":
				return Machine{"amd64", "uefi", format}, nil
			case "BOOTAA64.EFI":
				return Machine{"arm64", "uefi", format}, nil
			}
		}
	}
	return Machine{"amd64", "bios", format}, nil
}

// espType is C12A7328-F81F-11D2-BA4B-00A0C93EC93B as a GPT holds it.
const espType = "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"

// bootPartitions returns the EFI system partitions of the disk r, by the first copy of its GPT. The library that
// writes the table is not used to read it: it panics on a damaged one. Format: UEFI specification, section 5.3.
func bootPartitions(r io.ReaderAt) ([]*io.SectionReader, error) {
	le := binary.LittleEndian
	header := make([]byte, 92)
	if _, err := r.ReadAt(header, sector); err != nil {
		return nil, err
	}
	if string(header[:8]) != "EFI PART" {
		return nil, errors.New("not a GPT")
	}
	sum := le.Uint32(header[16:])
	clear(header[16:20])
	first, count, size := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if crc32.ChecksumIEEE(header) != sum || first > 1<<32 || count > 1024 || size < 128 || size > 4096 {
		return nil, errors.New("damaged GPT")
	}
	entries := make([]byte, count*size)
	if _, err := r.ReadAt(entries, int64(first)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(header[88:]) {
		return nil, errors.New("damaged GPT")
	}
	var found []*io.SectionReader
	for ; len(entries) > 0; entries = entries[size:] {
		from, to := le.Uint64(entries[32:]), le.Uint64(entries[40:])
		if string(entries[:16]) == espType && from <= to && to < 1<<50 {
			found = append(found, io.NewSectionReader(r, int64(from)*sector, int64(to-from+1)*sector))
		}
	}
	return found, nil
}
