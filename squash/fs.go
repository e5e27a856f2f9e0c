package squash

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"
)

var (
	_ fs.ReadDirFS  = (*Image)(nil)
	_ fs.StatFS     = (*Image)(nil)
	_ fs.ReadLinkFS = (*Image)(nil)
)

// linksMax is how many symlinks one path may go through, as in Linux.
const linksMax = 40

// errLoop reads "too many levels of symbolic links".
const errLoop = syscall.ELOOP

// cleanName accepts what fs.ValidPath does, and names that are not UTF-8.
func cleanName(name string) bool {
	if name == "." {
		return true
	}
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || elem == "." || elem == ".." {
			return false
		}
	}
	return true
}

// resolve walks to name. Symlinks on the way are followed inside of the image, whose root is "/" to them; the last
// element only with follow.
func (m *Image) resolve(name string, follow bool) (*inode, error) {
	n, _, err := m.locate(name, follow)
	return n, err
}

// locate is resolve that also tells the elements of the path that it took, which are not symlinks but for the last.
func (m *Image) locate(name string, follow bool) (*inode, []string, error) {
	if !cleanName(name) {
		return nil, nil, fs.ErrInvalid
	}
	root, err := m.root()
	if err != nil {
		return nil, nil, err
	}
	stack, names := []*inode{root}, []string{}
	links := 0
	for rest := name; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		switch elem {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				stack, names = stack[:len(names)], names[:len(names)-1]
			}
			continue
		}
		n, err := m.lookup(stack[len(stack)-1], elem)
		if err == errNotFolder {
			err = fs.ErrNotExist
		}
		if err != nil {
			return nil, nil, err
		}
		if len(names) > walkDepth {
			return nil, nil, errDepth
		}
		if n.kind != typeSymlink || rest == "" && !follow {
			stack, names = append(stack, n), append(names, elem)
			continue
		}
		if links++; links > linksMax {
			return nil, nil, errLoop
		}
		if strings.HasPrefix(n.Target, "/") {
			stack, names = stack[:1], names[:0]
		}
		rest = n.Target + "/" + rest
	}
	return stack[len(stack)-1], names, nil
}

// RealPath returns the path of name without symlinks.
func (m *Image) RealPath(name string) (string, error) {
	_, names, err := m.locate(name, true)
	if err != nil {
		return "", wrap("realpath", name, err)
	}
	return path.Join(append([]string{"."}, names...)...), nil
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open opens a file or folder, following symlinks. A file is also an io.ReaderAt, an io.Seeker and an io.WriterTo.
func (m *Image) Open(name string) (fs.File, error) {
	n, err := m.resolve(name, true)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	info := &fileInfo{path.Base(name), n}
	switch n.kind {
	case typeDir:
		d, err := m.dir(n)
		return &openFolder{info: info, d: d, path: name}, wrap("open", name, err)
	case typeFile:
		c := m.content(n)
		return &File{SectionReader: io.NewSectionReader(c, 0, n.Size), c: c, info: info}, nil
	}
	return &File{SectionReader: io.NewSectionReader(strings.NewReader(""), 0, 0), info: info}, nil
}

// Stat implements fs.StatFS: it follows symlinks.
func (m *Image) Stat(name string) (fs.FileInfo, error) { return m.stat("stat", name, true) }

// Lstat implements fs.ReadLinkFS: it does not.
func (m *Image) Lstat(name string) (fs.FileInfo, error) { return m.stat("lstat", name, false) }

func (m *Image) stat(op, name string, follow bool) (fs.FileInfo, error) {
	n, err := m.resolve(name, follow)
	if err != nil {
		return nil, wrap(op, name, err)
	}
	return &fileInfo{path.Base(name), n}, nil
}

// ReadLink returns where the symlink called name points.
func (m *Image) ReadLink(name string) (string, error) {
	n, err := m.resolve(name, false)
	if err == nil && n.kind != typeSymlink {
		err = fs.ErrInvalid
	}
	if err != nil {
		return "", wrap("readlink", name, err)
	}
	return n.Target, nil
}

// Xattrs returns the xattrs of name, by their full names; a symlink's own.
func (m *Image) Xattrs(name string) (map[string]string, error) {
	n, err := m.resolve(name, false)
	if err != nil {
		return nil, wrap("getxattr", name, err)
	}
	set, err := m.xattrSet(n.xattr)
	return set, wrap("getxattr", name, err)
}

// ReadDir implements fs.ReadDirFS.
func (m *Image) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := m.resolve(name, true)
	var d *dirReader
	if err == nil {
		d, err = m.dir(n)
	}
	if err != nil {
		return nil, wrap("readdir", name, err)
	}
	list, err := (&openFolder{d: d, path: name}).ReadDir(-1)
	return list, err
}

// fileInfo is an fs.FileInfo over an inode.
type fileInfo struct {
	name string
	n    *inode
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.n.Size }
func (i *fileInfo) Mode() fs.FileMode  { return i.n.Mode }
func (i *fileInfo) ModTime() time.Time { return i.n.ModTime }
func (i *fileInfo) IsDir() bool        { return i.n.kind == typeDir }
func (i *fileInfo) Sys() any           { return &i.n.Stat }

// name is an fs.DirEntry; its inode is read when asked for.
type name struct {
	m   *Image
	dir *inode
	e   dirEntry
}

func (n *name) Name() string      { return n.e.name }
func (n *name) IsDir() bool       { return n.e.kind == typeDir }
func (n *name) Type() fs.FileMode { return modeOf(n.e.kind, 0) }
func (n *name) String() string    { return fs.FormatDirEntry(n) }

func (n *name) Info() (fs.FileInfo, error) {
	c, err := n.m.child(n.dir, n.e)
	if err != nil {
		return nil, wrap("lstat", n.e.name, err)
	}
	return &fileInfo{n.e.name, c}, nil
}

// openFolder is an open folder.
type openFolder struct {
	info *fileInfo
	d    *dirReader
	path string
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, wrap("read", f.path, errors.New("is a folder"))
}

// ReadDir implements fs.ReadDirFile. With a positive limit a folder of any size takes little memory.
func (f *openFolder) ReadDir(limit int) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	for limit <= 0 || len(list) < limit {
		e, err := f.d.next()
		if err == io.EOF {
			if limit > 0 && len(list) == 0 {
				return nil, io.EOF
			}
			break
		}
		if err != nil {
			return list, wrap("readdir", f.path, err)
		}
		list = append(list, &name{f.d.m, f.d.dir, e})
	}
	return list, nil
}

// File is an open file of an Image that is not a folder. Reading at random places keeps the last blocks in the
// Image's cache.
type File struct {
	*io.SectionReader
	c    *content
	info *fileInfo
}

// Stat implements fs.File.
func (f *File) Stat() (fs.FileInfo, error) { return f.info, nil }

// Close does nothing.
func (f *File) Close() error { return nil }

// WriteTo implements io.WriterTo: it writes the rest of the file, and leaves the cache to others.
func (f *File) WriteTo(w io.Writer) (total int64, err error) {
	if f.c == nil {
		return 0, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	bs := int64(f.c.m.sb.blockSize)
	var room *[]byte // once a block needs it, which tails do not
	for err == nil && at < f.c.n.Size {
		var b, buf []byte
		if at/bs < f.c.blocks {
			if room == nil {
				room = f.c.m.room()
				defer f.c.m.stored.Put(room)
			}
			buf = *room
		}
		if b, err = f.c.block(at/bs, buf, false); err != nil {
			break
		}
		if b == nil {
			b = buf[:f.c.plainSize(at/bs)]
			clear(b)
		}
		var n int
		n, err = w.Write(b[at%bs:])
		at, total = at+int64(n), total+int64(n)
	}
	if _, serr := f.Seek(at, io.SeekStart); err == nil {
		err = serr
	}
	return total, err
}
