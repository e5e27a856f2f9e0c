package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// output is a file or folder in the making: under another name beside its place until it is whole. So whoever looks
// sees all of it or nothing, and a full disk or a Ctrl-C leaves nothing.
type output struct {
	path string
	tmp  string
}

// createOutput starts a folder, or a file if dir is false. Something at path is an error, because it is never replaced.
func createOutput(path string, dir bool) (*output, error) {
	o := &output{path: filepath.Clean(path)}
	if err := o.free(); err != nil {
		return nil, err
	}
	parent, pattern := filepath.Dir(o.path), "."+filepath.Base(o.path)+".*"
	var err error
	if dir {
		if o.tmp, err = os.MkdirTemp(parent, pattern); err == nil {
			err = os.Chmod(o.tmp, 0o755)
		}
	} else {
		var f *os.File
		if f, err = os.CreateTemp(parent, pattern); err == nil {
			o.tmp = f.Name()
			err = errors.Join(f.Chmod(0o644), f.Close())
		}
	}
	if err != nil {
		o.discard()
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			err = p.Err // its path is the temporary name, which means nothing to anybody
		}
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return o, nil
}

// free makes sure that there is nothing at the path yet, and a folder to put it into.
func (o *output) free() error {
	_, err := os.Lstat(o.path)
	if err == nil {
		return withHint(fmt.Errorf("create %s: %w", o.path, fs.ErrExist), "it is left as it was; remove it first, or choose another name")
	}
	parent := filepath.Dir(o.path)
	fi, perr := os.Stat(parent)
	switch {
	case errors.Is(perr, fs.ErrNotExist):
		return fmt.Errorf("create %s: there is no folder %s", o.path, parent)
	case perr == nil && !fi.IsDir():
		return fmt.Errorf("create %s: %s is not a folder", o.path, parent)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("create %s: %w", o.path, err)
	}
	return nil
}

// commit gives the output its name. It does not replace what has come to be there in the meantime.
func (o *output) commit() error {
	err := unix.Renameat2(unix.AT_FDCWD, o.tmp, unix.AT_FDCWD, o.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system that cannot promise it, such as NFS.
		if err = o.free(); err == nil {
			err = os.Rename(o.tmp, o.path)
		}
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", o.path, err)
	}
	o.tmp = ""
	return nil
}

// discard removes what was not committed. After commit it does nothing.
func (o *output) discard() {
	if o.tmp != "" {
		os.RemoveAll(o.tmp)
	}
}
