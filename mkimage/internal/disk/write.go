package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/slotboot/slotboot/mkimage/internal/ext4"
	"github.com/slotboot/slotboot/mkimage/internal/fat"
	"github.com/slotboot/slotboot/mkimage/internal/vdisk"
)

// envSize is the size of the environment block that slotboot writes.
const envSize = 1024

// SlotSet returns the files of a slot set folder, for Options.Files, in the order of their names.
func SlotSet(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read slot set: %w", err)
	}
	var files []File
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read slot set: %w", err)
		}
		if !st.Mode().IsRegular() {
			return nil, fmt.Errorf("read slot set: %s is not a file", path)
		}
		files = append(files, File{e.Name(), st.Size(), func() (io.ReadCloser, error) { return os.Open(path) }})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read slot set: %s is empty", dir)
	}
	return files, nil
}

// Write makes the disk planned by o as a new sparse file at path. The layout is that of Plan(o), with the version
// of GRUB, on which the bytes depend as well.
//
// The file appears under its name when it is complete and on the disk; until then, and after an error or the end of
// ctx, there is nothing. An existing path is left alone: the error wraps fs.ErrExist.
func Write(ctx context.Context, path string, o Options, g GRUB) (Layout, error) {
	l, err := Plan(o)
	if err != nil {
		return Layout{}, err
	}
	if err := create(path, func(f *os.File) error {
		return writeAs(ctx, f, &l, o, g)
	}); err != nil {
		return Layout{}, fmt.Errorf("write disk %s: %w", path, err)
	}
	return l, nil
}

// writeAs makes the disk on f, an empty file, in the form that o wants.
func writeAs(ctx context.Context, f *os.File, l *Layout, o Options, g GRUB) error {
	raw := f
	if o.Format == vdisk.QCOW2 || o.Format == vdisk.VMDK {
		var err error
		if raw, err = createTemp(f.Name()); err != nil {
			return err
		}
		defer raw.Close()
		if err := os.Remove(raw.Name()); err != nil { // it goes away with the program
			return err
		}
	}
	if err := raw.Truncate(l.Size); err != nil {
		return err
	}
	if err := fill(ctx, Nameless{raw}, l, o, g); err != nil {
		return err
	}
	switch o.Format {
	case vdisk.Raw:
		return nil
	case vdisk.VHD:
		_, err := f.WriteAt(vdisk.Footer(l.Size, l.GUID), l.Size)
		return err
	}
	return vdisk.Write(f, vdisk.Disk{Source: raw, Size: l.Size, ID: l.GUID}, o.Format)
}

// Fill makes the disk planned by o on f, a block device from OpenDevice or a file, of o.Size bytes. What was there is
// lost, also when Fill fails. Old data does not show through. When Fill returns nil, everything is on the device, has
// been read back from it, and the kernel knows the partitions. The error wraps ErrReadBack when the device is broken.
func Fill(ctx context.Context, f *os.File, o Options, g GRUB) (Layout, error) {
	l, err := Plan(o)
	if err != nil {
		return Layout{}, err
	}
	// Where a disk has nothing, an old one may have had what other systems look for: the label of a RAID or a pool.
	for _, at := range []int64{0, l.Size - mib} {
		if _, err := f.WriteAt(make([]byte, mib), at); err != nil {
			return Layout{}, fmt.Errorf("write disk %s: %w", f.Name(), err)
		}
	}
	rec := &recorder{File: f, ctx: ctx, progress: o.Progress}
	if err := fill(ctx, rec, &l, o, g); err != nil {
		return Layout{}, fmt.Errorf("write disk %s: %w", f.Name(), err)
	}
	if err := rec.verify(); err != nil {
		return Layout{}, fmt.Errorf("verify disk %s: %w", f.Name(), err)
	}
	if err := reread(f); err != nil {
		return Layout{}, fmt.Errorf("write disk %s: %w", f.Name(), err)
	}
	return l, nil
}

// create makes the file at path with what write writes, or nothing. A hard link, unlike a rename, never replaces a
// file that somebody else has made meanwhile.
func create(path string, write func(*os.File) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	f, err := createTemp(path)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if rerr := os.Remove(f.Name()); err == nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = rerr
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = os.Link(f.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return cause(err)
	}
	// A file system without hard links: FAT, some network shares.
	if _, lerr := os.Lstat(path); lerr == nil {
		return fs.ErrExist
	}
	return os.Rename(f.Name(), path)
}

// cause drops the two paths of a failed link, one of which means nothing to the user.
func cause(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	return err
}

// createTemp makes a file beside path, with the rights that path would get from the umask.
// Nameless is a file whose errors do not name it: a temporary name means nothing to anybody.
type Nameless struct{ *os.File }

// Write implements io.Writer.
func (f Nameless) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, nameless(err)
}

// WriteAt implements io.WriterAt.
func (f Nameless) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, nameless(err)
}

func nameless(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}

func createTemp(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for i := range 1000 {
		name := filepath.Join(dir, fmt.Sprintf(".%s.%d.%d.tmp", base, os.Getpid(), i))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return f, nameless(err)
		}
	}
	return nil, fmt.Errorf("%s: too many temporary files beside it", path)
}

func fill(ctx context.Context, f backend.WritableFile, layout *Layout, o Options, g GRUB) error {
	l := *layout
	if len(g.Env) != envSize {
		return fmt.Errorf("environment block of %d bytes, want %d", len(g.Env), envSize)
	}
	// First what needs other programs: it fails soonest.
	cores, err := g.build(ctx, l)
	if err != nil {
		return fmt.Errorf("build GRUB: %w", err)
	}
	layout.GRUB = cores.version
	if err := writeTable(f, l); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	if err := cores.install(f, l); err != nil {
		return err
	}
	if err := writeBoot(f, l, o, g, cores.efi); err != nil {
		return err
	}
	if err := writeData(ctx, f, l, o); err != nil || l.Persistent == nil {
		return err
	}
	return writeExt4(f, *l.Persistent, l.own, o.Time, nil)
}

func writeTable(f backend.WritableFile, l Layout) error {
	types := map[string]gpt.Type{"boot": gpt.EFISystemPartition, "bios": gpt.BIOSBoot, "data": gpt.LinuxFilesystem, "persistent": gpt.LinuxFilesystem}
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, GUID: l.GUID.String()}
	for _, p := range l.Partitions() {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: p.Number, Name: "slotboot-" + p.Name, Type: types[p.Name], GUID: p.GUID.String(),
			Start: uint64(p.Start / sector), Size: uint64(p.Size),
		})
	}
	if _, err := f.WriteAt(protectiveMBR(l), 0); err != nil {
		return err
	}
	return table.Write(f, l.Size/sector*sector)
}

// protectiveMBR returns sector 0 without boot code. Its one partition is marked active on a disk for BIOS alone:
// some BIOSes start no disk without one, and UEFI asks for the opposite.
func protectiveMBR(l Layout) []byte {
	b := make([]byte, sector)
	entry := b[446:]
	if l.Firmware == BIOS {
		entry[0] = 0x80
	}
	copy(entry[1:], []byte{0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(l.Size/sector-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

func writeBoot(f io.WriterAt, l Layout, o Options, g GRUB, core []byte) error {
	files := []fat.File{{Path: "EFI/BOOT/grub.cfg", Data: g.Config}, {Path: "EFI/BOOT/grubenv", Data: g.Env}}
	if core != nil {
		files = append(files, fat.File{Path: "EFI/BOOT/" + efiNames[l.Arch], Data: core})
	}
	return fat.Write(io.NewOffsetWriter(f, l.Boot.Start), fat.Options{
		Size: l.Boot.Size, Offset: l.Boot.Start, Serial: l.serial, Label: l.Boot.FSLabel, Time: o.Time,
	}, files)
}

func writeData(ctx context.Context, f io.WriterAt, l Layout, o Options) error {
	var files []ext4.File
	for _, dir := range []string{"slots/A", "slots/B", "state"} {
		files = append(files, ext4.File{Path: dir, Mode: fs.ModeDir | 0o755})
	}
	for _, file := range o.Files {
		if file.Name == "" || strings.Contains(file.Name, "/") {
			return fmt.Errorf("name %q in the slot set, want one without folders", file.Name)
		}
		files = append(files, ext4.File{Path: "slots/A/" + file.Name, Mode: 0o644, Size: file.Size, Open: func() (io.ReadCloser, error) {
			r, err := file.Open()
			return &cancellable{ctx, r}, err
		}})
	}
	return writeExt4(f, l.Data, l.data, o.Time, files)
}

func writeExt4(f io.WriterAt, p Partition, ids ext4IDs, at time.Time, files []ext4.File) error {
	return ext4.Write(io.NewOffsetWriter(f, p.Start), ext4.Options{
		Size: p.Size, Label: p.FSLabel, UUID: ids.uuid, HashSeed: ids.hashSeed, Time: at,
	}, files)
}

// cancellable is a file that cannot be read any more once ctx is done.
type cancellable struct {
	ctx context.Context
	io.ReadCloser
}

func (c *cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.ReadCloser.Read(b)
}
