package squash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"time"
)

// Entry is one path of the tree that a Writer is given.
type Entry struct {
	// Path is relative to the root of the image, with slashes, without "." and ".." and without a slash at either end:
	// "usr/bin/env". "." is the root folder; without it the root is 0755, owned by 0:0. Any bytes but NUL and slash are
	// fine in a name of up to 255 bytes.
	Path string
	// Mode holds the type (fs.ModeDir, fs.ModeSymlink, ...), the permissions, and setuid, setgid and sticky.
	Mode     fs.FileMode
	UID, GID uint32
	// ModTime is stored in whole seconds; times before 1970 become 1970 and those after 2106 become that.
	ModTime time.Time
	// Target is where a symlink points, 1 to 4095 bytes.
	Target string
	// HardlinkTo makes Path another name of the earlier entry with this path, which is not a folder. Everything else but
	// Path is ignored then.
	HardlinkTo string
	// Major and Minor number a device: 12 and 20 bits.
	Major, Minor uint32
	// Xattrs are keyed by their full names: user.*, trusted.* or security.*. The format has no others.
	Xattrs map[string]string
	// Size is the length of a regular file, and Open returns its body: exactly that many bytes. Open is called once,
	// during Add, or during Close when Options.Order is set. It is not called for an empty file.
	Size int64
	Open func() (io.ReadCloser, error)
}

// ErrXattr is in the error of an entry with an xattr that squashfs cannot hold, such as system.posix_acl_access, so
// that a caller can leave it out.
var ErrXattr = errors.New("xattr not in user.*, trusted.* or security.*")

// checkPath accepts "." and clean relative paths.
func checkPath(p string) error {
	if p == "." {
		return nil
	}
	for elem := range strings.SplitSeq(p, "/") {
		switch {
		case elem == "" || elem == "." || elem == "..":
			return fmt.Errorf("want a clean relative path, without empty, . and .. elements")
		case len(elem) > writeNameMax:
			return fmt.Errorf("name of %d bytes, at most %d", len(elem), writeNameMax)
		case strings.IndexByte(elem, 0) >= 0:
			return fmt.Errorf("name with a NUL byte")
		}
	}
	return nil
}

// check tells what is wrong with an entry by itself. kind is its inode type.
func (e *Entry) check(kind uint16) error {
	switch kind {
	case typeSymlink:
		if e.Target == "" || len(e.Target) > writeTargetMax || strings.IndexByte(e.Target, 0) >= 0 {
			return fmt.Errorf("symlink target of %d bytes, want 1 to %d and no NUL", len(e.Target), writeTargetMax)
		}
	case typeFile:
		if e.Size < 0 {
			return fmt.Errorf("size %d is negative", e.Size)
		}
		if e.Size > 0 && e.Open == nil {
			return fmt.Errorf("%d bytes and no Open", e.Size)
		}
	}
	return nil
}

// seconds is a time as squashfs stores it.
func seconds(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}
