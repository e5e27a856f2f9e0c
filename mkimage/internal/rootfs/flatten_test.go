package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slotboot/slotboot/mkimage/internal/source"
)

// ent is an entry of a layer in a test.
type ent struct {
	tar.Header
	body string
}

var day = time.Unix(1700000000, 0)

func file(name, body string) ent {
	return ent{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body}
}
func dir(name string) ent  { return ent{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""} }
func gone(name string) ent { return file(name, "") }
func sym(name, to string) ent {
	return ent{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}
func hard(name, to string) ent {
	return ent{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644}, ""}
}
func (e ent) mode(m int64) ent       { e.Mode = m; return e }
func (e ent) owner(uid, gid int) ent { e.Uid, e.Gid = uid, gid; return e }
func (e ent) at(t time.Time) ent     { e.ModTime = t; return e }
func (e ent) attr(key, val string) ent {
	records := map[string]string{key: val}
	for k, v := range e.PAXRecords {
		records[k] = v
	}
	e.PAXRecords = records
	return e
}

// tarball makes the tar of a layer.
func tarball(tb testing.TB, entries []ent) []byte {
	tb.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.body))
		if h.ModTime.IsZero() {
			h.ModTime = day
		}
		if err := tw.WriteHeader(&h); err != nil {
			tb.Fatalf("%q: %v", h.Name, err)
		}
		io.WriteString(tw, e.body)
	}
	if err := tw.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func layerOf(name string, b []byte) *source.Layer {
	return source.NewLayer(name, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
}

func layersOf(tb testing.TB, layers ...[]ent) []*source.Layer {
	var list []*source.Layer
	for i, entries := range layers {
		list = append(list, layerOf(fmt.Sprintf("layer %d", i+1), tarball(tb, entries)))
	}
	return list
}

// flat flattens layers and returns the tree.
func flat(tb testing.TB, opt Options, layers ...[]ent) *Tree {
	tb.Helper()
	t, err := Flatten(layersOf(tb, layers...), opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { t.Close() })
	return t
}

// listing shows a tree, a line for each name.
func listing(tb testing.TB, t *Tree) string {
	tb.Helper()
	var b strings.Builder
	err := t.Walk(func(path string, n *Node, link string) error {
		fmt.Fprintf(&b, "%s %s", path, n.Mode)
		switch {
		case link != "":
			fmt.Fprintf(&b, " = %s", link)
		case n.Mode.IsRegular():
			f, err := t.Open(n)
			if err != nil {
				return err
			}
			body, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", body)
		case n.IsSymlink():
			fmt.Fprintf(&b, " -> %s", n.Target)
		case n.Mode&fs.ModeDevice != 0:
			fmt.Fprintf(&b, " %d:%d", n.Major, n.Minor)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestHardLinksShareTheInodeWhateverHappensToTheOtherNames(t *testing.T) {
	lower := []ent{file("a", "old"), hard("b", "a"), hard("c", "/a")}
	for name, tc := range map[string]struct {
		upper []ent
		want  string
	}{
		"target deleted":     {[]ent{gone(".wh.a")}, "b \"old\" c=b"},
		"target overwritten": {[]ent{file("a", "new")}, "a \"new\" b \"old\" c=b"},
		"link overwritten":   {[]ent{file("b", "new")}, "a \"old\" b \"new\" c=a"},
		"linked again":       {[]ent{hard("d", "c")}, "a \"old\" b=a c=a d=a"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := flat(t, Options{}, lower, tc.upper)
			var got []string
			tree.Walk(func(path string, n *Node, link string) error {
				switch {
				case path == ".":
				case link != "":
					got = append(got, path+"="+link)
				default:
					b, _ := tree.ReadFile(path, 100)
					got = append(got, fmt.Sprintf("%s %q", path, b))
				}
				return nil
			})
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestListingOfTwoLayers(t *testing.T) {
	tree := flat(t, Options{},
		[]ent{dir("usr"), dir("usr/bin"), sym("bin", "usr/bin"), file("usr/bin/sh", "sh"), dir("gone"), file("gone/x", "x"), dir("opq"), file("opq/old", "o")},
		[]ent{file("bin/new", "new"), gone(".wh.gone"), gone("opq/.wh..wh..opq"), file("opq/new", "n"), file("deep/down/f", "f")})
	want := `. drwxr-xr-x
bin Lrwxrwxrwx -> usr/bin
deep drwxr-xr-x
deep/down drwxr-xr-x
deep/down/f -rw-r--r-- "f"
opq drwxr-xr-x
opq/new -rw-r--r-- "n"
usr drwxr-xr-x
usr/bin drwxr-xr-x
usr/bin/new -rw-r--r-- "new"
usr/bin/sh -rw-r--r-- "sh"
`
	if diff := cmp.Diff(want, listing(t, tree)); diff != "" {
		t.Error(diff)
	}
}
