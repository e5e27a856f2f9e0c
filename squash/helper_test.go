package squash_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slotboot/slotboot/squash"
	"golang.org/x/sys/unix"
)

// buffer is an image in memory: an io.WriterAt and io.ReaderAt.
type buffer struct{ b []byte }

func (m *buffer) WriteAt(p []byte, off int64) (int, error) {
	if need := off + int64(len(p)); need > int64(len(m.b)) {
		if need > int64(cap(m.b)) {
			m.b = append(make([]byte, 0, 2*need), m.b...)
		}
		m.b = m.b[:need]
	}
	return copy(m.b[off:], p), nil
}

func (m *buffer) Truncate(size int64) error {
	m.b = m.b[:size]
	return nil
}

func (m *buffer) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, off) }

// build writes the entries into memory.
func build(t testing.TB, o squash.Options, entries []squash.Entry) []byte {
	t.Helper()
	var m buffer
	if _, err := write(&m, o, entries); err != nil {
		t.Fatal(err)
	}
	return m.b
}

func write(w io.WriterAt, o squash.Options, entries []squash.Entry) (squash.Summary, error) {
	sw, err := squash.NewWriter(w, o)
	if err != nil {
		return squash.Summary{}, err
	}
	for _, e := range entries {
		if err := sw.Add(e); err != nil {
			_, _ = sw.Close()
			return squash.Summary{}, err
		}
	}
	return sw.Close()
}

// buildFile writes the entries into a file of the test's folder.
func buildFile(t testing.TB, o squash.Options, entries []squash.Entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.squashfs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum, err := write(f, o, entries)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := f.Stat(); err != nil || fi.Size() != sum.Size || sum.Size%4096 != 0 {
		t.Fatalf("image of %d bytes (%v), want Summary.Size = %d, a multiple of 4096", fi.Size(), err, sum.Size)
	}
	return path
}

// body makes the fields Size and Open of an entry.
func body(e squash.Entry, content []byte) squash.Entry {
	e.Size = int64(len(content))
	e.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	return e
}

// folderEntries lists a folder of the host, with everything that Linux tells about it.
func folderEntries(t testing.TB, root string) []squash.Entry {
	t.Helper()
	var list []squash.Entry
	links := map[[2]uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		e, err := hostEntry(path, rel)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if key := [2]uint64{st.Dev, st.Ino}; st.Nlink > 1 && !e.Mode.IsDir() {
			if first, ok := links[key]; ok {
				e = squash.Entry{Path: rel, HardlinkTo: first}
			} else {
				links[key] = rel
			}
		}
		list = append(list, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func hostEntry(path, rel string) (squash.Entry, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return squash.Entry{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	e := squash.Entry{Path: rel, Mode: fi.Mode(), UID: st.Uid, GID: st.Gid, ModTime: fi.ModTime(), Xattrs: hostXattrs(path)}
	switch {
	case fi.Mode().IsRegular():
		e.Size = fi.Size()
		e.Open = func() (io.ReadCloser, error) { return os.Open(path) }
	case fi.Mode()&fs.ModeSymlink != 0:
		e.Target, err = os.Readlink(path)
	case fi.Mode()&fs.ModeDevice != 0:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return e, err
}

// hostXattrs reads the xattrs that squashfs can hold.
func hostXattrs(path string) map[string]string {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil || n == 0 {
		return nil
	}
	set := map[string]string{}
	for _, name := range strings.Split(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if n, err := unix.Lgetxattr(path, name, value); err == nil && !strings.HasPrefix(name, "system.") {
			set[name] = string(value[:n])
		}
	}
	return set
}
