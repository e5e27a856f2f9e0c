package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLookupFollowsLinksWithinTheRoot(t *testing.T) {
	tree := flat(t, Options{}, []ent{dir("usr"), dir("usr/lib"), file("usr/lib/f", "f"), sym("lib", "usr/lib"), sym("abs", "/usr/lib"), sym("up", "../../../usr"),
		sym("usr/back", "../lib/f"), sym("loop", "loop"), sym("dangling", "nowhere"), sym("chain", "abs/../back")})
	for _, tc := range []struct {
		path, want string
		err        error
	}{
		{"", ".", nil}, {"/", ".", nil}, {"..", ".", nil}, {".", ".", nil},
		{"usr/lib/f", "f", nil}, {"/lib/f", "f", nil}, {"abs/f", "f", nil}, {"up/lib/f", "f", nil}, {"usr/back", "f", nil}, {"chain", "f", nil},
		{"lib", "lib", nil}, {"lib/", "lib", nil}, {"lib/..", "usr", nil}, {"../../usr/lib/./f", "f", nil},
		{"lib/f/", "", ErrNotDir}, {"lib/f/x", "", ErrNotDir}, {"loop", "", ErrLoop}, {"loop/x", "", ErrLoop},
		{"dangling", "", ErrNotExist}, {"nothing", "", fs.ErrNotExist}, {"nothing/../usr", "", ErrNotExist},
	} {
		n, err := tree.Lookup(tc.path)
		if !errors.Is(err, tc.err) || err == nil && n.Name != tc.want {
			t.Errorf("Lookup(%q) = %+v, %v; want %q, %v", tc.path, n, err, tc.want, tc.err)
		}
	}
	if n, err := tree.LookupNoFollow("lib"); err != nil || !n.IsSymlink() || n.Target != "usr/lib" {
		t.Errorf("LookupNoFollow(lib) = %+v, %v; want the link", n, err)
	}
	if n, err := tree.LookupNoFollow("abs/../back"); err != nil || n.Target != "../lib/f" {
		t.Errorf("LookupNoFollow(abs/../back) = %+v, %v; want the link", n, err)
	}
}

func TestReadDirIsSorted(t *testing.T) {
	tree := flat(t, Options{}, []ent{file("d/b", ""), file("d/a", ""), dir("d/c"), sym("e", "d")})
	var names []string
	list, err := tree.ReadDir("e")
	for _, n := range list {
		names = append(names, n.Name)
	}
	if err != nil || strings.Join(names, " ") != "a b c" {
		t.Errorf("ReadDir(e) = %q, %v; want a b c", names, err)
	}
	if _, err := tree.ReadDir("d/a"); !errors.Is(err, ErrNotDir) {
		t.Errorf("ReadDir of a file: %v, want ErrNotDir", err)
	}
}

func TestPutAndRemoveEditTheTree(t *testing.T) {
	tree := flat(t, Options{Epoch: day}, []ent{dir("usr/lib"), sym("lib", "usr/lib"), file("etc/old", "old"), file("d/x", "x")})
	put := func(p string, n Node, body string) {
		t.Helper()
		if err := tree.Put(p, n, strings.NewReader(body)); err != nil {
			t.Error(err)
		}
	}
	put("/lib/new/deep", Node{Mode: 0o600, UID: 5, ModTime: day}, "through the link")
	put("etc/old", Node{Mode: 0o644}, "new")
	put("d", Node{Mode: fs.ModeDir | 0o700}, "")
	put("link", Node{Mode: fs.ModeSymlink | 0o777, Target: "etc"}, "")
	put("null", Node{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3}, "")
	if err := tree.Remove("etc/none"); !errors.Is(err, ErrNotExist) {
		t.Errorf("Remove of nothing: %v, want ErrNotExist", err)
	}
	if err := tree.Remove("/"); err == nil {
		t.Error("Remove of the root: no error")
	}
	if err := tree.Put("etc/old/x", Node{Mode: 0o644}, nil); !errors.Is(err, ErrNotDir) {
		t.Errorf("Put below a file: %v, want ErrNotDir", err)
	}
	want := `. drwxr-xr-x
d drwx------
d/x -rw-r--r-- "x"
etc drwxr-xr-x
etc/old -rw-r--r-- "new"
lib Lrwxrwxrwx -> usr/lib
link Lrwxrwxrwx -> etc
null Dcrw-rw-rw- 1:3
usr drwxr-xr-x
usr/lib drwxr-xr-x
usr/lib/new drwxr-xr-x
usr/lib/new/deep -rw------- "through the link"
`
	if diff := cmp.Diff(want, listing(t, tree)); diff != "" {
		t.Error(diff)
	}
	if n, _ := tree.Lookup("usr/lib/new"); !n.ModTime.Equal(day) {
		t.Errorf("time of a folder made on the way: %v, want the epoch %v", n.ModTime, day)
	}
	if err := tree.Remove("usr"); err != nil {
		t.Error(err)
	}
	if _, err := tree.Lookup("lib"); !errors.Is(err, ErrNotExist) {
		t.Errorf("Lookup through a link to a removed folder: %v, want ErrNotExist", err)
	}
}

func TestChangeIsSeenThroughAllHardLinks(t *testing.T) {
	tree := flat(t, Options{}, []ent{file("a", "x"), hard("b", "a")})
	err := tree.Change("b", func(n *Node) { n.Mode, n.UID, n.ModTime = 0o600, 7, time.Unix(5, 0) })
	if n, _ := tree.Lookup("a"); err != nil || n.Mode != 0o600 || n.UID != 7 || n.ModTime.Unix() != 5 || n.Links != 2 {
		t.Errorf("Change(b): %v; a is %+v", err, n)
	}
	if err := tree.Change("a", func(n *Node) { n.Mode = fs.ModeDir }); err == nil {
		t.Error("Change of the type: no error")
	}
}

func TestOpenFilesAreIndependent(t *testing.T) {
	tree := flat(t, Options{}, []ent{file("a", "0123456789"), file("b", "b"), file("empty", "")})
	n, _ := tree.Lookup("a")
	one, err := tree.Open(n)
	if err != nil {
		t.Fatal(err)
	}
	two, _ := tree.Open(n)
	buf := make([]byte, 4)
	io.ReadFull(one, buf)
	all, _ := io.ReadAll(two)
	at := make([]byte, 3)
	if _, err := one.ReadAt(at, 7); err != nil || string(buf) != "0123" || string(all) != "0123456789" || string(at) != "789" {
		t.Errorf("read %q, %q, %q, %v", buf, all, at, err)
	}
	d, _ := tree.Lookup("/")
	if _, err := tree.Open(d); err == nil {
		t.Error("Open of a folder: no error")
	}
	if b, err := tree.ReadFile("a", 9); err == nil {
		t.Errorf("ReadFile over the limit: %q, no error", b)
	}
}

func TestWalkCanSkip(t *testing.T) {
	tree := flat(t, Options{}, []ent{file("a/b/c", ""), file("a/d", ""), file("e", ""), file("f", "")})
	var got []string
	err := tree.Walk(func(p string, n *Node, _ string) error {
		got = append(got, p)
		switch p {
		case "a/b":
			return fs.SkipDir
		case "e":
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || strings.Join(got, " ") != ". a a/b a/d e" {
		t.Errorf("Walk: %q, %v", got, err)
	}
	stop := errors.New("stop")
	if err := tree.Walk(func(string, *Node, string) error { return stop }); err != stop {
		t.Errorf("Walk: %v, want %v", err, stop)
	}
}

func TestNothingIsLeftOnTheDisk(t *testing.T) {
	tmp := t.TempDir()
	tree, err := Flatten(layersOf(t, []ent{file("a", strings.Repeat("x", 1<<20))}), Options{TempDir: tmp})
	if err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(tmp, "*"))
	if len(names) != 0 {
		t.Errorf("the spool has a name: %q", names)
	}
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(tmp, "a")); err == nil {
		t.Error("a file of the image was extracted")
	}
}
