package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	dirTail         = 12 // the checksum at the end of a folder's block, dressed as an empty entry
	inlineExtents   = 4
	extentEntry     = 12
	extentsPerBlock = (blockSize - extentEntry - 4) / extentEntry
)

// node is a file or folder with an inode.
type node struct {
	path     string
	name     string
	mode     fs.FileMode
	size     int64
	open     func() (io.ReadCloser, error)
	parent   *node
	children []*node
	ino      uint32
	extents  []run
	leaves   run // blocks of extents, when they do not fit in the inode
}

func (n *node) blocks() int64 { return (n.size + blockSize - 1) / blockSize }

// links counts the folder's own '.', the '..' of its children and its name.
func (n *node) links() uint16 {
	if !n.mode.IsDir() {
		return 1
	}
	links := uint16(2)
	for _, c := range n.children {
		if c.mode.IsDir() {
			links++
		}
	}
	return links
}

// buildTree makes the nodes and numbers them: lost+found first, because its number is fixed, then as listed.
func (v *volume) buildTree(files []File) error {
	v.root = &node{path: "/", mode: fs.ModeDir | 0o755, ino: rootInode}
	v.root.parent = v.root
	v.nodes = []*node{v.root}
	v.inodes = firstInode - 1
	found := v.child(v.root, "lost+found", fs.ModeDir|0o700)
	for _, f := range files {
		if err := v.addFile(f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if v.inodes > groupInodes {
		return fmt.Errorf("%d files, want at most %d", v.inodes-firstInode, groupInodes-firstInode)
	}
	for _, n := range v.nodes {
		if n.mode.IsDir() {
			n.size = int64(len(v.dirBlocks(n)))
		}
	}
	// e2fsck puts lost files there without having to find free blocks first.
	found.size = 4 * blockSize
	return nil
}

func (v *volume) addFile(f File) error {
	if f.Path == "" || path.Clean("/" + f.Path)[1:] != f.Path {
		return errors.New("not a clean relative path")
	}
	if f.Mode&^(fs.ModeDir|fs.ModePerm) != 0 || f.Size < 0 || f.Mode.IsDir() && f.Size != 0 {
		return fmt.Errorf("mode %v, size %d: want a plain file or a folder", f.Mode, f.Size)
	}
	if f.Size > 0 && f.Open == nil {
		return errors.New("no way to open it")
	}
	at := v.root
	parts := strings.Split(f.Path, "/")
	for i, name := range parts {
		if len(name) > 255 {
			return fmt.Errorf("name of %d bytes, want at most 255", len(name))
		}
		last := i == len(parts)-1
		next := at.lookup(name)
		switch {
		case next == nil && last:
			next = v.child(at, name, f.Mode)
			next.size, next.open = f.Size, f.Open
		case next == nil:
			next = v.child(at, name, fs.ModeDir|0o755)
		case last || !next.mode.IsDir():
			return errors.New("name is taken")
		}
		at = next
	}
	return nil
}

func (n *node) lookup(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (v *volume) child(parent *node, name string, mode fs.FileMode) *node {
	v.inodes++
	n := &node{path: path.Join(parent.path, name), name: name, mode: mode, parent: parent, ino: v.inodes}
	parent.children = append(parent.children, n)
	v.nodes = append(v.nodes, n)
	return n
}

// dirBlocks returns the contents of folder n: a list without an index, which every reader accepts.
func (v *volume) dirBlocks(n *node) []byte {
	var out []byte
	block := make([]byte, 0, blockSize)
	last := 0
	// The last entry of a block reaches to its end, and the checksum covers what is before it.
	closeBlock := func() {
		used := len(block)
		block = block[:blockSize]
		clear(block[used:])
		le := binary.LittleEndian
		if used > 0 {
			le.PutUint16(block[last+4:], uint16(blockSize-dirTail-last))
		} else {
			le.PutUint16(block[4:], blockSize-dirTail)
		}
		tail := block[blockSize-dirTail:]
		le.PutUint16(tail[4:], dirTail)
		tail[7] = 0xde
		le.PutUint32(tail[8:], v.inodeChecksum(n.ino, block[:blockSize-dirTail]))
		out = append(out, block...)
		block, last = block[:0], 0
	}
	add := func(ino uint32, name string, dir bool) {
		length := (8 + len(name) + 3) / 4 * 4
		if len(block)+length > blockSize-dirTail {
			closeBlock()
		}
		last = len(block)
		e := block[last : last+length]
		clear(e)
		binary.LittleEndian.PutUint32(e, ino)
		binary.LittleEndian.PutUint16(e[4:], uint16(length))
		e[6], e[7] = byte(len(name)), 1
		if dir {
			e[7] = 2
		}
		copy(e[8:], name)
		block = block[:last+length]
	}
	add(n.ino, ".", true)
	add(n.parent.ino, "..", true)
	for _, c := range n.children {
		add(c.ino, c.name, c.mode.IsDir())
	}
	closeBlock()
	for int64(len(out)) < n.size {
		closeBlock()
	}
	return out
}

// writeContents writes folders, files and the blocks that say where the parts of a large file are.
func (v *volume) writeContents() error {
	buf := make([]byte, 1<<20)
	for _, n := range v.nodes {
		var err error
		if n.mode.IsDir() {
			err = v.writeBlocks(n.extents, v.dirBlocks(n))
		} else if n.size > 0 {
			err = v.copyFile(n, buf)
		}
		if err == nil && n.leaves.count > 0 {
			err = v.writeBlocks([]run{n.leaves}, v.leafBlocks(n))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n.path, err)
		}
	}
	return nil
}

func (v *volume) writeBlocks(to []run, b []byte) error {
	for _, r := range to {
		if _, err := v.w.WriteAt(b[:r.count*blockSize], r.start*blockSize); err != nil {
			return err
		}
		b = b[r.count*blockSize:]
	}
	return nil
}

// copyFile copies zeros too: a hole would show old data when the image is put on a used disk by a tool that skips holes.
func (v *volume) copyFile(n *node, buf []byte) (err error) {
	r, err := n.open()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	left := n.size
	for _, x := range n.extents {
		at, end := x.start*blockSize, x.end()*blockSize
		for at < end {
			part := buf[:min(int64(len(buf)), end-at)]
			want := min(int64(len(part)), left)
			if got, err := io.ReadFull(r, part[:want]); err != nil {
				return fmt.Errorf("read at byte %d of %d: %w", n.size-left+int64(got), n.size, noEOF(err))
			}
			clear(part[want:])
			if _, err := v.w.WriteAt(part, at); err != nil {
				return err
			}
			at += int64(len(part))
			left -= want
		}
	}
	if got, err := io.ReadFull(r, buf[:1]); got != 0 {
		return fmt.Errorf("longer than the %d bytes expected", n.size)
	} else if err != io.EOF {
		return err
	}
	return nil
}

// noEOF keeps a short file from looking like the end of something that went well.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
