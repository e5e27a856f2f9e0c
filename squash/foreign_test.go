package squash_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/squash"
)

// foreignTree puts a tree with everything in it on the host, as root, and returns it. Part of it is machine code, for
// which xz has filters.
func foreignTree(t *testing.T) string {
	t.Helper()
	need.Root(t)
	entries := everyKind(16384)
	code, err := os.ReadFile(need.Tool(t, "unsquashfs", "squashfs-tools"))
	if err != nil {
		t.Fatal(err)
	}
	entries = append(entries, body(squash.Entry{Path: "usr/zz-program", Mode: 0o755}, code))
	image := buildFile(t, squash.Options{Level: 1}, entries)
	dir := filepath.Join(t.TempDir(), "tree")
	if out, err := exec.Command("unsquashfs", "-quiet", "-no-progress", "-d", dir, image).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v: %s", err, out)
	}
	return dir
}

func TestReaderReadsImagesOfMksquashfs(t *testing.T) {
	tool := need.Tool(t, "mksquashfs", "squashfs-tools")
	dir := foreignTree(t)
	want := folderEntries(t, dir)
	for _, options := range []string{
		"-comp gzip", "-comp gzip -Xcompression-level 1 -Xwindow-size 8", "-comp gzip -Xstrategy filtered,huffman_only,run_length_encoded,fixed",
		"-comp lzo", "-comp lzo -Xalgorithm lzo1x_1 -b 1M", "-comp lzo -Xalgorithm lzo1x_1_11 -b 4K", "-comp lzo -Xalgorithm lzo1x_1_12",
		"-comp lzo -Xalgorithm lzo1x_1_15", "-comp lz4", "-comp lz4 -Xhc -b 1M", "-comp lzma", "-comp lzma -b 1M",
		"-comp xz", "-comp xz -Xbcj x86,powerpc,ia64,arm,armthumb,sparc", "-comp xz -Xdict-size 25% -b 1M", "-comp xz -Xbcj x86 -b 4K",
		"-comp zstd", "-comp zstd -Xcompression-level 1", "-comp zstd -Xcompression-level 22 -b 1M", "-comp zstd -b 4K",
		"-noI -noId", "-noD", "-noF", "-noX", "-noI -noD -noF -noX", "-no-fragments", "-always-use-fragments", "-tailends -b 4K",
		"-no-duplicates", "-no-exports", "-no-sparse", "-nopad",
	} {
		image := filepath.Join(t.TempDir(), "image")
		args := append([]string{dir, image, "-quiet", "-no-progress", "-noappend", "-mkfs-time", "0"}, strings.Fields(options)...)
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("mksquashfs %s: %v: %s", options, err, out)
		}
		t.Run(options, func(t *testing.T) { checkImage(t, image, want) })
		os.Remove(image)
	}
}

func TestReaderReadsImagesOfGensquashfs(t *testing.T) {
	tool := need.Tool(t, "gensquashfs", "squashfs-tools-ng")
	dir := foreignTree(t)
	// gensquashfs 1.1.4 takes neither the root's attributes nor hard links nor empty xattrs from the folder.
	want := folderEntries(t, dir)
	want[0] = squash.Entry{Path: ".", Mode: dirMode, ModTime: at(0)}
	byPath := map[string]squash.Entry{}
	for i, e := range want {
		byPath[e.Path] = e
		if e.HardlinkTo != "" {
			want[i] = byPath[e.HardlinkTo]
			want[i].Path = e.Path
		}
		delete(e.Xattrs, "trusted.empty")
	}
	for _, options := range []string{
		"-c gzip", "-c gzip -X level=1,window=9,huffman -b 4096", "-c lz4", "-c lz4 -X hc", "-c xz", "-c xz -X x86,arm -b 1048576",
		"-c zstd", "-c zstd -X level=19 -b 1048576 -e", "-c lzma", "-c lzo", "-T -b 4096",
	} {
		image := filepath.Join(t.TempDir(), "image")
		args := append([]string{"-D", dir, "-k", "-x", "-q"}, strings.Fields(options)...)
		if out, err := exec.Command(tool, append(args, image)...).CombinedOutput(); err != nil {
			if strings.Contains(string(out), "not support") || strings.Contains(string(out), "nknown compressor") {
				t.Logf("gensquashfs %s: %s", options, out)
				continue
			}
			t.Fatalf("gensquashfs %s: %v: %s", options, err, out)
		}
		t.Run(options, func(t *testing.T) { checkImage(t, image, want) })
		os.Remove(image)
	}
}
