package qemutests

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

const growLine = `slotboot: grow device=/dev/vda3 from=(\d+)MiB to=(\d+)MiB`

// The image is written to a larger disk. The first boot takes all of it, the second has nothing to do.
func TestDataPartitionGrowsToTheWholeDiskOnTheFirstBoot(t *testing.T) {
	t.Parallel()
	const large = 20 << 30
	disk := vm.CopyDisk(t, theLab.disk(t))
	if err := os.Truncate(disk, large); err != nil {
		t.Fatal(err)
	}
	before := dataPartition(t, disk)
	g := start(t, vm.UEFI, vm.Disk{Path: disk})
	m := g.WaitLine(growLine)
	g.expect("A", "committed", "0", "v1")
	if from, to := number(t, m[1]), number(t, m[2]); from != before.Size>>20 || to < (large-before.Offset)>>20-8 {
		t.Errorf("%s, want from %d to almost %d", m[0], before.Size>>20, (large-before.Offset)>>20)
	}
	g.must("test $(stat -f -c %b /run/slotboot/data) -gt $((19 * 262144))") // blocks of 4 KiB, without what ext4 needs itself
	g.must("grep -q ' /run/slotboot/data ext4 ro,' /proc/mounts")
	g.must("mount -o remount,rw /run/slotboot/data && dd if=/dev/zero of=/run/slotboot/data/state/big bs=1M count=300 && mount -o remount,ro /run/slotboot/data")
	g.SendLine("sync; poweroff -f")
	g.WaitExit()
	after := dataPartition(t, disk)
	if after.ID != before.ID || after.Offset != before.Offset || after.Offset+after.Size != large-1<<20 {
		t.Errorf("the data partition was %+v and is %+v, want it to end 1 MiB before %d", before, after, int64(large))
	}
	tableIsSound(t, disk)
	fsck(t, disk)

	g = start(t, vm.BIOS, vm.Disk{Path: disk}) // BIOS finds its core beside the table that moved
	g.expect("A", "committed", "0", "v1")
	g.must("test $(stat -c %s /run/slotboot/data/state/big) = $((300 << 20))")
	g.PowerCut()
	for _, line := range g.Lines() {
		if strings.Contains(line.Text, "slotboot: grow") {
			t.Errorf("the second boot grows again: %s", line.Text)
		}
	}
}

func dataPartition(t *testing.T, disk string) vm.Partition {
	t.Helper()
	parts, err := vm.Partitions(disk)
	if err != nil {
		t.Fatal(err)
	}
	return parts[len(parts)-1]
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tableIsSound has sgdisk judge both copies of the partition table.
func tableIsSound(t *testing.T, disk string) {
	t.Helper()
	out, err := exec.Command("/sbin/sgdisk", "-v", disk).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Error(fmt.Sprintf("sgdisk -v: %v: apt-get install gdisk\n%s", err, out))
	}
}

// The power fails while the disk grows: between two moves of the partition table, before the file system has
// followed, and half way through that. Each time the machine boots, and the growth comes to its end.
func TestPowerCutWhileTheDiskGrowsBootsAndGoesOn(t *testing.T) {
	t.Parallel()
	const large = 20 << 30
	fresh, log := theLab.disk(t), t.TempDir()+"/log"
	disk := vm.CopyDisk(t, fresh)
	if err := os.Truncate(disk, large); err != nil {
		t.Fatal(err)
	}
	g := start(t, vm.BIOS, vm.Disk{Path: disk, Log: log})
	g.WaitLine(growLine)
	g.PowerCut()
	writes, err := vm.ReadWriteLog(log)
	if err != nil {
		t.Fatal(err)
	}
	var headers []int // writes that hold the first header
	for i, w := range writes {
		if w.Offset <= 512 && w.Offset+w.Size() >= 1024 {
			headers = append(headers, i)
		}
	}
	if len(headers) < 2 || len(writes)-headers[len(headers)-1] < 10 {
		t.Fatalf("%d writes, those of the header %v: want two at least, and the file system's behind them", len(writes), headers)
	}
	last := headers[len(headers)-1]
	for _, cut := range []int{headers[0] + 1, last + 1, last + (len(writes)-last)/4} {
		disk := vm.CopyDisk(t, fresh)
		if err := os.Truncate(disk, large); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range writes[:cut] {
			if err := w.Apply(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("cut after %d of %d writes", cut, len(writes))
		g := start(t, vm.BIOS, vm.Disk{Path: disk})
		g.expect("A", "committed", "0", "v1")
		g.must("test $(stat -f -c %b /run/slotboot/data) -gt $((19 * 262144))")
		g.SendLine("sync; poweroff -f")
		g.WaitExit()
		tableIsSound(t, disk)
		fsck(t, disk)
		if p := dataPartition(t, disk); p.Offset+p.Size != large-1<<20 {
			t.Errorf("cut after %d writes, then booted: the data partition is %+v", cut, p)
		}
	}
}
