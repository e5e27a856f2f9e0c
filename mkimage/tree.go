package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/disk"
	"github.com/slotboot/slotboot/mkimage/internal/rootfs"
	"github.com/slotboot/slotboot/mkimage/internal/source"
	"github.com/slotboot/slotboot/squash"
)

// bootImages are the kernels in a root. A slot set has its own copy beside the root, and nothing on the device reads
// another; the modules stay.
var bootImages = []string{
	"/boot/vmlinu*", "/boot/System.map*", "/boot/Image*", "/boot/bzImage*", "/vmlinuz", "/vmlinuz.old",
	"/usr/lib/modules/*/vmlinuz", "/usr/lib/modules/*/vmlinux", "/usr/lib/modules/*/Image",
	"/lib/modules/*/vmlinuz", "/lib/modules/*/vmlinux", "/lib/modules/*/Image",
	"/usr/lib/modules/*/*.efi", "/lib/modules/*/*.efi", "/boot/EFI/Linux/*.efi", "/efi/EFI/Linux/*.efi", "/boot/efi/EFI/Linux/*.efi",
}

// openTree reads the image that ref names and flattens it. Close both.
//
// Folders without an entry get the image's own time, or 1970 if it has none; never a time from outside, so that
// rebuild-check, which builds with the time in the manifest, makes the same root.
func (a *app) openTree(ctx context.Context, ref string, f *imageFlags) (*source.Image, *rootfs.Tree, error) {
	m := a.meter("read", 0)
	defer m.Done()
	img, err := source.Open(ctx, ref, source.Options{
		Platform: f.platform, Stdin: a.in, MaxBytes: f.limits.Bytes, Progress: m.Set, Warn: a.warn, Insecure: f.insecure,
	})
	if err != nil {
		return nil, nil, err
	}
	var epoch time.Time
	if img.Config.Created.Unix() > 0 {
		epoch = img.Config.Created
	}
	tree, err := rootfs.Flatten(img.Layers, rootfs.Options{Strict: f.strict, Limits: f.limits, Warn: a.warn, Epoch: epoch})
	if err != nil {
		img.Close()
		return nil, nil, fmt.Errorf("read image %s: %w", ref, err)
	}
	return img, tree, nil
}

// clean removes what a booted system has no use for, and says what.
func (a *app) clean(t *rootfs.Tree, f *imageFlags) error {
	opt := rootfs.CleanOptions{KeepList: f.noClean, Exclude: slices.Clone(f.exclude), Include: f.include}
	if !f.noClean {
		opt.Exclude = append(opt.Exclude, bootImages...)
	}
	removed, err := rootfs.Clean(t, opt)
	if err != nil {
		return usageError{err}
	}
	var sum int64
	var count int
	for _, r := range removed {
		asked := slices.Contains(f.exclude, r.Pattern)
		if slices.Contains(bootImages, r.Pattern) && !asked {
			r.Why = "kernel: the slot set has its own"
		}
		if asked || r.Bytes > 0 { // links and empty folders are no news
			a.say("clean   %-36s %9s  %s", r.Pattern, screen.Size(r.Bytes), r.Why)
		}
		sum += r.Bytes
		count += r.Entries
	}
	if count > 0 {
		a.say("clean   %d entries, %s in all (--no-clean keeps them)", count, screen.Size(sum))
	}
	for _, pattern := range f.exclude {
		if !slices.ContainsFunc(removed, func(r rootfs.Removed) bool { return r.Pattern == pattern }) {
			a.warn("--exclude " + pattern + " leaves nothing out")
		}
	}
	return nil
}

// prepare makes a root that boots from a read-only image: where the kernel's file systems are mounted, and no machine id
// that all devices would share. systemd takes an empty /etc/machine-id for one to make up at each boot; without the file
// it would take each boot for the first.
func prepare(t *rootfs.Tree, epoch time.Time) error {
	for _, dir := range []struct {
		path string
		mode fs.FileMode
	}{{"dev", 0o755}, {"proc", 0o555}, {"sys", 0o555}, {"run", 0o755}, {"tmp", 0o777 | fs.ModeSticky}} {
		if _, err := t.LookupNoFollow(dir.path); errors.Is(err, fs.ErrNotExist) {
			if err := t.Put(dir.path, rootfs.Node{Mode: fs.ModeDir | dir.mode, ModTime: epoch}, nil); err != nil {
				return err
			}
		}
	}
	const machineID = "etc/machine-id"
	_, systemd := t.Lookup("usr/lib/systemd/systemd")
	if systemd != nil {
		_, systemd = t.Lookup("lib/systemd/systemd")
	}
	n, err := t.LookupNoFollow(machineID)
	if errors.Is(err, fs.ErrNotExist) && systemd != nil {
		return nil
	}
	if err == nil && (!n.Mode.IsRegular() || n.Size == 0) {
		return nil // a link is the image's own way
	}
	return t.Put(machineID, rootfs.Node{Mode: 0o444, ModTime: epoch}, nil)
}

// initNames are where slotboot's init looks for the image's, when the command line names none.
var initNames = []string{"sbin/init", "etc/init", "bin/init", "bin/sh"}

// checkInitOf warns about a root that nothing can be started from: many container images hold one program and no init.
func (a *app) checkInitOf(t *rootfs.Tree, cmdline string) {
	names := initNames
	for _, arg := range strings.Fields(cmdline) {
		if name, ok := strings.CutPrefix(arg, "init="); ok {
			names = []string{strings.TrimPrefix(name, "/")}
		}
	}
	for _, name := range names {
		if n, err := t.Lookup(name); err == nil && n.Mode.IsRegular() && n.Mode&0o111 != 0 {
			return
		}
	}
	a.warn("the image has no program to start, it will not boot: looked for /" + strings.Join(names, ", /"))
}

// writeSquash writes t to the file at path, which exists.
func (a *app) writeSquash(ctx context.Context, t *rootfs.Tree, path string, opt squash.Options) (squash.Summary, error) {
	var total int64
	if err := t.Walk(func(_ string, n *rootfs.Node, link string) error {
		if link == "" {
			total += n.Size
		}
		return nil
	}); err != nil {
		return squash.Summary{}, err
	}
	var err error
	if opt.Order, err = a.place(t, opt.Order); err != nil {
		return squash.Summary{}, err
	}
	m := a.meter("squash", total)
	defer m.Done()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return squash.Summary{}, fmt.Errorf("write squashfs: %w", err)
	}
	sum, err := a.squashTo(ctx, t, disk.Nameless{File: f}, opt, m)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return sum, fmt.Errorf("write squashfs: %w", err)
	}
	return sum, nil
}

func (a *app) squashTo(ctx context.Context, t *rootfs.Tree, w io.WriterAt, opt squash.Options, m *screen.Meter) (squash.Summary, error) {
	sq, err := squash.NewWriter(w, opt)
	if err != nil {
		return squash.Summary{}, err
	}
	var lost lostXattrs
	err = t.Walk(func(path string, n *rootfs.Node, linkTo string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.Mode&fs.ModeSocket != 0 {
			return nil
		}
		return sq.Add(squash.Entry{
			Path: path, Mode: n.Mode, UID: n.UID, GID: n.GID, ModTime: n.ModTime, Target: n.Target, HardlinkTo: linkTo,
			Major: n.Major, Minor: n.Minor, Xattrs: lost.storable(path, n.Xattrs), Size: n.Size,
			Open: func() (io.ReadCloser, error) {
				body, err := t.Open(n)
				if err != nil {
					return nil, err
				}
				return struct {
					io.Reader
					io.Closer
				}{io.TeeReader(body, m), body}, nil
			},
		})
	})
	sum, cerr := sq.Close()
	if err == nil {
		err = cerr
	}
	if err == nil && lost.paths > 0 {
		a.warn(lost.String())
	}
	return sum, err
}

// lostXattrs are the attributes that squashfs cannot hold: above all ACLs, which systemd sets on its journal.
type lostXattrs struct {
	names map[string]bool
	first string // path
	paths int
}

func (l *lostXattrs) String() string {
	what := strings.Join(slices.Sorted(maps.Keys(l.names)), ", ")
	if !slices.ContainsFunc(slices.Collect(maps.Keys(l.names)), func(n string) bool { return !strings.HasPrefix(n, "system.posix_acl_") }) {
		what = "ACLs"
	}
	where := l.first
	if l.paths > 1 {
		where = fmt.Sprintf("%s and %d more", l.first, l.paths-1)
	}
	return "squashfs cannot hold " + what + ": left out of " + where
}

// storable returns the attributes of path that squashfs can hold, and notes the others.
func (l *lostXattrs) storable(path string, all map[string]string) map[string]string {
	var kept map[string]string
	for name := range all {
		if strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "security.") {
			continue
		}
		if kept == nil {
			kept = maps.Clone(all)
			if l.paths++; l.paths == 1 {
				l.first, l.names = path, map[string]bool{}
			}
		}
		delete(kept, name)
		l.names[name] = true
	}
	if kept == nil {
		return all
	}
	return kept
}
