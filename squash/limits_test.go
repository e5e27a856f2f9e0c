package squash_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/squash"
	"github.com/slotboot/slotboot/squash/internal/tartree"
)

const dirMode = fs.ModeDir | 0o755

// limitTrees go beyond one limit of the format each: where a table gets a second block, a count its extended form.
var limitTrees = []struct {
	name string
	tree func() []squash.Entry
}{
	{"folder-of-9000", func() []squash.Entry { return wideFolder(9_000) }},
	{"unsorted", func() []squash.Entry {
		list := wideFolder(3000)
		for i := 2; i < len(list); i++ {
			j := 2 + i*7919%(len(list)-2)
			list[i], list[j] = list[j], list[i]
		}
		return list
	}},
	{"long-names", func() []squash.Entry {
		list := []squash.Entry{{Path: ".", Mode: dirMode}}
		for i := range 300 {
			list = append(list, squash.Entry{Path: fmt.Sprintf("%s%03d", strings.Repeat("n", 252), i), Mode: fs.ModeNamedPipe})
		}
		return list
	}},
	{"6000-links", func() []squash.Entry {
		list := []squash.Entry{{Path: ".", Mode: dirMode}, body(squash.Entry{Path: "a", Mode: 0o644}, text(1, 5000))}
		for i := range 6_000 {
			list = append(list, squash.Entry{Path: fmt.Sprintf("l%05d", i), HardlinkTo: "a"})
		}
		return list
	}},
	{"3000-owners", func() []squash.Entry {
		list := []squash.Entry{{Path: ".", Mode: dirMode}}
		for i := range uint32(3000) {
			list = append(list, squash.Entry{Path: fmt.Sprintf("f%04d", i), UID: i * 1_000_003, GID: i, Mode: 0o600})
		}
		return list
	}},
	{"2000-xattr-sets", func() []squash.Entry {
		list := []squash.Entry{{Path: ".", Mode: dirMode}}
		for i := range 2000 {
			x := map[string]string{"user.number": fmt.Sprint(i), "trusted.shared": strings.Repeat("s", 100+i%3)}
			list = append(list, squash.Entry{Path: fmt.Sprintf("f%04d", i), Mode: 0o600, Xattrs: x})
		}
		return list
	}},
	{"1200-fragments", func() []squash.Entry {
		list := []squash.Entry{{Path: ".", Mode: dirMode}}
		for i := range 1200 {
			list = append(list, body(squash.Entry{Path: fmt.Sprintf("f%04d", i), Mode: 0o600}, noise(uint64(i), 4000)))
		}
		return list
	}},
	{"600-deep", func() []squash.Entry {
		list := []squash.Entry{{Path: ".", Mode: dirMode}}
		path := "d"
		for range 600 {
			list = append(list, squash.Entry{Path: path, Mode: dirMode})
			path += "/d"
		}
		return list
	}},
	{"file-of-3000-blocks", func() []squash.Entry {
		return []squash.Entry{{Path: ".", Mode: dirMode}, body(squash.Entry{Path: "f", Mode: 0o600}, text(1, 3000*4096+7))}
	}},
	{"nothing", func() []squash.Entry { return []squash.Entry{{Path: ".", Mode: dirMode}} }},
}

func wideFolder(n int) []squash.Entry {
	list := []squash.Entry{{Path: ".", Mode: dirMode}, {Path: "d", Mode: dirMode}}
	for i := range n {
		list = append(list, squash.Entry{Path: fmt.Sprintf("d/entry-%07d", i), Mode: fs.ModeSymlink | 0o777, Target: "x"})
	}
	return list
}

func TestEveryReaderSeesTreesBeyondEachLimit(t *testing.T) {
	for _, l := range limitTrees {
		t.Run(l.name, func(t *testing.T) { checkAll(t, squash.Options{BlockSize: 4096, Level: 1}, l.tree()) })
	}
}

// TestKernelFindsNamesThroughTheIndex looks up single names: a mount that lists a folder does not use its index.
func TestKernelFindsNamesThroughTheIndex(t *testing.T) {
	const n = 20_000
	image := buildFile(t, squash.Options{Level: 1}, wideFolder(n))
	dir := mounted(t, image)
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := squash.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i += 37 {
		name := fmt.Sprintf("d/entry-%07d", i)
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Lstat(name); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Lstat(name + "x"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Lstat(%sx) = %v, want fs.ErrNotExist", name, err)
		}
	}
}

func TestOwnersBeyondTheTableAreAnError(t *testing.T) {
	w, err := squash.NewWriter(&buffer{}, squash.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(65535) {
		if err := w.Add(squash.Entry{Path: fmt.Sprint(i), UID: math.MaxUint32 - i, GID: math.MaxUint32}); err != nil {
			t.Fatal(err)
		}
	}
	err = w.Add(squash.Entry{Path: "one-more", UID: 7, GID: 7})
	if err == nil || !strings.Contains(err.Error(), "one-more") || !strings.Contains(err.Error(), "65535") {
		t.Fatalf("Add with the 65536th owner = %v, want an error with the path and the limit", err)
	}
	if _, cerr := w.Close(); !errors.Is(cerr, err) {
		t.Fatalf("Close after it = %v, want %v", cerr, err)
	}
}

// endless is a file of n bytes, made while it is read: zeros, and at every megabyte the number of the megabyte.
type endless struct{ at, n int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.at == e.n {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), e.n-e.at)]
	clear(p)
	for i := (e.at + 1<<20 - 1) &^ (1<<20 - 1); i < e.at+int64(len(p)); i += 1 << 20 {
		p[i-e.at] = byte(i >> 20)
	}
	e.at += int64(len(p))
	return len(p), nil
}

func (e *endless) Close() error { return nil }

// big runs tests of gigabytes only where they are asked for: SLOTBOOT_BIG=1.
func big(t *testing.T) {
	t.Helper()
	if os.Getenv("SLOTBOOT_BIG") == "" {
		t.Skip("takes minutes and gigabytes: set SLOTBOOT_BIG=1")
	}
}

func TestFilesBeyond4GiB(t *testing.T) {
	big(t)
	const n = 5<<30 + 12345
	open := func() (io.ReadCloser, error) { return &endless{n: n}, nil }
	list := []squash.Entry{{Path: ".", Mode: dirMode}, {Path: "huge", Mode: 0o600, Size: n, Open: open}, {Path: "same", Mode: 0o600, Size: n, Open: open},
		body(squash.Entry{Path: "small", Mode: 0o600}, []byte("small"))}
	image := buildFile(t, squash.Options{Level: 1}, list)
	checkImage(t, image, list)
	checkKernel(t, image, list)
}

func TestDataBeyond4GiB(t *testing.T) {
	big(t)
	const n = 5 << 30
	r := bytes.NewReader(noise(1, 64<<20))
	open := func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(&repeated{r: r}, n)), nil
	}
	list := []squash.Entry{{Path: ".", Mode: dirMode}, {Path: "a", Mode: 0o600, Size: n, Open: open},
		body(squash.Entry{Path: "b", Mode: 0o600}, text(3, 300_000))}
	image := buildFile(t, squash.Options{Compression: squash.None}, list)
	checkImage(t, image, list)
	checkKernel(t, image, list)
}

type repeated struct {
	r *bytes.Reader
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.r.Len() == 0 {
		r.r.Seek(0, io.SeekStart)
	}
	return r.r.Read(p)
}

func TestFolderOfAMillion(t *testing.T) {
	big(t)
	list := wideFolder(1_000_000)
	image := buildFile(t, squash.Options{Level: 1}, list)
	checkImage(t, image, list)
	checkKernel(t, image, list)
}

// TestEveryReaderSeesADebianRoot takes the root that make bench-squash fetches, or else this machine's programs.
func TestEveryReaderSeesADebianRoot(t *testing.T) {
	cache := os.Getenv("SLOTBOOT_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Skip(err)
		}
		cache = filepath.Join(home, ".cache", "slotboot")
	}
	var list []squash.Entry
	if tree, err := tartree.Open(filepath.Join(cache, "debian-root.tar")); err == nil {
		defer tree.Close()
		list = tree.Entries
	} else {
		need.Root(t) // some of it is for root's eyes only
		list = folderEntries(t, "/etc")
	}
	image := buildFile(t, squash.Options{Level: 1}, list)
	checkImage(t, image, list)
	checkKernel(t, image, list)
	if testing.Short() {
		return
	}
	checkUnsquashfs(t, image, list)
	checkSqfs2tar(t, image, list)
}
