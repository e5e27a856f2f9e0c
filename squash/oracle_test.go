package squash_test

import (
	"os/exec"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/squash"
)

// mounted mounts an image and returns where. The kernel is the reader that counts.
func mounted(t testing.TB, image string) string {
	t.Helper()
	need.Root(t)
	mount := need.Tool(t, "mount", "mount")
	dir := t.TempDir()
	if out, err := exec.Command(mount, "-t", "squashfs", "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
		need.Absent(t, "mount -t squashfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestKernelReadsEveryKindOfInodeWithEveryCompressor(t *testing.T) {
	for _, c := range []squash.Compression{squash.Zstd, squash.Gzip, squash.XZ, squash.LZ4, squash.None} {
		t.Run(c.String(), func(t *testing.T) {
			for _, o := range []squash.Options{
				{Compression: c},
				{Compression: c, BlockSize: 4096, Level: 1, NoFragments: true},
				{Compression: c, BlockSize: 1 << 20, NoExport: true, NoDuplicates: true, NoTailPacking: true},
			} {
				if c == squash.XZ || c == squash.None {
					o.Level = 0
				}
				entries := everyKind(max(o.BlockSize, 4096))
				same(t, "the kernel", folderEntries(t, mounted(t, buildFile(t, o, entries))), entries)
			}
		})
	}
}
