package qemutests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// What the device's own programs keep has a partition to itself: it takes the larger disk's room in the place of the data
// partition, and no update touches it.
func TestPersistentPartitionGrowsAndOutlivesAnUpdate(t *testing.T) {
	t.Parallel()
	const large = 4 << 30
	disk := filepath.Join(t.TempDir(), "disk")
	if _, err := theLab.run(t, "mkimage", "disk", "--firmware", "bios", "--persistent", "32M", theLab.slotSet(t, "v1"), disk); err != nil {
		t.Fatal(err)
	}
	before := dataPartition(t, disk) // the last
	if err := os.Truncate(disk, large); err != nil {
		t.Fatal(err)
	}
	g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	m := g.WaitLine(`slotboot: grow device=/dev/vda4 from=(\d+)MiB to=(\d+)MiB`)
	g.expect("A", "committed", "0", "v1")
	if from, to := number(t, m[1]), number(t, m[2]); from != 32 || to < (large-before.Offset)>>20-8 {
		t.Errorf("%s, want from 32 to almost %d", m[0], (large-before.Offset)>>20)
	}
	g.must("mkdir /keep && mount -t ext4 /dev/vda4 /keep && test $(stat -f -c %b /keep) -gt $((3 * 262144))")
	g.must("echo kept > /keep/file && umount /keep && slotctl install /dev/vdb")
	g.SendLine("sync; poweroff -f")
	g.WaitExit()
	tableIsSound(t, disk)
	fsck(t, disk)

	g = start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "v2")
	g.must("mkdir /keep && mount -t ext4 /dev/vda4 /keep && test $(cat /keep/file) = kept")
	g.PowerCut()
	for _, line := range g.Lines() {
		if strings.Contains(line.Text, "slotboot: grow") {
			t.Errorf("the second boot grows again: %s", line.Text)
		}
	}
}
