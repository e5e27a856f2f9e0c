package main

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/slotboot/slotboot/mkimage/internal/rootfs"
)

// treeFS shows a tree as an fs.FS, with symbolic links followed inside the root.
type treeFS struct{ t *rootfs.Tree }

func (f treeFS) lookup(op, name string) (*rootfs.Node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, err := f.t.Lookup(name)
	if errors.Is(err, rootfs.ErrNotDir) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

func (f treeFS) Open(name string) (fs.File, error) {
	n, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	file := &treeFile{info: treeInfo{n, path.Base(name)}}
	if n.IsDir() {
		file.dir, err = f.ReadDir(name)
	} else {
		file.body, err = f.t.Open(n)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return file, nil
}

func (f treeFS) Stat(name string) (fs.FileInfo, error) {
	n, err := f.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return treeInfo{n, path.Base(name)}, nil
}

func (f treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if _, err := f.lookup("readdir", name); err != nil {
		return nil, err
	}
	nodes, err := f.t.ReadDir(name)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	entries := make([]fs.DirEntry, len(nodes))
	for i, n := range nodes {
		entries[i] = fs.FileInfoToDirEntry(treeInfo{n, n.Name})
	}
	return entries, nil
}

type treeInfo struct {
	*rootfs.Node
	name string
}

func (i treeInfo) Name() string       { return i.name }
func (i treeInfo) Size() int64        { return i.Node.Size }
func (i treeInfo) Mode() fs.FileMode  { return i.Node.Mode }
func (i treeInfo) ModTime() time.Time { return i.Node.ModTime }
func (i treeInfo) Sys() any           { return i.Node }

type treeFile struct {
	info treeInfo
	body *rootfs.File  // of a file
	dir  []fs.DirEntry // of a folder: what was not read yet
}

func (f *treeFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *treeFile) Close() error               { return nil }

func (f *treeFile) Read(p []byte) (int, error) {
	if f.body == nil {
		return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: errors.New("is a folder")}
	}
	return f.body.Read(p)
}

func (f *treeFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		all := f.dir
		f.dir = nil
		return all, nil
	}
	if len(f.dir) == 0 {
		return nil, io.EOF
	}
	some := f.dir[:min(n, len(f.dir))]
	f.dir = f.dir[len(some):]
	return some, nil
}
