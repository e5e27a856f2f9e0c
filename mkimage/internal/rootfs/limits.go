package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrLimit is in the errors about an image beyond Options.Limits.
	ErrLimit = errors.New("beyond the limit")
	// ErrStrict is in the errors that would be warnings without Options.Strict.
	ErrStrict = errors.New("refused by strict mode")
)

const (
	maxName   = 255  // bytes of a file name, Linux and squashfs
	maxTarget = 4095 // bytes of a symbolic link, Linux
)

// Limits bound what an image may unpack to.
type Limits struct {
	// Entries is how many entries all layers may have together, with the folders that they imply.
	Entries int
	// Bytes is how long all file bodies of all layers may be together, holes included.
	Bytes int64
	// Depth is how many elements a path may have.
	Depth int
	// Hops is how many symbolic links one path may go through.
	Hops int
	// Meta is how many bytes names, link targets and extended attributes of all layers may have together: they are in memory.
	Meta int64
}

// DefaultLimits are far above every real image and far below what would harm the machine.
func DefaultLimits() Limits {
	return Limits{Entries: 2_000_000, Bytes: 64 << 30, Depth: 1024, Hops: maxHops, Meta: 512 << 20}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	if l.Bytes <= 0 {
		l.Bytes = d.Bytes
	}
	if l.Depth <= 0 {
		l.Depth = d.Depth
	}
	if l.Hops <= 0 {
		l.Hops = d.Hops
	}
	if l.Meta <= 0 {
		l.Meta = d.Meta
	}
	return l
}

// path checks a clean name.
func (l *Limits) path(name string) error {
	if n := strings.Count(name, "/") + 1; n > l.Depth {
		return fmt.Errorf("%w: the path is %d elements deep, want %d at most", ErrLimit, n, l.Depth)
	}
	for elem := range strings.SplitSeq(name, "/") {
		if len(elem) > maxName {
			return fmt.Errorf("%w: a name of %d bytes, want %d at most", ErrLimit, len(elem), maxName)
		}
	}
	return nil
}

// usage adds up what the layers have taken of the limits.
type usage struct {
	entries int
	bytes   int64
	meta    int64
}

func (u *usage) entry(l *Limits, h *tar.Header) error {
	if err := u.add(l, 1); err != nil {
		return err
	}
	u.meta += int64(len(h.Name) + len(h.Linkname))
	for k, v := range h.PAXRecords {
		u.meta += int64(len(k) + len(v))
	}
	if u.meta > l.Meta {
		return fmt.Errorf("%w: more than %d bytes of names and attributes", ErrLimit, l.Meta)
	}
	return nil
}

// add counts n entries.
func (u *usage) add(l *Limits, n int) error {
	if u.entries += n; u.entries > l.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, l.Entries)
	}
	return nil
}

// warning is a kind of warning.
type warning int

const (
	warnClimb   warning = iota // a name with ".." beyond the root
	warnThrough                // a file through a symbolic link of a lower layer
	warnMerge                  // a folder over a symbolic link to a folder
	warnTwice                  // two entries for one name
	warnCross                  // a hard link to a lower layer
	warnBare                   // a whiteout of nothing
	warnSame                   // a whiteout of the same layer
	warnTail                   // bytes after the end, or no end
	warnXattr                  // an attribute that cannot be read
)

// maxTold is how many warnings of a kind are told one by one.
const maxTold = 5

func (f *flattener) warn(kind warning, format string, args ...any) error {
	if f.opt.Strict {
		return fmt.Errorf("%w: "+format, append([]any{ErrStrict}, args...)...)
	}
	if f.told[kind]++; f.told[kind] <= maxTold && f.opt.Warn != nil {
		f.opt.Warn(fmt.Sprintf(format, args...))
	}
	return nil
}

// summary tells how many warnings were not told.
func (f *flattener) summary() {
	for kind := warnClimb; kind <= warnXattr; kind++ {
		if n := f.told[kind] - maxTold; n > 0 && f.opt.Warn != nil {
			f.opt.Warn(fmt.Sprintf("%d more warnings like the last about %s", n, kind))
		}
	}
}

func (w warning) String() string {
	return [...]string{"names that climb out", "symbolic links of a lower layer", "folders over symbolic links", "two entries for a name",
		"hard links to a lower layer", "empty whiteouts", "whiteouts of the same layer", "the end of an archive", "extended attributes"}[w]
}

// show makes a name safe for a terminal and a log: quoted when it is not plain text, and cut.
func show(name string) string {
	const most = 120
	if len(name) > most {
		name = name[:most/2] + "..." + name[len(name)-most/2:]
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return fmt.Sprintf("%q", name)
		}
	}
	return name
}
