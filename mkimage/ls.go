package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
)

// lsFlags are the flags of mkimage ls.
type lsFlags struct {
	long, below, asJSON bool
}

func (a *app) lsCommand() *cobra.Command {
	var f lsFlags
	cmd := &cobra.Command{
		Use:   "ls [flags] X [PATH]",
		Short: "List a folder of a root file system",
		Long: "List a folder of the root file system in a squashfs, a slot set or a bundle; PATH is the\n" +
			"root if it is not given. Slot sets and bundles are compared with their digests first.",
		Example: "mkimage ls -l kiosk-1.4 /usr/bin",
		Args:    operandsWith(1, 2, "X", "[PATH]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.ls(cmd.Context(), &f, args[0], append(args, "/")[1]); err != nil {
				return fmt.Errorf("list %s: %w", args[0], err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&f.long, "long", "l", false, "mode, links, owner, size, time and target too")
	cmd.Flags().BoolVarP(&f.below, "recursive", "R", false, "everything below PATH, with whole paths")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// operandsWith makes sure that there are from least to most arguments; names are for the message.
func operandsWith(least, most int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("want %s, got %s", strings.Join(names, " "), gotten(args))
		}
		return nil
	}
}

// openRoot opens the root file system in X. What is not intact is exit status 4; see damage.
func (a *app) openRoot(ctx context.Context, x string) (*squash.Image, *release, error) {
	r, err := a.openRelease(ctx, x)
	if err != nil {
		return nil, nil, err
	}
	root := r.files[bundle.RootfsName]
	if root == nil {
		r.close()
		return nil, nil, fmt.Errorf("%s is not in there", bundle.RootfsName)
	}
	img, err := openSquash(root, root.Size())
	if err != nil {
		r.close()
		return nil, nil, damage(err)
	}
	return img, r, nil
}

// damage marks errors of reading a squashfs or a disk that are neither about a path that is not there nor about this
// machine: what is left is an image that is not intact.
func damage(err error) error {
	var machine syscall.Errno
	var ours statuser
	switch {
	case err == nil, errors.As(err, &machine), errors.As(err, &ours), errors.As(err, &usageError{}),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return notIntact{err}
}

// inImage turns a path as people write it into the form that squash takes.
func inImage(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return "."
	}
	return p
}

// notThere shortens the error about a path that is not there.
func notThere(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", printable(p.Path), syscall.ENOENT)
	}
	return damage(err)
}

// lsEntry is what mkimage ls --json prints of each path. Its keys are a promise.
type lsEntry struct {
	Path  string `json:"path"`
	Bytes []byte `json:"path_bytes,omitempty"` // when the path is not UTF-8, which JSON cannot hold
	Type  string `json:"type"`                 // file, folder, symlink, block, char, fifo, socket
	Mode  string `json:"mode"`                 // octal, with setuid, setgid and sticky
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Links uint32 `json:"links"`
	Inode uint32 `json:"inode"`
	Size  int64  `json:"size"` // bytes of a file or of a symlink's target
	// Modified is in UTC.
	Modified time.Time         `json:"modified"`
	Target   string            `json:"target,omitempty"`
	Device   string            `json:"device,omitempty"` // MAJOR:MINOR
	Xattrs   map[string][]byte `json:"xattrs,omitempty"` // values in base64
}

func (a *app) ls(ctx context.Context, f *lsFlags, x, at string) error {
	img, r, err := a.openRoot(ctx, x)
	if err != nil {
		return err
	}
	defer r.close()
	at = inImage(at)
	if !f.long && !f.asJSON {
		if at, err = img.RealPath(at); err != nil {
			return notThere(err)
		}
	}
	l := lister{app: a, ctx: ctx, f: f, img: img, at: at, list: []lsEntry{}}
	l.table = tabwriter.NewWriter(a.out, 0, 0, 1, ' ', 0)
	if f.below {
		err = img.WalkFrom(at, l.visit)
	} else {
		err = l.folder()
	}
	if err != nil {
		return notThere(err)
	}
	if f.asJSON {
		return a.printJSON(l.list)
	}
	return l.table.Flush()
}

// lister prints paths.
type lister struct {
	*app
	ctx   context.Context
	f     *lsFlags
	img   *squash.Image
	at    string
	table *tabwriter.Writer
	list  []lsEntry
}

// folder lists the names in the folder at l.at, or that path alone if it is something else.
func (l *lister) folder() error {
	fi, err := l.img.Lstat(l.at)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return l.print(l.at, fi.Sys().(*squash.Stat), func() (map[string]string, error) { return l.img.Xattrs(l.at) })
	}
	d, err := l.img.Open(l.at)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		some, err := d.(fs.ReadDirFile).ReadDir(256)
		for _, e := range some {
			fi, err := e.Info()
			if err != nil {
				return err
			}
			full := path.Join(l.at, e.Name())
			if err := l.print(e.Name(), fi.Sys().(*squash.Stat), func() (map[string]string, error) { return l.img.Xattrs(full) }); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// visit lists what WalkFrom finds.
func (l *lister) visit(f *squash.Found) error {
	if f.Path == l.at && f.Mode.IsDir() && !l.f.asJSON {
		return nil // asked for by name
	}
	return l.print(f.Path, &f.Stat, f.Xattrs)
}

func (l *lister) print(p string, s *squash.Stat, xattrs func() (map[string]string, error)) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if l.f.asJSON {
		set, err := xattrs()
		if err == nil {
			l.list = append(l.list, entryOf(p, s, set))
		}
		return err
	}
	if !l.f.long {
		_, err := fmt.Fprintln(l.out, printable(p))
		return err
	}
	size := strconv.FormatInt(s.Size, 10)
	if s.Mode&fs.ModeDevice != 0 {
		size = fmt.Sprintf("%d:%d", s.Major, s.Minor)
	}
	target := ""
	if s.Mode&fs.ModeSymlink != 0 {
		target = " -> " + printable(s.Target)
	}
	_, err := fmt.Fprintf(l.table, "%s\t%d\t%d:%d\t%12s\t%s\t%s%s\n", unixMode(s.Mode), s.Links, s.UID, s.GID, size,
		s.ModTime.UTC().Format("2006-01-02 15:04:05"), printable(p), target)
	return err
}

func entryOf(p string, s *squash.Stat, xattrs map[string]string) lsEntry {
	e := lsEntry{Path: p, Type: typeName(s.Mode), Mode: fmt.Sprintf("%04o", permissionBits(s.Mode)), UID: s.UID, GID: s.GID, Links: s.Links,
		Inode: s.Inode, Size: s.Size, Modified: s.ModTime.UTC(), Target: s.Target}
	if !utf8.ValidString(p) {
		e.Bytes = []byte(p)
	}
	if s.Mode&fs.ModeDevice != 0 {
		e.Device = fmt.Sprintf("%d:%d", s.Major, s.Minor)
	}
	for k, v := range xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[k] = []byte(v)
	}
	return e
}

// printable is a path as it is printed: one with control characters in it, which could steer a terminal, or that is not
// UTF-8, is quoted as in Go.
func printable(p string) string {
	for _, r := range p {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return strconv.Quote(p)
		}
	}
	return p
}

// permissionBits are the twelve bits of a mode that chmod sets.
func permissionBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

func typeName(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeDir:
		return "folder"
	case fs.ModeSymlink:
		return "symlink"
	case fs.ModeDevice:
		return "block"
	case fs.ModeDevice | fs.ModeCharDevice:
		return "char"
	case fs.ModeNamedPipe:
		return "fifo"
	case fs.ModeSocket:
		return "socket"
	}
	return "file"
}

// unixMode is a mode as ls -l prints it.
func unixMode(m fs.FileMode) string {
	text := []byte(map[string]string{"folder": "d", "symlink": "l", "block": "b", "char": "c", "fifo": "p", "socket": "s", "file": "-"}[typeName(m)])
	text = append(text, m.Perm().String()[1:]...)
	for _, special := range []struct {
		flag     fs.FileMode
		at       int
		set, not byte // with the execute bit, and without
	}{{fs.ModeSetuid, 3, 's', 'S'}, {fs.ModeSetgid, 6, 's', 'S'}, {fs.ModeSticky, 9, 't', 'T'}} {
		if m&special.flag == 0 {
			continue
		}
		if text[special.at] == 'x' {
			text[special.at] = special.set
		} else {
			text[special.at] = special.not
		}
	}
	return string(text)
}
