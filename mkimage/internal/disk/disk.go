// Package disk makes the bootable disk: GPT, a boot partition with GRUB, its grub.cfg and its environment block, and
// a data partition with the two slots.
//
// It needs no root, no mount, and no partition tool. From the same options, slot set and GRUB it makes the same
// bytes, whoever runs it, where and when. Plan says where everything will be and what it will be called, so that
// grub.cfg can name it; Write makes the file.
package disk

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/slotboot/slotboot/mkimage/internal/ext4"
	"github.com/slotboot/slotboot/mkimage/internal/fat"
	"github.com/slotboot/slotboot/mkimage/internal/vdisk"
)

const (
	sector = 512
	mib    = 1 << 20

	// Partitions start and end on whole MiB. The first one is left to the partition table, the last to its copy.
	bootSize     = 64 * mib
	biosBootSize = 1 * mib
	// What each slot gets beyond the slot set, so that later versions may grow: a quarter, and slotSlack.
	slotSlack = 32 * mib
	// What is left for state/ when the size is automatic, and at least when it is not.
	stateRoom, stateLeast = 256 * mib, 16 * mib
	sizeStep              = 64 * mib
)

// The labels of the file systems on the data partition and on the one that Options.Persistent asks for.
const (
	DataLabel       = "slotboot"
	PersistentLabel = "persistent"
)

// persistentLeast is the least size of a persistent partition.
const persistentLeast = 16 * mib

const bootLabel = "SLOTBOOTESP"

// ErrTooSmall is wrapped by the errors of Plan about an Options.Size without room for two slot sets, and about an
// Options.Persistent too small for a file system.
var ErrTooSmall = errors.New("disk too small")

// Firmware says which firmware starts the disk. The zero value is UEFI.
type Firmware int

// The kinds of firmware. Both makes one disk that either can start.
const (
	UEFI Firmware = iota
	BIOS
	Both
)

var firmwareNames = []string{"uefi", "bios", "both"}

func (f Firmware) String() string {
	if f < 0 || int(f) >= len(firmwareNames) {
		return fmt.Sprintf("firmware(%d)", int(f))
	}
	return firmwareNames[f]
}

// MarshalText gives uefi, bios or both.
func (f Firmware) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ParseFirmware is the reverse of String.
func ParseFirmware(s string) (Firmware, error) {
	for i, name := range firmwareNames {
		if s == name {
			return Firmware(i), nil
		}
	}
	return 0, fmt.Errorf("firmware %q, want uefi, bios or both", s)
}

// Options says what disk to make.
type Options struct {
	Firmware Firmware
	// Arch is amd64 or arm64, for which there is no BIOS.
	Arch string
	// Size is that of the whole disk in bytes, a multiple of 512; 0 makes room for two slot sets like this one, with
	// slack for their growth, and for 256 MiB of state.
	Size int64
	// Persistent is the least size in bytes of a partition for what the device's own programs keep, behind the data
	// partition; 0: there is none. It is rounded up to whole MiB.
	Persistent int64
	// Files is the slot set that slot A holds.
	Files []File
	// ID is text that stands for the contents, such as the build id of the slot set. Every identifier on the disk is
	// derived from it and from the fields above, so that an equal disk has equal ones and another disk has not.
	ID string
	// Time is that of every file and file system.
	Time time.Time
	// Format is the form of the file that Write makes; all but Raw want a Size of whole MiB.
	Format vdisk.Format
	// Progress is told by Fill how many bytes are written, then how many of them are read back; nil: nobody is.
	Progress func(step string, done, total int64)
}

// File is a file of the slot set. Name has no slashes. Open is called once and must give Size bytes.
type File struct {
	Name string
	Size int64
	Open func() (io.ReadCloser, error)
}

// Layout says where everything on a disk is and what it is called.
type Layout struct {
	Firmware Firmware   `json:"firmware"`
	Arch     string     `json:"arch"`
	Size     int64      `json:"size"` // bytes
	GUID     uuid.UUID  `json:"guid"` // of the disk
	Boot     Partition  `json:"boot"` // FAT32: the EFI system partition, which a BIOS disk has too
	BIOSBoot *Partition `json:"bios_boot,omitempty"`
	Data     Partition  `json:"data"`
	// Persistent is the device's own, see Options.Persistent.
	Persistent *Partition `json:"persistent,omitempty"`
	GRUB       string     `json:"grub,omitempty"` // version, once it is installed
	serial     uint32
	data       ext4IDs
	own        ext4IDs // of Persistent
}

// ext4IDs are the identifiers within an ext4.
type ext4IDs struct{ uuid, hashSeed uuid.UUID }

// Partition is a partition of a Layout. GUID is what the kernel calls PARTUUID. FSUUID has the form that blkid and
// GRUB's search --fs-uuid use.
type Partition struct {
	Number  int       `json:"number"`
	Name    string    `json:"name"`
	Start   int64     `json:"start"` // bytes
	Size    int64     `json:"size"`  // bytes
	GUID    uuid.UUID `json:"guid"`
	FSUUID  string    `json:"fs_uuid,omitempty"`
	FSLabel string    `json:"fs_label,omitempty"`
}

// Partitions returns the partitions in the order of their numbers, which is that of their places. The last one, which is
// the persistent or the data partition, can grow.
func (l Layout) Partitions() []Partition {
	all := []Partition{l.Boot}
	if l.BIOSBoot != nil {
		all = append(all, *l.BIOSBoot)
	}
	all = append(all, l.Data)
	if l.Persistent != nil {
		all = append(all, *l.Persistent)
	}
	return all
}

// Plan works out the layout of a disk. It reads no file and asks no clock. The error wraps ErrTooSmall when Size is
// set and has no room for two slot sets.
func Plan(o Options) (Layout, error) {
	l, err := plan(o)
	if err != nil {
		return Layout{}, fmt.Errorf("plan disk: %w", err)
	}
	return l, nil
}

func plan(o Options) (Layout, error) {
	if err := o.check(); err != nil {
		return Layout{}, err
	}
	l := Layout{Firmware: o.Firmware, Arch: o.Arch, Size: o.Size}
	l.Boot = Partition{Number: 1, Name: "boot", Start: mib, Size: bootSize, FSLabel: bootLabel}
	l.Data = Partition{Number: 2, Name: "data", Start: l.Boot.Start + l.Boot.Size, FSLabel: DataLabel}
	if o.Firmware != UEFI {
		l.BIOSBoot = &Partition{Number: 2, Name: "bios", Start: l.Data.Start, Size: biosBootSize}
		l.Data.Number, l.Data.Start = 3, l.Data.Start+biosBootSize
	}
	own := (o.Persistent + mib - 1) / mib * mib
	if err := l.sizeData(o, own); err != nil {
		return Layout{}, err
	}
	if own > 0 {
		l.Persistent = &Partition{Number: l.Data.Number + 1, Name: "persistent", Start: l.Data.Start + l.Data.Size, Size: own, FSLabel: PersistentLabel}
	}
	l.name(o.ID)
	return l, nil
}

func (o Options) check() error {
	switch {
	case o.Arch != "amd64" && o.Arch != "arm64":
		return fmt.Errorf("architecture %q, want amd64 or arm64", o.Arch)
	case o.Firmware < UEFI || o.Firmware > Both:
		return fmt.Errorf("unknown %v", o.Firmware)
	case o.Arch == "arm64" && o.Firmware != UEFI:
		return fmt.Errorf("firmware %v: arm64 starts from uefi only", o.Firmware)
	case o.Size < 0 || o.Size%sector != 0:
		return fmt.Errorf("size %d, want a multiple of %d", o.Size, sector)
	case o.Persistent < 0 || o.Persistent > 0 && o.Persistent < persistentLeast:
		return fmt.Errorf("%w: a persistent partition of %d bytes, want %d MiB at least", ErrTooSmall, o.Persistent, persistentLeast/mib)
	case o.Format != vdisk.Raw && o.Size%mib != 0:
		return fmt.Errorf("size %d, want whole MiB for %v", o.Size, o.Format)
	case o.ID == "":
		return errors.New("no id to derive the identifiers from")
	}
	return nil
}

// sizeData settles the size of the disk and of the data partition, behind which own bytes are left free.
func (l *Layout) sizeData(o Options, own int64) error {
	var slot int64
	for _, f := range o.Files {
		slot += (f.Size + 4095) / 4096 * 4096
	}
	if l.Size == 0 {
		size, err := dataSize(2*(slot+slot/4+slotSlack) + stateRoom)
		if err != nil {
			return err
		}
		l.Data.Size = size
		l.Size = l.Data.Start + size + own + mib
		return nil
	}
	need := 2*slot + stateLeast
	l.Data.Size = l.Size/mib*mib - mib - own - l.Data.Start
	free := int64(0)
	if l.Data.Size > 0 {
		var err error
		if free, err = ext4.Free(ext4.Options{Size: l.Data.Size}); err != nil && !errors.Is(err, ext4.ErrTooSmall) {
			return err
		}
	}
	if free < need {
		size, err := dataSize(need)
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: %d MiB, want at least %d MiB for two slot sets of %d MiB", ErrTooSmall,
			l.Size/mib, (l.Data.Start+size+own)/mib+1, (slot+mib-1)/mib)
	}
	return nil
}

// dataSize returns the size of a file system in which need bytes are free, in steps of sizeStep.
func dataSize(need int64) (int64, error) {
	size := (need + sizeStep - 1) / sizeStep * sizeStep
	for {
		free, err := ext4.Free(ext4.Options{Size: size})
		if err != nil && !errors.Is(err, ext4.ErrTooSmall) {
			return 0, err
		}
		if free >= need {
			return size, nil
		}
		size += sizeStep
	}
}

// space is the name space of all identifiers, itself derived from the project's address.
var space = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/slotboot/slotboot#disk"))

// name gives everything its identifier.
func (l *Layout) name(id string) {
	derive := func(what string) uuid.UUID {
		text := fmt.Appendf(nil, "%s\n%v %s %d\n%s", what, l.Firmware, l.Arch, l.Size, id)
		if l.Persistent != nil {
			text = fmt.Appendf(text, "\npersistent %d", l.Persistent.Size)
		}
		return uuid.NewSHA1(space, text)
	}
	l.GUID = derive("disk")
	l.Boot.GUID, l.Data.GUID = derive("boot"), derive("data")
	if l.BIOSBoot != nil {
		l.BIOSBoot.GUID = derive("bios")
	}
	l.data = ext4IDs{derive("ext4"), derive("ext4 hash seed")}
	fatID := derive("fat")
	l.serial = uint32(fatID[0])<<24 | uint32(fatID[1])<<16 | uint32(fatID[2])<<8 | uint32(fatID[3])
	l.Boot.FSUUID, l.Data.FSUUID = fat.SerialString(l.serial), l.data.uuid.String()
	if l.Persistent != nil {
		l.own = ext4IDs{derive("persistent ext4"), derive("persistent ext4 hash seed")}
		l.Persistent.GUID, l.Persistent.FSUUID = derive("persistent"), l.own.uuid.String()
	}
}
