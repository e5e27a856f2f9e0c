package qemutests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// onData runs commands of debugfs on the data partition of a disk that no machine has.
func onData(t *testing.T, disk string, commands ...string) {
	t.Helper()
	parts, err := vm.Partitions(disk)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/sbin/debugfs", "-w", "-f", "-", fmt.Sprintf("%s?offset=%d", disk, parts[len(parts)-1].Offset))
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
}

// setArgs gives the kernel of slot B on a disk that no machine has other arguments besides guestArgs.
func setArgs(t *testing.T, disk, args string) {
	t.Helper()
	cfg := filepath.Join(t.TempDir(), "slot.cfg")
	if err := writeFile(cfg, fmt.Appendf(nil, "set slotboot_args=\"%s %s\"\n", guestArgs, args)); err != nil {
		t.Fatal(err)
	}
	onData(t, disk, "cd /slots/B", "rm slot.cfg", "write "+cfg+" slot.cfg")
}

// watched builds a slot set whose kernel has a watchdog (the cloud kernel knows none of QEMU's, so it is Linux's own)
// and whose userland never feeds it, and installs it on a disk.
func (l *lab) watched(t *testing.T) string {
	t.Helper()
	image := l.imageTar(t, "hangs")
	l.make(t, "set-hangs", func(path string) error {
		_, err := l.build(t, "tar:"+image, path, "hangs", "--module", "softdog", "--cmdline", guestArgs+" slotboot.watchdog=30")
		return err
	})
	return l.installed(t, "hangs")
}

func TestUserlandThatHangsOnItsTrialIsResetByTheWatchdogAndFallsBack(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.watched(t))
	setEnv(t, disk, "BOOT_LIMIT=1")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "hangs") // and says nothing more
	g.expect("A", "fallback", "0", "v1")
}

func TestCommitStopsTheWatchdogOfATrial(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.watched(t))
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "hangs")
	g.must("slotctl commit")
	g.must("sleep 40")
	g.must("slotctl status")
}

func TestRottenBlockPanicsWhenAskedToAndFallsBack(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	setArgs(t, disk, "slotboot.verity=panic panic=1")
	setEnv(t, disk, "BOOT_LIMIT=2")
	rot(t, disk, theLab.slotSet(t, "v2"), ownBlock(t, "v2"))
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	for range 2 { // before or after init says that it boots slot B: the kernel reads ahead
		g.WaitLine(`Kernel panic - not syncing: dm-verity device corrupted`)
	}
	g.expect("A", "fallback", "0", "v1")
}

func TestFullBootPartitionStillCountsInstallsAndCommits(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.disk(t))
	g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	g.must(`device=$(sed -n 's/.*"env_device": *"\([^"]*\)".*/\1/p' /run/slotboot/boot.json); mkdir /tmp/boot; mount -t vfat $device /tmp/boot`)
	g.must("cat /dev/zero > /tmp/boot/fill 2>/dev/null; df /tmp/boot | tail -1 | grep -q '100%'; umount /tmp/boot")
	g.must("slotctl install /dev/vdb")
	g.restart()
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit")
	g.restart()
	g.expect("B", "committed", "0", "v2")
}

func TestFullDataPartitionBootsAndRefusesAnInstallForLackOfSpace(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.disk(t))
	g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	g.must("cd /run/slotboot/data && mount -o remount,rw . && { cat /dev/zero > state/fill 2>/dev/null; mount -o remount,ro . ; cd /; }")
	if status := g.do("slotctl install /dev/vdb"); status != "5" {
		t.Errorf("slotctl install onto a full data partition: exit status %s, want 5", status)
	}
	for range 2 { // full does not stop a boot, an error neither
		g.restart()
		g.expect("A", "committed", "0", "v1")
	}
	g.must("cd /run/slotboot/data && mount -o remount,rw . && rm state/fill && mount -o remount,ro . ; cd /")
	g.must("slotctl install /dev/vdb")
	g.restart()
	g.expect("B", "trial", "1", "v2")
}

func TestDiskThatCannotBeWrittenBootsTheCommittedSlot(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	setEnv(t, disk, "BOOT_VERSION=A", "BOOT_VERIFIED=true", "BOOT_BAD=")
	before := env(t, disk)
	g := start(t, vm.BIOS, vm.Disk{Path: disk, ReadOnly: true}, vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	if status := g.do("slotctl install /dev/vdb"); status != "1" {
		t.Errorf("slotctl install onto a disk that cannot be written: exit status %s, want 1", status)
	}
	g.must("slotctl status && slotctl verify")
	g.PowerCut()
	if after := env(t, disk); after != before {
		t.Errorf("the block: %s, want %s", after, before)
	}
}

func TestTrialOnADiskThatCannotBeWrittenStillBoots(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	g := start(t, vm.BIOS, vm.Disk{Path: disk, ReadOnly: true})
	if d := g.boots(); d.saved != "n" {
		t.Errorf("init says saved=%s for slot %s, want n: nothing can be saved", d.saved, d.slot)
	}
}

func TestDataPartitionWithErrorsStillBoots(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.disk(t))
	// As the kernel leaves it after an error: the state says so, and free counts that are not true.
	onData(t, disk, "set_super_value state 2", "set_super_value free_blocks_count 1", "set_block_group 0 free_blocks_count 3")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("A", "committed", "0", "v1")
	g.must("slotctl status && slotctl verify A")
}

func TestSlotWithoutAKernelFallsBackAtOnce(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	onData(t, disk, "rm /slots/B/vmlinuz")
	g := start(t, vm.UEFI, vm.Disk{Path: disk})
	g.expect("A", "fallback", "0", "v1")
}

func TestRootThatIsCutShortFallsBackAtOnce(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	onData(t, disk, "set_inode_field /slots/B/rootfs.squashfs size 100000")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.WaitLine(`slotboot: fail slot=B cause=".+"`)
	g.expect("A", "committed", "0", "v1")
}

func TestTornBlockBootsTheOldSlotOrTheNewOne(t *testing.T) {
	t.Parallel()
	from := theLab.installed(t, "v2")
	old, now := vm.ReadEnv(t, theLab.disk(t)), vm.ReadEnv(t, from)
	for name, block := range map[string][]byte{
		"first sector new":  append(append([]byte{}, now[:512]...), old[512:]...),
		"second sector new": append(append([]byte{}, old[:512]...), now[512:]...),
	} {
		disk := vm.CopyDisk(t, from)
		vm.WriteEnv(t, disk, block)
		g := start(t, vm.BIOS, vm.Disk{Path: disk})
		d := g.boots()
		if !(d.slot == "A" && d.why == "committed" || d.slot == "B" && d.why == "trial") {
			t.Errorf("%s: boots slot %s why %s", name, d.slot, d.why)
		}
		g.PowerCut()
		if err := os.Remove(disk); err != nil {
			t.Fatal(err)
		}
	}
}
