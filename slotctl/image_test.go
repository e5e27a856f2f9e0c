package main

import (
	"hash/maphash"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slotboot/slotboot/internal/durable"
)

// A recorder under slotctl, and the images that a power cut can leave of what it has recorded.

const sector = 512

// unit is the least that reaches the disk or does not: a sector of a file, or a change of a name. A sync is one, too: what
// it covers can be lost no more.
type unit struct {
	kind     string // write, create, remove, rename, mkdir; sync, syncdir, settle
	file     int    // write, create, sync
	at       int64
	data     []byte
	path, to string
}

// recorder is the file system of the machine, and notes what changes the disk.
type recorder struct {
	*calls
	root  string
	files map[string]int // by path below root
	start image
	log   []unit
	marks []int // len(log) behind each call
}

// image is the content of a disk.
type image struct {
	names   map[string]int // a folder is file 0
	content map[int][]byte
}

// record returns a recorder over everything below root.
func record(t *testing.T, root string) *recorder {
	t.Helper()
	r := &recorder{calls: counting(), root: root, files: map[string]int{}, start: image{map[string]int{}, map[int][]byte{}}}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := r.below(p)
		if d.IsDir() {
			r.start.names[name] = 0
			return nil
		}
		data, err := os.ReadFile(p)
		r.files[name] = len(r.files) + 1
		r.start.names[name], r.start.content[r.files[name]] = r.files[name], data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recorder) below(p string) string {
	name, err := filepath.Rel(r.root, p)
	if err != nil || strings.HasPrefix(name, "..") {
		return p
	}
	return name
}

func (r *recorder) add(u unit) { r.log = append(r.log, u) }

func (r *recorder) opened(p string, f durable.File, err error) (durable.File, error) {
	if err != nil {
		return nil, err
	}
	return &recordedFile{File: f, r: r, id: r.files[r.below(p)]}, nil
}

func (r *recorder) Open(p string) (durable.File, error) { return r.calls.Open(p) }

func (r *recorder) Edit(p string) (durable.File, error) {
	f, err := r.calls.Edit(p)
	return r.opened(p, f, err)
}

func (r *recorder) Create(p string) (durable.File, error) {
	f, err := r.calls.Create(p)
	if err == nil {
		r.files[r.below(p)] = 1000 + len(r.log)
		r.add(unit{kind: "create", path: r.below(p), file: r.files[r.below(p)]})
	}
	return r.opened(p, f, err)
}

func (r *recorder) Mkdir(p string) error {
	err := r.calls.Mkdir(p)
	if err == nil {
		r.add(unit{kind: "mkdir", path: r.below(p)})
	}
	return err
}

func (r *recorder) Remove(p string) error {
	err := r.calls.Remove(p)
	if err == nil {
		r.add(unit{kind: "remove", path: r.below(p)})
	}
	return err
}

func (r *recorder) Rename(from, to string) error {
	err := r.calls.Rename(from, to)
	if err == nil {
		from, to = r.below(from), r.below(to)
		r.files[to] = r.files[from]
		r.add(unit{kind: "rename", path: from, to: to})
	}
	return err
}

func (r *recorder) SyncDir(p string) error {
	err := r.calls.SyncDir(p)
	if err == nil {
		r.add(unit{kind: "syncdir", path: r.below(p)})
	}
	return err
}

func (r *recorder) Settle(p string) error {
	err := r.calls.Settle(p)
	if err == nil {
		r.add(unit{kind: "settle"})
	}
	return err
}

// recordedFile notes writes and syncs.
type recordedFile struct {
	durable.File
	r  *recorder
	id int
	at int64 // where Write goes on
}

func (f *recordedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.at += int64(n)
	return n, err
}

func (f *recordedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.note(p[:n], f.at)
	f.at += int64(n)
	return n, err
}

func (f *recordedFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	f.note(p[:n], at)
	return n, err
}

// note cuts a write at the borders of sectors.
func (f *recordedFile) note(p []byte, at int64) {
	for len(p) > 0 {
		n := min(int64(len(p)), sector-at%sector)
		f.r.add(unit{kind: "write", file: f.id, at: at, data: append([]byte{}, p[:n]...)})
		p, at = p[n:], at+n
	}
}

func (f *recordedFile) Sync() error     { return f.synced(f.File.Sync()) }
func (f *recordedFile) Datasync() error { return f.synced(f.File.Datasync()) }

func (f *recordedFile) synced(err error) error {
	if err == nil {
		f.r.add(unit{kind: "sync", file: f.id})
	}
	return err
}

// covers says whether what u says is on the disk once the sync s has returned. A reader that does not replay the journal,
// as GRUB, sees names, and files that have grown, only when the journal has been written back; the blocks of a file that
// was written in place it sees at once.
func (r *recorder) covers(s, u unit, replays bool) bool {
	switch {
	case s.kind == "settle":
		return true
	case u.kind == "write":
		return s.kind == "sync" && s.file == u.file && (replays || u.at < int64(len(r.start.content[u.file])))
	}
	return replays && s.kind == "syncdir" && (path.Dir(u.path) == s.path || u.kind == "rename" && path.Dir(u.to) == s.path)
}

func changes(u unit) bool { return u.kind != "sync" && u.kind != "syncdir" && u.kind != "settle" }

// pending returns which of the first n units a cut may still lose.
func (r *recorder) pending(n int, replays bool) []int {
	var open []int
	for k, u := range r.log[:n] {
		if changes(u) {
			open = append(open, k)
			continue
		}
		left := open[:0]
		for _, o := range open {
			if !r.covers(u, r.log[o], replays) {
				left = append(left, o)
			}
		}
		open = left
	}
	return open
}

// after is the disk after the first n units, without those that are lost.
func (r *recorder) after(n int, lost map[int]bool) image {
	i := image{maps.Clone(r.start.names), maps.Clone(r.start.content)}
	owned := map[int]bool{}
	for k, u := range r.log[:n] {
		if lost[k] {
			continue
		}
		switch u.kind {
		case "create":
			i.names[u.path] = u.file
		case "mkdir":
			i.names[u.path] = 0
		case "remove":
			delete(i.names, u.path)
		case "rename":
			if id, ok := i.names[u.path]; ok {
				i.names[u.to] = id
				delete(i.names, u.path)
			}
		case "write":
			if !owned[u.file] {
				i.content[u.file], owned[u.file] = append([]byte{}, i.content[u.file]...), true
			}
			data := i.content[u.file]
			if grow := u.at + int64(len(u.data)) - int64(len(data)); grow > 0 {
				data = append(data, make([]byte, grow)...)
			}
			copy(data[u.at:], u.data)
			i.content[u.file] = data
		}
	}
	return i
}

// dir returns the files of a folder of the image.
func (i image) dir(name string) fstest.MapFS {
	found := fstest.MapFS{}
	for p, id := range i.names {
		if path.Dir(p) == name && id != 0 {
			found[path.Base(p)] = &fstest.MapFile{Data: i.content[id], Mode: 0o644}
		}
	}
	return found
}

// sum tells folders of images apart.
func sum(seed maphash.Seed, dir fstest.MapFS) uint64 {
	var all uint64
	for name, f := range dir { // in any order
		all += maphash.String(seed, name)*31 ^ maphash.Bytes(seed, f.Data)
	}
	return all
}

// images calls judge with every image that a cut at any moment can leave: each prefix as it is and without all that may
// be lost, and before each sync all subsets of that, up to ten units, else 200 of them.
func (r *recorder) images(random *rand.Rand, replays bool, judge func(i image, what string) error) (n int, err error) {
	try := func(at int, lost map[int]bool, what string) {
		if n++; err == nil {
			err = judge(r.after(at, lost), what)
		}
	}
	for at := 0; at <= len(r.log) && err == nil; at++ {
		open := r.pending(at, replays)
		try(at, nil, "each call")
		all := map[int]bool{}
		for _, k := range open {
			all[k] = true
		}
		try(at, all, "synced calls")
		if at < len(r.log) && changes(r.log[at]) {
			continue
		}
		count := 200
		if len(open) <= 10 {
			count = 1 << len(open)
		}
		for subset := range count {
			bits := uint64(subset)
			if len(open) > 10 {
				bits = random.Uint64()
			}
			lost := map[int]bool{}
			for k, o := range open {
				if k >= 64 && k%64 == 0 {
					bits = random.Uint64()
				}
				lost[o] = bits>>(k%64)&1 == 1
			}
			try(at, lost, "a subset")
		}
	}
	return n, err
}
