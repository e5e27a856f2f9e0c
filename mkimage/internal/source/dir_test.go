package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestFolderKeepsWhatLstatShows(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at("d"), 0o755))
	must(os.WriteFile(at("d/file"), []byte("body"), 0o600))
	must(os.Chmod(at("d/file"), 0o755|os.ModeSetuid))
	must(os.Link(at("d/file"), at("hard")))
	must(os.Symlink("/nowhere", at("sym")))
	must(unix.Mkfifo(at("fifo"), 0o644))
	must(os.WriteFile(at("name-\xff"), nil, 0o644))
	must(os.WriteFile(at(".wh.kept"), nil, 0o644))
	want := []string{". dir", ".wh.kept file", "d dir", "d/file file 4755 \"body\"", "fifo fifo", "hard = d/file", "name-\xff file", "sym -> /nowhere"}
	if err := unix.Setxattr(at("d/file"), "user.colour", []byte("a\x00b"), 0); err == nil {
		want[3] += " user.colour=\"a\\x00b\""
	}
	if os.Geteuid() == 0 {
		must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		must(os.Chown(at("null"), 70000, 4294967294))
		want = append(want[:7], "null char 1:3 70000:4294967294", want[7])
	}
	old := time.Unix(1600000000, 0)
	must(os.Chtimes(at("d/file"), old, old))

	img, layers, err := read(t, "dir:"+root, Options{})
	must(err)
	if !img.Layers[0].Plain || img.Source() != "dir" || strings.Contains(fmt.Sprint(img.Ref, img.DiffIDs()), root) {
		t.Errorf("image of a folder: %q %q plain %v", img.Source(), img.DiffIDs(), img.Layers[0].Plain)
	}
	if got := img.Layers[0].DiffID; got != digestOf(layers[0]) {
		t.Errorf("diff id %s after reading, want %s", got, digestOf(layers[0]))
	}
	if diff := cmp.Diff(want, describe(t, layers[0])); diff != "" {
		t.Error(diff)
	}
}

// describe lists a tar, a line for each entry.
func describe(tb testing.TB, b []byte) []string {
	tb.Helper()
	var list []string
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			tb.Fatal(err)
		}
		s := strings.TrimSuffix(h.Name, "/")
		if s == "." || s == "" {
			s = "."
		}
		switch h.Typeflag {
		case tar.TypeDir:
			s += " dir"
		case tar.TypeReg:
			s += " file"
			if h.Mode&0o7000 != 0 {
				s += fmt.Sprintf(" %o", h.Mode)
			}
			if h.Size > 0 {
				body, _ := io.ReadAll(tr)
				s += fmt.Sprintf(" %q", body)
			}
		case tar.TypeLink:
			s += " = " + h.Linkname
		case tar.TypeSymlink:
			s += " -> " + h.Linkname
		case tar.TypeFifo:
			s += " fifo"
		case tar.TypeChar:
			s += fmt.Sprintf(" char %d:%d %d:%d", h.Devmajor, h.Devminor, h.Uid, h.Gid)
		}
		for k, v := range h.PAXRecords {
			if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
				s += fmt.Sprintf(" %s=%q", name, v)
			}
		}
		list = append(list, s)
	}
}

func TestFolderAtAnotherPathHasTheSameDigest(t *testing.T) {
	var ids []string
	for range 2 {
		root := t.TempDir()
		for i := range 50 {
			name := filepath.Join(root, fmt.Sprint("f", i*7%50))
			if err := os.WriteFile(name, []byte(name[len(root):]), 0o644); err != nil {
				t.Fatal(err)
			}
			os.Chtimes(name, time.Unix(1e9, 5), time.Unix(1e9, 5))
		}
		os.Chtimes(root, time.Unix(1e9, 0), time.Unix(1e9, 0))
		img, _, err := read(t, "dir:"+root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, img.Layers[0].DiffID)
	}
	if ids[0] != ids[1] {
		t.Errorf("diff ids %q, want equal ones", ids)
	}
}

func TestTarOfARootFileSystem(t *testing.T) {
	b := tarOf(t, "etc/", "", "etc/.wh.kept", "x")
	for name, pack := range map[string]func([]byte) []byte{"plain": plain, "gzip": gzipped, "zstd": zstded} {
		for _, ref := range []string{"tar:" + write(t, "x.tar", pack(b)), "tar:-"} {
			img, layers, err := read(t, ref, Options{Stdin: bytes.NewReader(pack(b))})
			if err != nil {
				t.Fatalf("%s %s: %v", name, ref, err)
			}
			if !bytes.Equal(layers[0], b) || img.Layers[0].DiffID != digestOf(b) || !img.Layers[0].Plain || img.Source() != "tar" {
				t.Errorf("%s %s: %d bytes, diff id %s, source %s; want %d, %s, tar", name, ref, len(layers[0]), img.Layers[0].DiffID, img.Source(), len(b), digestOf(b))
			}
		}
	}
}

func TestFolderThatCannotBeReadSaysWhich(t *testing.T) {
	root := t.TempDir()
	secret := filepath.Join(root, "secret")
	if err := os.Mkdir(secret, 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root may read it: make it vanish instead
		if err := os.Remove(secret); err != nil {
			t.Fatal(err)
		}
		img, err := Open(t.Context(), "dir:"+root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(root)
		if _, err := img.Layers[0].Open(); !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "unpack") {
			t.Errorf("a folder that is gone: %v; want %v", err, os.ErrNotExist)
		}
		return
	}
	if _, _, err := read(t, "dir:"+root, Options{}); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), secret) {
		t.Errorf("a folder without rights: %v; want %v and its name", err, os.ErrPermission)
	}
}
