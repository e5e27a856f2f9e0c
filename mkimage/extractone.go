package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/slotboot/slotboot/squash"
	"golang.org/x/sys/unix"
)

// enter makes a folder and goes on in it. Nobody else can look into it before it has its mode.
func (e *extractor) enter(dir *os.File, base string, f *squash.Found) error {
	if err := unix.Mkdirat(int(dir.Fd()), base, 0o700); err != nil {
		return err
	}
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	e.dirs = append(e.dirs, &openDir{f.Path, os.NewFile(uintptr(fd), base), f})
	return nil
}

// regular makes a file. What is a hole in the image becomes one.
func (e *extractor) regular(dir *os.File, base string, f *squash.Found, body io.Reader) error {
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), base)
	w := &holeWriter{e: e, f: out}
	_, err = io.Copy(w, body)
	if err == nil && w.hole {
		err = out.Truncate(w.at)
	}
	if err == nil {
		err = e.dress(out, f)
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// holeWriter writes a file front to back and leaves holes out.
type holeWriter struct {
	e  *extractor
	f  *os.File
	at int64
	// hole says that the file ends with one so far.
	hole bool
}

func (w *holeWriter) Write(p []byte) (int, error) {
	if err := w.e.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.f.WriteAt(p, w.at)
	w.at, w.hole = w.at+int64(n), false
	w.e.bytes += int64(n)
	w.e.meter.Write(p[:n])
	return n, err
}

// Hole is called by the reader of squash for blocks that are not stored.
func (w *holeWriter) Hole(size int) error {
	w.at, w.hole = w.at+int64(size), true
	w.e.bytes += int64(size)
	return w.e.ctx.Err()
}

// special makes what is neither a file nor a folder, and tells whether it did.
func (e *extractor) special(dir *os.File, base string, f *squash.Found) (bool, error) {
	var err error
	fd := int(dir.Fd())
	switch f.Mode.Type() {
	case fs.ModeSymlink:
		err = unix.Symlinkat(f.Target, fd, base)
	case fs.ModeNamedPipe:
		err = unix.Mknodat(fd, base, unix.S_IFIFO|0o600, 0)
	case fs.ModeSocket:
		err = unix.Mknodat(fd, base, unix.S_IFSOCK|0o600, 0)
	default:
		kind := uint32(unix.S_IFBLK)
		if f.Mode&fs.ModeCharDevice != 0 {
			kind = unix.S_IFCHR
		}
		err = unix.Mknodat(fd, base, kind|0o600, int(unix.Mkdev(f.Major, f.Minor)))
	}
	if errors.Is(err, unix.EPERM) && f.Mode&fs.ModeSymlink == 0 {
		e.lost.note("not made: "+typeName(f.Mode)+" devices", f.Path)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// There is no descriptor of such a thing that can be changed through: it is named in its folder, never followed.
	own := unix.Fchownat(fd, base, int(f.UID), int(f.GID), unix.AT_SYMLINK_NOFOLLOW)
	kept, err := e.owned(own, f)
	if err != nil {
		return true, err
	}
	named := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + base
	if err := e.attributes(f, func(key string, value []byte) error { return unix.Lsetxattr(named, key, value, 0) }); err != nil {
		return true, err
	}
	if f.Mode&fs.ModeSymlink == 0 {
		if err := unix.Fchmodat(fd, base, e.mode(f, kept), 0); err != nil {
			return true, err
		}
	}
	return true, unix.UtimesNanoAt(fd, base, times(f), unix.AT_SYMLINK_NOFOLLOW)
}

// dress gives an open file or folder its owner, attributes, mode and time, in this order: a new owner takes setuid and
// capabilities away, and a mode may forbid to set attributes.
func (e *extractor) dress(out *os.File, f *squash.Found) error {
	fd := int(out.Fd())
	kept, err := e.owned(unix.Fchown(fd, int(f.UID), int(f.GID)), f)
	if err != nil {
		return err
	}
	if err := e.attributes(f, func(key string, value []byte) error { return unix.Fsetxattr(fd, key, value, 0) }); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, e.mode(f, kept)); err != nil {
		return err
	}
	t := times(f)
	return unix.Futimes(fd, []unix.Timeval{unix.NsecToTimeval(t[0].Nano()), unix.NsecToTimeval(t[1].Nano())})
}

func times(f *squash.Found) []unix.Timespec {
	t := unix.NsecToTimespec(f.ModTime.UnixNano())
	return []unix.Timespec{t, t}
}

// owned looks at the result of changing the owner: without root, and with an owner that a user namespace does not
// have, what was made stays its maker's.
func (e *extractor) owned(err error, f *squash.Found) (bool, error) {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		e.lost.note("owner not set", f.Path)
		return false, nil
	}
	return err == nil, err
}

// mode is the mode to set. Setuid of another user's program would give away the rights of who extracts it.
func (e *extractor) mode(f *squash.Found, owned bool) uint32 {
	bits := permissionBits(f.Mode)
	if !owned && bits&0o6000 != 0 && !f.Mode.IsDir() {
		bits &^= 0o6000
		e.lost.note("setuid and setgid not set", f.Path)
	}
	return bits
}

// attributes sets the xattrs that this machine and user allow.
func (e *extractor) attributes(f *squash.Found, set func(key string, value []byte) error) error {
	all, err := f.Xattrs()
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		switch err := set(key, []byte(all[key])); {
		case err == nil:
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL),
			errors.Is(err, unix.ENOENT), errors.Is(err, unix.E2BIG):
			e.lost.note("attribute "+printable(key)+" not set", f.Path)
		default:
			return fmt.Errorf("set attribute %s: %w", printable(key), err)
		}
	}
	return nil
}

// losses counts what could not be set, by kind, with the first path of each.
type losses struct {
	order []string
	count map[string]int
	first map[string]string
}

// lossesMax bounds the kinds that are told apart: the names of attributes are the image's.
const lossesMax = 32

func (l *losses) note(what, path string) {
	if l.count == nil {
		l.count, l.first = map[string]int{}, map[string]string{}
	}
	if l.count[what] == 0 && len(l.order) >= lossesMax {
		what = "other attributes not set"
	}
	if l.count[what] == 0 {
		l.order = append(l.order, what)
		l.first[what] = path
	}
	l.count[what]++
}

// texts are the warnings.
func (l *losses) texts() []string {
	var out []string
	slices.Sort(l.order)
	for _, what := range l.order {
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s: %s", what, printable(l.first[what]))
		if n := l.count[what] - 1; n > 0 {
			fmt.Fprintf(&b, " and %d more", n)
		}
		out = append(out, b.String())
	}
	return out
}
