package squash_test

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	diskfs "github.com/diskfs/go-diskfs/filesystem/squashfs"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/squash"
	"github.com/slotboot/slotboot/squash/internal/tartree"
)

// oracles are the readers, ours and others: each must see the tree that went in.
var oracles = []struct {
	name    string
	without func([]squash.Entry) []squash.Entry // what this reader cannot do; nil: nothing
	read    func(t testing.TB, image string, want []squash.Entry)
}{
	{"Image", nil, checkImage},
	{"kernel", nil, checkKernel},
	{"unsquashfs", nil, checkUnsquashfs},
	{"sqfs2tar", withoutSockets, checkSqfs2tar}, // 1.1.4 gives the xattrs of a socket that it skips to the next file
	{"go-diskfs", withoutXattrs, checkDiskfs},   // v1.9.4 panics on values that several files share
}

func checkAll(t *testing.T, o squash.Options, entries []squash.Entry) {
	t.Helper()
	image := buildFile(t, o, entries)
	for _, oracle := range oracles {
		t.Run(oracle.name, func(t *testing.T) {
			image, entries := image, entries
			if oracle.without != nil {
				entries = oracle.without(entries)
				image = buildFile(t, o, entries)
			}
			oracle.read(t, image, entries)
		})
	}
}

func withoutSockets(list []squash.Entry) []squash.Entry {
	var out []squash.Entry
	for _, e := range list {
		if e.Mode&fs.ModeSocket == 0 {
			out = append(out, e)
		}
	}
	return out
}

func withoutXattrs(list []squash.Entry) []squash.Entry {
	out := append([]squash.Entry(nil), list...)
	for i := range out {
		out[i].Xattrs = nil
	}
	return out
}

func checkImage(t testing.TB, image string, want []squash.Entry) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := squash.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Blocks(); err != nil {
		t.Fatal(err)
	}
	same(t, "Image", imageEntries(t, m), want)
}

// mounted mounts an image and returns where. The kernel is the reader that counts.
func mounted(t testing.TB, image string) string {
	t.Helper()
	need.Root(t)
	mount := need.Tool(t, "mount", "mount")
	dir := t.TempDir()
	if out, err := exec.Command(mount, "-t", "squashfs", "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "wrong fs type, bad option") {
			t.Fatalf("mount -t squashfs: %v: %s", err, out)
		}
		need.Absent(t, "mount -t squashfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func checkKernel(t testing.TB, image string, want []squash.Entry) {
	t.Helper()
	same(t, "the kernel", folderEntries(t, mounted(t, image)), want)
}

func checkUnsquashfs(t testing.TB, image string, want []squash.Entry) {
	t.Helper()
	need.Root(t)
	tool := need.Tool(t, "unsquashfs", "squashfs-tools")
	dir := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command(tool, "-quiet", "-no-progress", "-d", dir, image).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v: %s", err, out)
	}
	same(t, "unsquashfs", folderEntries(t, dir), want)
}

// checkSqfs2tar leaves out the root, which sqfs2tar does.
func checkSqfs2tar(t testing.TB, image string, want []squash.Entry) {
	t.Helper()
	tool := need.Tool(t, "sqfs2tar", "squashfs-tools-ng")
	out := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(tool, image)
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = f, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("sqfs2tar: %v: %s", err, stderr.String())
	}
	tree, err := tartree.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	keep := func(list []squash.Entry) []squash.Entry {
		var out []squash.Entry
		for _, e := range list {
			if e.Path != "." {
				out = append(out, e)
			}
		}
		return out
	}
	same(t, "sqfs2tar", keep(tree.Entries), keep(want))
}

// checkDiskfs compares some fifty contents.
func checkDiskfs(t testing.TB, image string, want []squash.Entry) {
	t.Helper()
	b, err := file.OpenFromPath(image, true)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := diskfs.Read(b, fi.Size(), 0, 0)
	if err != nil {
		t.Skipf("go-diskfs does not read this image: %v", err)
	}
	step := max(len(want)/50, 1) // it reads a whole folder for each file
	for i := 0; i < len(want); i += step {
		e := want[i]
		if !e.Mode.IsRegular() || e.HardlinkTo != "" || !fs.ValidPath(e.Path) {
			continue
		}
		got, err := d.OpenFile(e.Path, os.O_RDONLY)
		if err != nil {
			t.Fatalf("go-diskfs opens %q: %v", e.Path, err)
		}
		plain, err := io.ReadAll(got)
		if err != nil {
			t.Fatalf("go-diskfs reads %q: %v", e.Path, err)
		}
		var w strings.Builder
		copyBody(t, &w, e)
		if w.String() != string(plain) {
			t.Fatalf("go-diskfs reads %d bytes of %q, want other %d", len(plain), e.Path, w.Len())
		}
	}
}

func TestEveryReaderSeesEveryKindOfInodeWithEveryCompressor(t *testing.T) {
	for _, c := range []squash.Compression{squash.Zstd, squash.Gzip, squash.XZ, squash.LZ4, squash.None} {
		t.Run(c.String(), func(t *testing.T) {
			entries := everyKind(4096)
			o := squash.Options{Compression: c, BlockSize: 4096, ModTime: at(1_700_000_000)}
			checkAll(t, o, entries)
		})
	}
}

func TestKernelReadsOtherBlocks(t *testing.T) {
	small := everyKind(16384)
	checkKernel(t, buildFile(t, squash.Options{BlockSize: 16384, Compression: squash.XZ, NoFragments: true}, small), small)
	checkKernel(t, buildFile(t, squash.Options{BlockSize: 16384, Codec: "slot-xz/1"}, small), small)
	entries := everyKind(1 << 20)
	for _, o := range []squash.Options{
		{BlockSize: 1 << 20, Level: 1}, {BlockSize: 1 << 20, Compression: squash.LZ4, Level: 1, NoTailPacking: true, NoExport: true, NoDuplicates: true},
	} {
		checkKernel(t, buildFile(t, o, entries), entries)
	}
}
