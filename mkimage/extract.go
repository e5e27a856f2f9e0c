package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
)

func (a *app) extractCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "extract [flags] X [PATH] OUTDIR",
		Short: "Unpack a root file system, or a part of it",
		Long: "Unpack the root file system in a squashfs, a slot set or a bundle to OUTDIR, which must be\n" +
			"empty or not there. Of a folder PATH what is in it goes to OUTDIR, of a file that file.\n" +
			"Without root, owners, devices and some attributes are left out, with a warning.",
		Example: "mkimage extract kiosk-1.4.bundle /etc etc-of-1.4",
		Args:    operandsWith(2, 3, "X", "[PATH]", "OUTDIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at := "/"
			if len(args) == 3 {
				at = args[1]
			}
			if err := a.extract(cmd.Context(), args[0], at, args[len(args)-1]); err != nil {
				return fmt.Errorf("extract %s: %w", args[0], err)
			}
			return nil
		},
	}
}

func (a *app) extract(ctx context.Context, x, from, outDir string) error {
	out, err := startExtract(outDir)
	if err != nil {
		return err
	}
	defer out.discard()
	img, r, err := a.openRoot(ctx, x)
	if err != nil {
		return err
	}
	defer r.close()
	at, err := img.RealPath(inImage(from))
	if err != nil {
		return notThere(err)
	}
	m := a.meter("extract", 0)
	defer m.Done()
	e, err := newExtractor(ctx, out.dir, m)
	if err != nil {
		return err
	}
	e.at, e.as = at, path.Base(inImage(from))
	defer e.close()
	err = img.ContentsFrom(at, e.visit)
	if err == nil {
		err = e.leave(0)
	}
	if err != nil {
		return damage(err)
	}
	if err := out.commit(); err != nil {
		return err
	}
	for _, text := range e.lost.texts() {
		a.warn(text)
	}
	fmt.Fprintf(a.out, "%s: %s, %s, %s, %s\n", outDir, screen.Count(e.files, "file"), screen.Count(e.folders, "folder"), screen.Count(e.others, "other"), screen.Size(e.bytes))
	return nil
}

// extractDir is the folder that an extract fills: a new one, which gets its name when it is whole, or an empty one.
type extractDir struct {
	dir string
	new *output // nil: dir was there
	ok  bool
}

func startExtract(path string) (*extractDir, error) {
	names, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out, err := createOutput(path, true)
		if err != nil {
			return nil, err
		}
		return &extractDir{dir: out.tmp, new: out}, nil
	case err != nil:
		return nil, fmt.Errorf("create %s: %w", path, errors.Unwrap(err))
	case len(names) > 0:
		return nil, withHint(fmt.Errorf("create %s: it is not empty", path), "it is left as it was; choose another name")
	}
	return &extractDir{dir: path}, nil
}

func (d *extractDir) commit() error {
	if d.new != nil {
		if err := d.new.commit(); err != nil {
			return err
		}
	}
	d.ok = true
	return nil
}

// discard removes what was extracted, unless it was committed. Folders that their owner may not write to are opened up.
func (d *extractDir) discard() {
	if d.ok {
		return
	}
	filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	if d.new != nil {
		d.new.discard()
		return
	}
	names, _ := os.ReadDir(d.dir)
	for _, e := range names {
		os.RemoveAll(filepath.Join(d.dir, e.Name()))
	}
	os.Chmod(d.dir, 0o755)
}

// extractor makes what ContentsFrom finds. It goes from folder to folder by descriptors and makes every name anew, so
// that no symlink of the image can lead it out of OUTDIR, and no path is too long.
type extractor struct {
	ctx   context.Context
	meter *screen.Meter
	at    string     // what is extracted, in the image
	as    string     // the name it gets in OUTDIR, if it is no folder
	root  *os.Root   // OUTDIR
	dirs  []*openDir // from OUTDIR to the folder being filled
	// links are the inodes with several names, and the first name that was made of each. All that is known of an inode
	// is the key: one with the number of another, which only a forged image has, is a file of its own.
	links map[squash.Stat]string
	lost  losses

	files, folders, others int
	bytes                  int64
}

// openDir is a folder being filled. Its mode, owner and time are set when it is full.
type openDir struct {
	path  string // in the image
	file  *os.File
	found *squash.Found // nil: OUTDIR around a single file
}

func newExtractor(ctx context.Context, dir string, m *screen.Meter) (*extractor, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &extractor{ctx: ctx, meter: m, root: root, dirs: []*openDir{{file: f}}, links: map[squash.Stat]string{}}, nil
}

func (e *extractor) close() {
	for _, d := range e.dirs {
		d.file.Close()
	}
	e.root.Close()
}

// visit makes one path.
func (e *extractor) visit(f *squash.Found, body io.Reader) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if f.Path == e.at && f.Mode.IsDir() {
		e.dirs[0].path, e.dirs[0].found = f.Path, f
		return nil
	}
	// The walk goes folder by folder: leave those that this path is not in.
	depth := len(e.dirs)
	for depth > 1 && !strings.HasPrefix(f.Path, e.dirs[depth-1].path+"/") {
		depth--
	}
	if err := e.leave(depth); err != nil {
		return err
	}
	if err := e.make(f, body); err != nil {
		return fmt.Errorf("make %s: %w", printable(f.Path), err)
	}
	return nil
}

// outPath is where in OUTDIR a path of the image goes.
func (e *extractor) outPath(p string) string {
	switch {
	case e.dirs[0].found == nil: // a file alone
		return e.as
	case e.at == ".":
		return p
	}
	return strings.TrimPrefix(p, e.at+"/")
}

// make makes one path in the innermost folder.
func (e *extractor) make(f *squash.Found, body io.Reader) error {
	dir, base := e.dirs[len(e.dirs)-1].file, path.Base(e.outPath(f.Path))
	shared := f.Links > 1 && !f.Mode.IsDir()
	if first, ok := e.links[f.Stat]; shared && ok {
		e.others++
		return e.root.Link(first, e.outPath(f.Path))
	}
	made := true
	var err error
	switch {
	case f.Mode.IsDir():
		e.folders++
		return e.enter(dir, base, f)
	case f.Mode.IsRegular():
		e.files++
		err = e.regular(dir, base, f, body)
	default:
		made, err = e.special(dir, base, f)
		if made {
			e.others++
		}
	}
	if err == nil && shared && made {
		e.links[f.Stat] = e.outPath(f.Path)
	}
	return err
}

// leave closes folders until depth are open, and gives each its mode, owner, attributes and time, which adding to it
// would have changed.
func (e *extractor) leave(depth int) error {
	for len(e.dirs) > depth {
		d := e.dirs[len(e.dirs)-1]
		e.dirs = e.dirs[:len(e.dirs)-1]
		var err error
		if d.found != nil {
			err = e.dress(d.file, d.found)
		}
		if cerr := d.file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", printable(d.path), err)
		}
	}
	return nil
}
