package sys

import (
	"os/exec"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

func TestTheSizeOfAnExt4IsReadAndHowFarItCanGrow(t *testing.T) {
	mke2fs := need.Tool(t, "mke2fs", "e2fsprogs")
	for _, tc := range []struct {
		args []string
		want Extent
	}{
		// The resize limit is in blocks; a block of 64-byte descriptors is for 64 groups of 128 MiB.
		{[]string{"-t", "ext4", "-b", "4096", "-O", "64bit", "-E", "resize=1000000000"}, Extent{4096, 16384, 30518 / 64 * 64 * 32768, false}},
		{[]string{"-t", "ext4", "-b", "4096", "-O", "64bit,^resize_inode"}, Extent{4096, 16384, 16384, false}},
		{[]string{"-t", "ext4", "-b", "4096", "-O", "64bit,meta_bg,^resize_inode"}, Extent{4096, 16384, 16384, false}},
		{[]string{"-t", "ext2", "-b", "1024", "-E", "resize=1000000"}, Extent{1024, 65536, 0, false}},
	} {
		f := made(t, 64<<20, mke2fs, append([]string{"-q"}, tc.args...)...)
		got, err := ReadExtent(f)
		if tc.want.MostBlocks > tc.want.Blocks || tc.want.MostBlocks == 0 {
			// mke2fs rounds up to whole blocks of descriptors: at least what was asked, at most a block more.
			if asked := map[int64]int64{4096: 1000000000, 1024: 1000000}[got.BlockSize]; got.MostBlocks < asked || got.MostBlocks > asked+asked/2 {
				t.Errorf("mke2fs %v: it can grow to %d blocks, want %d or a little more", tc.args, got.MostBlocks, asked)
			}
			tc.want.MostBlocks = got.MostBlocks
		}
		if err != nil || got != tc.want {
			t.Errorf("mke2fs %v: ReadExtent = %+v, %v, want %+v", tc.args, got, err, tc.want)
		}
		if out, err := exec.Command("debugfs", "-w", "-R", "feature needs_recovery", f.Name()).CombinedOutput(); err != nil {
			t.Errorf("debugfs: %v\n%s", err, out)
		}
		if got, _ := ReadExtent(f); !got.Dirty {
			t.Errorf("mke2fs %v, then needs_recovery: %+v, want it dirty", tc.args, got)
		}
	}
}
