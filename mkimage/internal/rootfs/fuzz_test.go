package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/mkimage/internal/source"
)

// FuzzTar feeds two layers as bytes: for what a tar can hold that our own entries do not.
func FuzzTar(f *testing.F) {
	for _, s := range corpus() {
		if len(s.layers) == 2 {
			low, up := tarball(f, s.layers[0]), tarball(f, s.layers[1])
			if len(low)+len(up) < 16<<10 {
				f.Add(low, up)
			}
		}
	}
	f.Fuzz(func(t *testing.T, low, up []byte) {
		judge(t, []*source.Layer{layerOf("low", low), layerOf("up", up)})
	})
}

// FuzzFlatten feeds an image written as text, a line for each entry and "--" between layers:
//
//	f NAME BODY     file          s NAME TARGET   symbolic link
//	d NAME          folder        h NAME TARGET   hard link
//	w NAME          whiteout      o NAME          opaque folder
//
// The seeds in testdata/fuzz/FuzzFlatten are images that are hard to get right.
func FuzzFlatten(f *testing.F) {
	f.Add("d usr/bin\ns bin usr/bin\n--\nf bin/new n\n")
	f.Fuzz(func(t *testing.T, script string) {
		var layers []*source.Layer
		for text := range strings.SplitSeq(script, "\n--\n") {
			b, ok := tarOfScript(text)
			if !ok {
				return
			}
			layers = append(layers, layerOf("layer", b))
		}
		judge(t, layers)
	})
}

// tarOfScript makes a layer of lines as FuzzFlatten has them.
func tarOfScript(text string) ([]byte, bool) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for line := range strings.SplitSeq(text, "\n") {
		word := strings.SplitN(line, " ", 3)
		if len(word) < 2 {
			continue
		}
		arg := ""
		if len(word) == 3 {
			arg = word[2]
		}
		var e ent
		switch word[0] {
		case "f":
			e = file(word[1], arg)
		case "d":
			e = dir(word[1])
		case "s":
			e = sym(word[1], arg)
		case "h":
			e = hard(word[1], arg)
		case "w":
			e = gone(path.Join(path.Dir(word[1]), whiteout+path.Base(word[1])))
		case "o":
			e = gone(path.Join(word[1], whiteoutOpaque))
		default:
			continue
		}
		e.Size = int64(len(e.body))
		if err := tw.WriteHeader(&e.Header); err != nil {
			return nil, false
		}
		io.WriteString(tw, e.body)
	}
	return b.Bytes(), tw.Close() == nil
}

// judge flattens layers. Whatever they hold: no panic, limits kept, and a tree that is one: every name is reachable, link
// counts are right, nothing climbs out, and flattening again gives the same.
func judge(t *testing.T, layers []*source.Layer) {
	limits := Limits{Entries: 2000, Bytes: 1 << 20, Depth: 64, Meta: 1 << 20}
	opt := Options{Limits: limits, Warn: func(string) {}}
	tree, err := Flatten(layers, opt)
	if err != nil {
		return
	}
	defer tree.Close()
	check(t, tree, limits)
	again, err := Flatten(layers, opt)
	if err != nil {
		t.Fatalf("the second time: %v", err)
	}
	defer again.Close()
	if a, b := listing(t, tree), listing(t, again); a != b {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
	if _, err := Clean(tree, CleanOptions{Exclude: []string{"a*"}, Include: []string{"/tmp/b"}}); err != nil {
		t.Error(err)
	}
	check(t, tree, limits)
}

// check tests what is true of every tree.
func check(t *testing.T, tree *Tree, limits Limits) {
	t.Helper()
	links, names, total := map[*inode]int{}, map[*inode]int32{}, int64(0)
	n := 0
	err := tree.Walk(func(p string, node *Node, linkTo string) error {
		n++
		links[node.ino]++
		names[node.ino] = int32(node.Links)
		got, err := tree.LookupNoFollow(p)
		if err != nil || !got.SameInode(node) {
			t.Errorf("%q: LookupNoFollow: %v", p, err)
		}
		for elem := range strings.SplitSeq(p, "/") {
			if p != "." && (elem == "" || elem == "." || elem == ".." || len(elem) > maxName) {
				t.Errorf("%q: bad element %q", p, elem)
			}
		}
		if strings.Count(p, "/") >= limits.Depth {
			t.Errorf("%q: deeper than %d", p, limits.Depth)
		}
		if linkTo != "" {
			if first, err := tree.LookupNoFollow(linkTo); err != nil || !first.SameInode(node) {
				t.Errorf("%q is said to be %q, which is another file: %v", p, linkTo, err)
			}
		} else if node.Mode.IsRegular() {
			f, err := tree.Open(node)
			if err != nil {
				return err
			}
			k, err := io.Copy(io.Discard, f)
			if err != nil || k != node.Size {
				t.Errorf("%q: %d bytes, %v; want %d", p, k, err, node.Size)
			}
			total += k
		}
		if node.IsSymlink() {
			if _, err := tree.Lookup(p); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrLoop) && !errors.Is(err, ErrNotDir) {
				t.Errorf("%q: Lookup: %v", p, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n > limits.Entries+1 || total > limits.Bytes {
		t.Errorf("%d entries with %d bytes, beyond the limits", n, total)
	}
	for ino, count := range links {
		if int(names[ino]) != count {
			t.Errorf("an inode says %d links and has %d", names[ino], count)
		}
	}
}
