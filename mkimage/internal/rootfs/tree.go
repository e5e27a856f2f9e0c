// Package rootfs flattens the layers of a container image to the root file system that a container engine would show.
//
// The result is a Tree in memory whose file bodies lie in one spool file without a name: nothing of the image is ever
// extracted to the host, no privilege is needed, and memory grows with the number of files, not with their size.
// Where engines differ, `umoci unpack` is the reference.
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// maxHops is how many symbolic links a path may go through where no other limit is set, as in Linux.
const maxHops = 40

var (
	// ErrNotExist is in the errors about a path that is not in the tree. It is fs.ErrNotExist.
	ErrNotExist = fs.ErrNotExist
	// ErrNotDir is in the errors about a path that goes on below something that is no folder.
	ErrNotDir = errors.New("not a folder")
	// ErrLoop is in the errors about a path that goes through too many symbolic links.
	ErrLoop = errors.New("too many symbolic links")
)

// Tree is a root file system. Paths are relative to its root, with or without a leading slash; ".." and symbolic links do
// not lead out. Names are bytes, not necessarily UTF-8.
//
// Reading is safe from several goroutines at once; changing is not. Close frees the spool.
type Tree struct {
	root  *inode
	spool *spool
	hops  int
	epoch int64 // time of folders that are made without an entry
}

// Node is what the tree knows about one name. It is a copy: change the tree with Put and Change.
type Node struct {
	// Name is the name in its folder, "." for the root.
	Name string
	// Mode holds the type, the permissions, setuid, setgid and sticky.
	Mode     fs.FileMode
	UID, GID uint32
	ModTime  time.Time
	// Target is where a symbolic link points to, as it was written.
	Target string
	// Major and Minor are the numbers of a device.
	Major, Minor uint32
	// Xattrs are the extended attributes, under their whole names. Do not change the map.
	Xattrs map[string]string
	// Size is the length of a regular file, else 0.
	Size int64
	// Links is how many names the inode has in the tree.
	Links int

	ino *inode
}

// IsDir reports a folder.
func (n *Node) IsDir() bool { return n.Mode.IsDir() }

// IsSymlink reports a symbolic link.
func (n *Node) IsSymlink() bool { return n.Mode&fs.ModeSymlink != 0 }

// SameInode reports two names of one file.
func (n *Node) SameInode(m *Node) bool { return n.ino != nil && n.ino == m.ino }

// inode is a file of any kind, shared by its hard links.
type inode struct {
	mode         fs.FileMode
	uid, gid     uint32
	major, minor uint32
	links        int32
	layer        int32 // of a folder: the last layer that put something into it
	cleared      int32 // of a folder: the last layer that made it opaque
	sec          int64
	nsec         int32
	off, size    int64 // of the body in the spool
	target       string
	xattrs       map[string]string
	parent       *inode // of a folder
	kids         map[string]entry
}

// entry is a name in a folder.
type entry struct {
	*inode
	layer int32 // that gave the name
}

// touched returns the last layer that gave the name or, for a folder, anything below it.
func (e entry) touched() int32 {
	if e.kids != nil {
		return max(e.layer, e.inode.layer)
	}
	return e.layer
}

func (ino *inode) symlink() bool { return ino.mode&fs.ModeSymlink != 0 }

func (ino *inode) node(name string) *Node {
	n := &Node{Name: name, Mode: ino.mode, UID: ino.uid, GID: ino.gid, ModTime: time.Unix(ino.sec, int64(ino.nsec)).UTC(), Target: ino.target,
		Major: ino.major, Minor: ino.minor, Xattrs: ino.xattrs, Links: int(ino.links), ino: ino}
	if ino.mode.IsRegular() {
		n.Size = ino.size
	}
	return n
}

// New returns a tree with an empty root: 0755, owned by root, of time 0. The spool is in dir, see source.TempFile.
func New(dir string) (*Tree, error) {
	s, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	return &Tree{root: newDir(nil, 0), spool: s, hops: maxHops}, nil
}

func newDir(parent *inode, layer int32) *inode {
	return &inode{mode: fs.ModeDir | 0o755, links: 1, layer: layer, parent: parent, kids: map[string]entry{}}
}

// Close frees the bodies. Open fails afterwards; names and attributes stay.
func (t *Tree) Close() error { return t.spool.close() }

// Lookup returns what path names, following symbolic links within the root. ErrNotExist, ErrNotDir, ErrLoop.
func (t *Tree) Lookup(path string) (*Node, error) { return t.lookup(path, true) }

// LookupNoFollow is like Lookup, but if the last element is a symbolic link it returns the link.
func (t *Tree) LookupNoFollow(path string) (*Node, error) { return t.lookup(path, false) }

func (t *Tree) lookup(name string, follow bool) (*Node, error) {
	ino, base, err := t.resolve(name, follow)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	return ino.node(base), nil
}

// ReadDir returns the entries of a folder, sorted by name. The last element of path is followed.
func (t *Tree) ReadDir(path string) ([]*Node, error) {
	n, err := t.Lookup(path)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, fmt.Errorf("read folder %s: %w", path, ErrNotDir)
	}
	list := make([]*Node, 0, len(n.ino.kids))
	for _, name := range n.ino.names() {
		list = append(list, n.ino.kids[name].node(name))
	}
	return list, nil
}

func (ino *inode) names() []string {
	names := make([]string, 0, len(ino.kids))
	for name := range ino.kids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// File is the content of a regular file. It reads in order, at an offset and after a seek; all from the spool.
type File struct{ *io.SectionReader }

// Close does nothing: the spool is the tree's.
func (File) Close() error { return nil }

// Open returns the content of a regular file. Each call gives a File with a position of its own.
func (t *Tree) Open(n *Node) (*File, error) {
	if n.ino == nil || !n.Mode.IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file of the tree", n.Name)
	}
	return &File{t.spool.section(n.ino.off, n.ino.size)}, nil
}

// ReadFile returns the content of the regular file at path, following links; at most limit bytes, beyond that an error.
func (t *Tree) ReadFile(path string, limit int64) ([]byte, error) {
	n, err := t.Lookup(path)
	if err != nil {
		return nil, err
	}
	f, err := t.Open(n)
	if err != nil {
		return nil, err
	}
	if n.Size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, want %d at most", path, n.Size, limit)
	}
	return io.ReadAll(f)
}

// Walk calls fn for every name: the root first, as ".", then sorted by name with folders before their content. hardlinkTo is
// the first path of the same inode, or "". An error of fn ends the walk, but fs.SkipDir for a folder leaves out what is
// below, and fs.SkipAll ends it without an error.
func (t *Tree) Walk(fn func(path string, n *Node, hardlinkTo string) error) error {
	w := walker{fn: fn, first: map[*inode]string{}}
	if err := w.walk(".", ".", t.root); err != nil && !errors.Is(err, fs.SkipAll) && !errors.Is(err, fs.SkipDir) {
		return err
	}
	return nil
}

type walker struct {
	fn    func(string, *Node, string) error
	first map[*inode]string
}

func (w *walker) walk(name, base string, ino *inode) error {
	var linkTo string
	if ino.links > 1 && ino.kids == nil {
		if linkTo = w.first[ino]; linkTo == "" {
			w.first[ino] = name
		}
	}
	if err := w.fn(name, ino.node(base), linkTo); err != nil || ino.kids == nil {
		return err
	}
	for _, child := range ino.names() {
		full := child
		if ino.parent != nil {
			full = name + "/" + child
		}
		kid := ino.kids[child].inode
		if kid == nil {
			continue // removed by fn
		}
		err := w.walk(full, child, kid)
		if errors.Is(err, fs.SkipDir) && kid.kids != nil {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Put adds or replaces what path names. Symbolic links in the folders of path are followed, the last element is not; folders
// that are missing are made, 0755 and owned by root, but with the group of a setgid folder. A folder put over a folder keeps its entries. Name, Size and Links of n
// are ignored; body is read to its end for a regular file and may be nil for an empty one.
func (t *Tree) Put(path string, n Node, body io.Reader) error {
	if err := t.put(path, n, body); err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	return nil
}

func (t *Tree) put(name string, n Node, body io.Reader) error {
	ino := &inode{mode: n.Mode, uid: n.UID, gid: n.GID, major: n.Major, minor: n.Minor, sec: n.ModTime.Unix(), nsec: int32(n.ModTime.Nanosecond()), target: n.Target, xattrs: n.Xattrs, links: 1}
	if n.ModTime.IsZero() {
		ino.sec, ino.nsec = 0, 0
	}
	if n.Mode.IsRegular() && body != nil {
		var err error
		if ino.off, ino.size, err = t.spool.add(body, 1<<62); err != nil {
			return err
		}
		if err := t.spool.flush(); err != nil {
			return err
		}
	}
	if clean(name) == "" {
		if !n.Mode.IsDir() {
			return fmt.Errorf("the root: %w", ErrNotDir)
		}
		t.root.setFrom(ino)
		return nil
	}
	dir, base, err := t.folder(clean(name), 0, func(int, int) error { return nil })
	if err != nil {
		return err
	}
	dir.place(base, ino, 0)
	return nil
}

// Change edits the attributes of what path names, not following a link at the end: mode bits but not the type, owner, time,
// extended attributes. All hard links change with it.
func (t *Tree) Change(path string, edit func(*Node)) error {
	n, err := t.LookupNoFollow(path)
	if err != nil {
		return err
	}
	ino := n.ino
	edit(n)
	if n.Mode.Type() != ino.mode.Type() {
		return fmt.Errorf("change %s: the type is %v, want %v", path, n.Mode.Type(), ino.mode.Type())
	}
	ino.mode, ino.uid, ino.gid, ino.xattrs = n.Mode, n.UID, n.GID, n.Xattrs
	ino.sec, ino.nsec = n.ModTime.Unix(), int32(n.ModTime.Nanosecond())
	return nil
}

// Remove removes what path names and everything below it. A link at the end is not followed. ErrNotExist if there is nothing;
// the root cannot be removed.
func (t *Tree) Remove(path string) error {
	dir, base, err := t.lookParent(clean(path))
	if err == nil && (base == "" || dir.kids[base].inode == nil) {
		err = ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	dir.drop(base)
	return nil
}

// clean makes a name relative to the root: no leading slash, no "." and "..", and "" for the root.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
