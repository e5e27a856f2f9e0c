// Package initrd writes the initramfs of a slot: init as PID 1 and the modules that bring it to the root.
//
// Equal Contents give the same bytes: entries are sorted, inode numbers count up, and every time is 0.
package initrd

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/slotboot/slotboot/mkimage/internal/kernel"
	"github.com/u-root/u-root/pkg/cpio"
)

// ModulesList is the file that tells init which modules to load on every machine: one path a line, below
// /lib/modules/RELEASE, in load order. Device drivers are not in it: init finds those through modules.alias.
const ModulesList = "etc/slotboot/modules"

// KeysFolder is where init looks for public keys.
const KeysFolder = "etc/slotboot/keys"

// File is a file to put into the initrd.
type File struct {
	Path string // without a leading slash
	Data []byte
}

// Contents is what goes into an initrd.
type Contents struct {
	Init     []byte // a static program, becomes /init
	Release  string // of the kernel
	Modules  *kernel.Selection
	Firmware []File // paths are below lib/firmware
	// Microcode goes uncompressed in front of the rest, where the kernel looks for it before it can unpack anything.
	Microcode []File
	Keys      []File // paths are below etc/slotboot/keys: with any there, init boots only what is signed
}

// Write writes the initrd: a newc cpio archive, compressed as c says, after one for the microcode if there is any.
//
// It holds /init, the modules and what tells init about them, and the empty folders dev, proc, sys, run and newroot;
// dev/console and dev/null are there before anything mounts devtmpfs.
func Write(w io.Writer, cont Contents, c Compression) error {
	if len(cont.Microcode) > 0 {
		early := &counter{w: w}
		if err := writeArchive(early, records(cont.Microcode, 0o644)); err != nil {
			return fmt.Errorf("write microcode: %w", err)
		}
		// What follows must start at a multiple of 4, and is easier found at one of 512.
		if _, err := early.Write(make([]byte, (512-early.n%512)%512)); err != nil {
			return fmt.Errorf("write microcode: %w", err)
		}
	}
	z, err := c.writer(w)
	if err != nil {
		return fmt.Errorf("write initrd: %w", err)
	}
	if err := writeArchive(z, cont.records()); err != nil {
		return fmt.Errorf("write initrd: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write initrd: %w", err)
	}
	return nil
}

func (c *Contents) records() []cpio.Record {
	recs := []cpio.Record{
		cpio.StaticRecord(c.Init, cpio.Info{Name: "init", Mode: cpio.S_IFREG | 0o755}),
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
	}
	for _, dir := range []string{"proc", "sys", "run", "newroot"} {
		recs = append(recs, cpio.Directory(dir, 0o755))
	}
	var files []File
	for _, f := range c.Firmware {
		files = append(files, File{path.Join("lib/firmware", f.Path), f.Data})
	}
	for _, f := range c.Keys {
		files = append(files, File{path.Join(KeysFolder, f.Path), f.Data})
	}
	if m := c.Modules; m != nil && len(m.Modules) > 0 {
		dir := path.Join("lib/modules", c.Release)
		for _, mod := range m.Modules {
			files = append(files, File{path.Join(dir, mod.Path), mod.Data})
		}
		files = append(files,
			File{path.Join(dir, "modules.dep"), m.Dep},
			File{path.Join(dir, "modules.alias"), m.Alias},
			File{path.Join(dir, "modules.softdep"), m.Softdep},
			File{ModulesList, []byte(strings.Join(append(slices.Clone(m.Always), ""), "\n"))})
	}
	return append(recs, records(files, 0o644)...)
}

func records(files []File, perm uint64) []cpio.Record {
	var recs []cpio.Record
	for _, f := range files {
		recs = append(recs, cpio.StaticRecord(f.Data, cpio.Info{Name: f.Path, Mode: cpio.S_IFREG | perm}))
	}
	return recs
}

// writeArchive writes recs with the folders that they stand in, sorted.
func writeArchive(w io.Writer, recs []cpio.Record) error {
	byName := map[string]cpio.Record{}
	for _, r := range recs {
		if !fs.ValidPath(r.Name) {
			return fmt.Errorf("add %s: want a clean relative path", r.Name)
		}
		if _, twice := byName[r.Name]; twice {
			return fmt.Errorf("add %s: it is there already", r.Name)
		}
		byName[r.Name] = r
	}
	for _, r := range recs {
		for dir := path.Dir(r.Name); dir != "."; dir = path.Dir(dir) {
			if _, ok := byName[dir]; !ok {
				byName[dir] = cpio.Directory(dir, 0o755)
			}
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	rw := cpio.Newc.Writer(w)
	for i, name := range names {
		r := byName[name]
		r.Ino, r.NLink = uint64(i+1), 1
		if r.Mode&cpio.S_IFMT == cpio.S_IFDIR {
			r.NLink = 2
		}
		if err := rw.WriteRecord(r); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
	}
	return cpio.WriteTrailer(rw)
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
