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

// Write writes the initrd: newc cpio archives, compressed as c says, after one for the microcode if there is any. There is
// one of them, or for zstd as many as delta.Make wants: see frameSize.
//
// They hold /init, the modules and what tells init about them, and the empty folders dev, proc, sys, run and newroot;
// dev/console and dev/null are there before anything mounts devtmpfs.
func Write(w io.Writer, cont Contents, c Compression) error {
	if len(cont.Microcode) > 0 {
		early := &counter{w: w}
		recs, err := sorted(records(cont.Microcode, 0o644))
		if err == nil {
			err = writeArchive(early, recs)
		}
		if err != nil {
			return fmt.Errorf("write microcode: %w", err)
		}
		// What follows must start at a multiple of 4, and is easier found at one of 512.
		if _, err := early.Write(make([]byte, (512-early.n%512)%512)); err != nil {
			return fmt.Errorf("write microcode: %w", err)
		}
	}
	recs, err := sorted(cont.records())
	if err != nil {
		return fmt.Errorf("write initrd: %w", err)
	}
	archives := [][]cpio.Record{recs}
	if c == Zstd {
		archives = split(recs)
	}
	for _, recs := range archives {
		z, err := c.writer(w)
		if err == nil {
			err = writeArchive(z, recs)
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			return fmt.Errorf("write initrd: %w", err)
		}
	}
	return nil
}

// frameSize is how many bytes of files an archive has, unless a single one has more. A device that applies a delta makes
// a frame again in memory, which takes it ten times as much: a whole initrd is too large for that. With all drivers it is
// 1.1 % larger in three such frames than in one, and 1.4 % in four of 2 MiB.
const frameSize = 5 << 19

// split deals the records out to archives. Modules and firmware, which change with the kernel, come first, and init
// and what configures it last, so that a new init leaves the others as they are, and where they are.
func split(recs []cpio.Record) (archives [][]cpio.Record) {
	var rest []cpio.Record
	size := 0
	for _, r := range recs {
		switch n := int(r.FileSize); {
		case r.Name != "lib" && !strings.HasPrefix(r.Name, "lib/"):
			rest = append(rest, r)
		case len(archives) == 0 || size+n > frameSize:
			archives = append(archives, []cpio.Record{r})
			size = n
		default:
			last := len(archives) - 1
			archives[last] = append(archives[last], r)
			size += n
		}
	}
	return append(archives, rest)
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

// sorted returns recs with the folders that they stand in, sorted and numbered.
func sorted(recs []cpio.Record) ([]cpio.Record, error) {
	byName := map[string]cpio.Record{}
	for _, r := range recs {
		if !fs.ValidPath(r.Name) {
			return nil, fmt.Errorf("add %s: want a clean relative path", r.Name)
		}
		if _, twice := byName[r.Name]; twice {
			return nil, fmt.Errorf("add %s: it is there already", r.Name)
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
	var all []cpio.Record
	for i, name := range names {
		r := byName[name]
		r.Ino, r.NLink = uint64(i+1), 1
		if r.Mode&cpio.S_IFMT == cpio.S_IFDIR {
			r.NLink = 2
		}
		all = append(all, r)
	}
	return all, nil
}

// writeArchive writes one archive.
func writeArchive(w io.Writer, recs []cpio.Record) error {
	rw := cpio.Newc.Writer(w)
	for _, r := range recs {
		if err := rw.WriteRecord(r); err != nil {
			return fmt.Errorf("add %s: %w", r.Name, err)
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
