package rootfs

import (
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func paths(t *Tree) []string {
	var list []string
	t.Walk(func(p string, n *Node, _ string) error { list = append(list, p); return nil })
	return list
}

// used is a root after a build: each path that has to go, and some that look alike and have to stay.
var used = []ent{
	file("var/cache/apt/pkgcache.bin", "12345"), dir("var/cache/apt/archives/partial"), file("var/cache/apt/archives/a.deb", "123"),
	file("var/lib/apt/lists/deb.example_InRelease", "1"), dir("var/lib/apt/lists/partial"), file("var/lib/apt/extended_states", "stays"),
	file("var/lib/dpkg/status", "stays"), file("var/lib/dpkg/status-old", "12"), file("var/lib/dpkg/info/a-old", "stays"),
	file("var/cache/debconf/config.dat", "1"), file("var/cache/ldconfig/aux-cache", "1"), file("var/cache/dnf/x/y", "1"), file("var/cache/apk/APKINDEX", "1"),
	file("var/log/dpkg.log", "1"), file("var/log/my.log", "stays"),
	file("boot/vmlinuz-6.1", "stays"), file("boot/initrd.img-6.1", "1234"), file("boot/initramfs-lts", "1"), sym("initrd.img", "boot/initrd.img-6.1"), sym("vmlinuz", "boot/vmlinuz-6.1"),
	file("usr/lib/modules/6.1/initramfs.img", "1"), file("usr/lib/modules/6.1/vmlinuz", "stays"),
	file("run/lock/x", "1"), file("tmp/.hidden", "1"), file("var/tmp/x", "1"), file(".dockerenv", ""), file("home/.dockerenv", "stays"),
}

func TestCleanListRemovesWhatABootedSystemHasNoUseFor(t *testing.T) {
	tree := flat(t, Options{}, used)
	removed, err := Clean(tree, CleanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`. boot boot/vmlinuz-6.1 home home/.dockerenv run tmp usr usr/lib usr/lib/modules usr/lib/modules/6.1 usr/lib/modules/6.1/vmlinuz
		var var/cache var/cache/apk var/cache/apt var/cache/apt/archives var/cache/apt/archives/partial var/cache/debconf var/cache/dnf var/cache/ldconfig
		var/lib var/lib/apt var/lib/apt/extended_states var/lib/apt/lists var/lib/apt/lists/partial var/lib/dpkg var/lib/dpkg/info var/lib/dpkg/info/a-old var/lib/dpkg/status
		var/log var/log/my.log var/tmp vmlinuz`)
	if diff := cmp.Diff(want, paths(tree)); diff != "" {
		t.Error(diff)
	}
	first := Removed{Pattern: "/var/cache/apt/**", Why: "package cache", Paths: []string{"var/cache/apt/archives/a.deb", "var/cache/apt/pkgcache.bin"}, Entries: 2, Bytes: 8}
	if diff := cmp.Diff(first, removed[0]); diff != "" {
		t.Error(diff)
	}
	again, err := Clean(tree, CleanOptions{})
	if err != nil || len(again) != 0 {
		t.Errorf("second Clean: %v, %v; want nothing left to remove", again, err)
	}
}

func TestIncludeWinsAndExcludeAddsToTheList(t *testing.T) {
	for name, tc := range map[string]struct {
		opt  CleanOptions
		want string // what of these is left
	}{
		"list off":             {CleanOptions{KeepList: true}, "tmp/keep/me tmp/x usr/a.pyc usr/lib/b.pyc usr/share/doc/a"},
		"list":                 {CleanOptions{}, "usr/a.pyc usr/lib/b.pyc usr/share/doc/a"},
		"include below":        {CleanOptions{Include: []string{"/tmp/keep/*"}}, "tmp/keep/me usr/a.pyc usr/lib/b.pyc usr/share/doc/a"},
		"include folder":       {CleanOptions{Include: []string{"/tmp"}}, "tmp/keep/me tmp/x usr/a.pyc usr/lib/b.pyc usr/share/doc/a"},
		"exclude name":         {CleanOptions{Exclude: []string{"*.pyc"}}, "usr/share/doc/a"},
		"exclude path":         {CleanOptions{Exclude: []string{"usr/share/doc"}}, "usr/a.pyc usr/lib/b.pyc"},
		"exclude, then a part": {CleanOptions{Exclude: []string{"/usr/**"}, Include: []string{"b.*"}}, "usr/lib/b.pyc"},
		"double star inside":   {CleanOptions{Exclude: []string{"/usr/**/b.pyc"}}, "usr/a.pyc usr/share/doc/a"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := flat(t, Options{}, []ent{file("tmp/x", "1"), file("tmp/keep/me", "1"), file("usr/a.pyc", "1"), file("usr/lib/b.pyc", ""), file("usr/share/doc/a", "")})
			if _, err := Clean(tree, tc.opt); err != nil {
				t.Fatal(err)
			}
			var files []string
			tree.Walk(func(p string, n *Node, _ string) error {
				if n.Mode.IsRegular() {
					files = append(files, p)
				}
				return nil
			})
			if diff := cmp.Diff(strings.Fields(tc.want), files); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCleanCountsAHardLinkedBodyOnce(t *testing.T) {
	tree := flat(t, Options{}, []ent{file("tmp/a", "1234"), hard("tmp/b", "tmp/a"), file("tmp/c", "12"), hard("kept", "tmp/c")})
	got, err := Clean(tree, CleanOptions{})
	if err != nil || len(got) != 1 || got[0].Bytes != 4 || got[0].Entries != 3 {
		t.Errorf("Clean: %+v, %v; want 3 entries with 4 bytes", got, err)
	}
}

func TestBadPatternsAreErrors(t *testing.T) {
	tree := flat(t, Options{}, []ent{file("a", "")})
	for _, p := range []string{"", "/", "[", "a/[b", "a//b", "../x", "./x"} {
		if _, err := Clean(tree, CleanOptions{Exclude: []string{p}}); err == nil {
			t.Errorf("Exclude %q: no error", p)
		}
	}
	if _, err := parseGlob("[a"); !errors.Is(err, path.ErrBadPattern) {
		t.Errorf("parseGlob([a): %v, want %v", err, path.ErrBadPattern)
	}
}

func TestPatternWithManyStarsTakesNoExponentialTime(t *testing.T) {
	g, err := parseGlob(strings.Repeat("**/a/", 30) + "b")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if g.match(strings.Split(strings.Repeat("a/", 500)+"c", "/")) {
		t.Error("matches")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}
