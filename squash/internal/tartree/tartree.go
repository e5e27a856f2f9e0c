// Package tartree reads a tar file as the entries of a squash.Writer, for tests and measurements.
package tartree

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/slotboot/slotboot/squash"
)

// Tree is an open tar file.
type Tree struct {
	Entries []squash.Entry // sorted, folders before what is in them
	f       *os.File
}

// Open lists the tar file. It holds each path once; missing folders are made. Bodies are read from the file when
// they are needed, so it stays open.
func Open(file string) (*Tree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	t := &Tree{f: f}
	if err := t.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("read tar %s: %w", file, err)
	}
	return t, nil
}

// Close closes the file.
func (t *Tree) Close() error { return t.f.Close() }

func (t *Tree) read() error {
	byPath := map[string]squash.Entry{}
	tr := tar.NewReader(t.f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		e, err := t.entry(h)
		if err != nil {
			return err
		}
		byPath[e.Path] = e
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if _, ok := byPath[dir]; !ok {
				byPath[dir] = squash.Entry{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	for _, e := range byPath {
		t.Entries = append(t.Entries, e)
	}
	sort.Slice(t.Entries, func(i, j int) bool { return less(t.Entries[i].Path, t.Entries[j].Path) })
	return t.turnLinks()
}

// less is the order of a walk through sorted folders.
func less(a, b string) bool {
	if a == "." || b == "." {
		return a == "." && b != "."
	}
	return strings.ReplaceAll(a, "/", "\x00") < strings.ReplaceAll(b, "/", "\x00")
}

// turnLinks makes the first name of a hard link group, in the order of the list, the one with the content.
func (t *Tree) turnLinks() error {
	place := map[string]int{}
	for i, e := range t.Entries {
		place[e.Path] = i
	}
	for i, e := range t.Entries {
		if e.HardlinkTo == "" {
			continue
		}
		j, ok := place[e.HardlinkTo]
		if !ok {
			return fmt.Errorf("%s is a hard link to %s, which is not there", e.Path, e.HardlinkTo)
		}
		for t.Entries[j].HardlinkTo != "" {
			j = place[t.Entries[j].HardlinkTo]
		}
		if j > i {
			whole := t.Entries[j]
			t.Entries[j] = squash.Entry{Path: whole.Path, HardlinkTo: e.Path}
			whole.Path = e.Path
			t.Entries[i] = whole
		} else {
			t.Entries[i].HardlinkTo = t.Entries[j].Path
		}
	}
	return nil
}

func (t *Tree) entry(h *tar.Header) (squash.Entry, error) {
	e := squash.Entry{Path: clean(h.Name), Mode: h.FileInfo().Mode(), UID: uint32(h.Uid), GID: uint32(h.Gid), ModTime: h.ModTime,
		Major: uint32(h.Devmajor), Minor: uint32(h.Devminor)}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[name] = v
		}
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return squash.Entry{Path: e.Path, HardlinkTo: clean(h.Linkname)}, nil
	case tar.TypeSymlink:
		e.Target = h.Linkname
	case tar.TypeReg:
		at, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return e, err
		}
		e.Size = h.Size
		e.Open = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(t.f, at, h.Size)), nil }
	}
	return e, nil
}

func clean(name string) string {
	return path.Clean(strings.TrimLeft(strings.TrimPrefix(name, "./"), "/"))
}
