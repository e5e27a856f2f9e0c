package vmrun

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/slotboot/slotboot/mkimage/internal/fat"
)

// Machine is what a disk looks made for.
type Machine struct {
	Arch     string // amd64 or arm64
	Firmware string // uefi or bios
	Format   string // raw or qcow2
}

// Detect looks at the boot files of the disk's EFI system partition. A raw disk without any is for BIOS on amd64; the
// inside of a qcow2 file is not looked at, and it counts as UEFI on amd64.
func Detect(path string) (Machine, error) {
	f, err := os.Open(path)
	if err != nil {
		return Machine{}, err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return Machine{}, errors.New("not a disk: shorter than 4 bytes")
	}
	if string(magic) == "QFI\xfb" {
		return Machine{"amd64", "uefi", "qcow2"}, nil
	}
	table, err := gpt.Read(f, 512, 512)
	if err != nil {
		return Machine{}, fmt.Errorf("not a disk with a partition table: %w", err)
	}
	for _, p := range table.Partitions {
		if p.Type != gpt.EFISystemPartition {
			continue
		}
		boot := io.NewSectionReader(f, p.GetStart(), p.GetSize())
		names, err := fat.List(boot, "EFI/BOOT")
		if err != nil {
			return Machine{}, fmt.Errorf("partition %d: %w", p.Index, err)
		}
		for _, name := range names {
			switch strings.ToUpper(name) {
			case "BOOTX64.EFI":
				return Machine{"amd64", "uefi", "raw"}, nil
			case "BOOTAA64.EFI":
				return Machine{"arm64", "uefi", "raw"}, nil
			}
		}
	}
	return Machine{"amd64", "bios", "raw"}, nil
}
