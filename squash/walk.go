package squash

import (
	"fmt"
	"io"
	"path"
)

// Found is a path of an image, as Walk finds it.
type Found struct {
	Path string // "." for the root
	Stat
	m *Image
	n *inode
}

// Xattrs reads the xattrs.
func (f *Found) Xattrs() (map[string]string, error) { return f.m.xattrSet(f.n.xattr) }

// Open returns the content of a regular file.
func (f *Found) Open() *File {
	c := f.m.content(f.n)
	return &File{io.NewSectionReader(c, 0, f.n.Size), c, &fileInfo{path.Base(f.Path), f.n}}
}

// walkDepth is how deep folders may be in one another: a path of Linux has 4096 bytes.
const walkDepth = 4096

var errDepth = fmt.Errorf("folders more than %d deep", walkDepth)

// Walk calls visit for every path, folders before what is in them and names in ascending order, until it returns an
// error. Walking reads each inode once, in the order of the tables: it is faster than fs.WalkDir.
func (m *Image) Walk(visit func(*Found) error) error { return m.WalkFrom(".", visit) }

// WalkFrom is Walk of name and what is below it. Symlinks on the way to name are followed, name itself is not; the paths
// that visit gets begin with name as it was given. A name that is not there is an fs.ErrNotExist.
func (m *Image) WalkFrom(name string, visit func(*Found) error) error {
	n, err := m.resolve(name, false)
	if err != nil {
		return wrap("walk", name, err)
	}
	w := walker{m: m, visit: visit, left: m.foldersMax()}
	return w.walk(n, name, 0)
}

// foldersMax is how many folders the inode table has room for: 32 bytes each, in blocks that take 3 bytes at least.
func (m *Image) foldersMax() int64 {
	const most = 1 << 40 // far beyond what any table has
	return int64(min(m.sb.dirTable-m.sb.inodeTable, most)) / 3 * (metaSize / 32)
}

type walker struct {
	m     *Image
	visit func(*Found) error
	left  int64 // folders: more are some of them again, which claims cannot tell when there are too many
}

func (w *walker) walk(n *inode, at string, depth int) error {
	m := w.m
	if err := w.visit(&Found{at, n.Stat, m, n}); err != nil || n.kind != typeDir {
		return err
	}
	d, err := m.dir(n)
	if err == nil && depth > walkDepth {
		err = errDepth
	}
	if w.left--; err == nil && w.left < 0 {
		err = fmt.Errorf("more folders than the inode table at offset %d has room for: some have a second name", m.sb.inodeTable)
	}
	if err != nil {
		return fmt.Errorf("walk %s: %w", at, err)
	}
	for {
		e, err := d.next()
		if err == io.EOF {
			return nil
		}
		var c *inode
		if err == nil {
			c, err = m.child(n, e)
		}
		if err != nil {
			return fmt.Errorf("walk %s: %w", at, err)
		}
		if err := w.walk(c, path.Join(at, e.name), depth+1); err != nil {
			return err
		}
	}
}
