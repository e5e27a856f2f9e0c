package squash

import (
	"fmt"
	"sort"
	"strings"
)

// node is one inode of the image being written. A million of them must fit: keep it small.
type node struct {
	kind     uint16 // basic type
	perm     uint16
	uid, gid uint16 // places in the owner table
	mtime    uint32
	number   uint32 // from 1, in the order of the inode table
	links    uint32 // names of it in the tree, for a file
	xattr    uint32
	body     any // *folder, *file, target or device
}

type (
	target string
	device uint32
)

// file is the content of a regular file: blocks and the tail in a fragment.
type file struct {
	size     int64
	run      *run // nil: no blocks
	fragment uint32
	offset   uint32 // in the fragment
}

// run is a row of blocks, shared by the files that hold the same bytes there. The pipeline fills it.
type run struct {
	start uint64
	sizes []uint32 // stored sizes with blockPlain; 0 is a hole
	holes int64    // bytes that are zero and not stored
}

// holes are the bytes of the file that are zero and not stored.
func (f *file) holes() int64 {
	if f.run == nil {
		return 0
	}
	return f.run.holes
}

// folder is the names of a folder, in arrival order until sortKids.
type folder struct {
	parent  *node
	kids    []kid
	byName  map[string]*node // only once a name has come out of order
	subdirs uint32
}

type kid struct {
	name string
	node *node
}

// find returns what name is in the folder, or nil.
func (f *folder) find(name string) *node {
	if f.byName != nil {
		return f.byName[name]
	}
	i := sort.Search(len(f.kids), func(i int) bool { return f.kids[i].name >= name })
	if i < len(f.kids) && f.kids[i].name == name {
		return f.kids[i].node
	}
	return nil
}

// add appends a name that find does not know. Sorted names cost nothing; the first unsorted one costs a map.
func (f *folder) add(name string, n *node) {
	if f.byName == nil && len(f.kids) > 0 && f.kids[len(f.kids)-1].name > name {
		f.byName = make(map[string]*node, 2*len(f.kids))
		for _, k := range f.kids {
			f.byName[k.name] = k.node
		}
	}
	if f.byName != nil {
		f.byName[name] = n
	}
	f.kids = append(f.kids, kid{name, n})
}

// sortKids puts the names in the order that the kernel's lookup stops at: by their bytes.
func (f *folder) sortKids() {
	if f.byName != nil {
		sort.Slice(f.kids, func(i, j int) bool { return f.kids[i].name < f.kids[j].name })
		f.byName = nil
	}
}

// tree finds nodes by path. It remembers the last folder: entries come folder by folder.
type tree struct {
	root    *node
	lastDir string
	last    *node
	names   strings.Builder
	nodes   []node // made and not yet used
}

// Names and nodes are made by the thousand: one by one, the heap would round each up.
const (
	nameArena = 64 << 10
	nodeArena = 256
)

// keep returns a copy of name. One that the caller holds may be a part of a long path.
func (t *tree) keep(name string) string {
	if t.names.Cap()-t.names.Len() < len(name) {
		t.names = strings.Builder{}
		t.names.Grow(nameArena)
	}
	at := t.names.Len()
	t.names.WriteString(name)
	return t.names.String()[at:]
}

// make returns a copy of n that stays where it is.
func (t *tree) make(n node) *node {
	if len(t.nodes) == 0 {
		t.nodes = make([]node, nodeArena)
	}
	p := &t.nodes[0]
	t.nodes = t.nodes[1:]
	*p = n
	return p
}

func newTree() *tree {
	root := &node{kind: typeDir, perm: 0o755, xattr: noXattr, body: &folder{}}
	return &tree{root: root, lastDir: ".", last: root}
}

// parent returns the folder that path is to be in, and the last element of path.
func (t *tree) parent(path string) (*node, string, error) {
	dir, name := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	if dir == t.lastDir {
		return t.last, name, nil
	}
	n := t.find(dir)
	if n == nil {
		return nil, "", fmt.Errorf("its folder %s has not been added", dir)
	}
	if n.kind != typeDir {
		return nil, "", fmt.Errorf("%s is not a folder", dir)
	}
	t.lastDir, t.last = strings.Clone(dir), n
	return n, name, nil
}

// find returns the node at path, or nil.
func (t *tree) find(path string) *node {
	n := t.root
	if path == "." {
		return n
	}
	for elem := range strings.SplitSeq(path, "/") {
		f, ok := n.body.(*folder)
		if !ok {
			return nil
		}
		if n = f.find(elem); n == nil {
			return nil
		}
	}
	return n
}
