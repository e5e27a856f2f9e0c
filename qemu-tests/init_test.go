package qemutests

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// direct starts a slot set's kernel and initrd without a boot loader, so nothing is handed over.
func direct(t *testing.T, set, args string, noReboot bool, disks ...vm.Disk) *guest {
	t.Helper()
	return &guest{vm.Start(t, vm.Config{
		Firmware: vm.Kernel, Kernel: filepath.Join(set, "vmlinuz"), Initrd: filepath.Join(set, "initrd"),
		Append: guestArgs + " panic=5 " + args, Disks: disks, NoReboot: noReboot,
	}), t}
}

func TestInitRunsThePolicyItselfWithoutAHandOver(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	set := theLab.slotSet(t, "v2")
	g := direct(t, set, "slotboot.limit=2", false, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "v2")
	g.Reset()
	g.expect("B", "trial", "2", "v2")
	g.Reset()
	g.expect("A", "fallback", "0", "v1")
	g.PowerCut()
	if got := env(t, disk); !strings.Contains(got, "BOOT_VERSION=A BOOT_VERIFIED=true BOOT_COUNT=0 BOOT_FELL_BACK=true BOOT_BAD=B") {
		t.Errorf("the block after the fallback: %s", got)
	}
}

func TestDataPartitionThatNeverAppearsEndsInARestartNotAHang(t *testing.T) {
	t.Parallel()
	g := direct(t, theLab.slotSet(t, "v2"), "slotboot.data=LABEL=slotboot slotboot.wait=2 slotboot.rescue=3", true)
	g.WaitLine(`slotboot: fail .*cause=".*LABEL=slotboot.*"`)
	g.WaitExit()
}

// TestASlotMarkedBadIsTriedWhenTheDefaultHasNoRoot is the device that nobody can drive to: without a person at the prompt
// it boots the other slot once, from where slotctl commit makes that the default.
func TestASlotMarkedBadIsTriedWhenTheDefaultHasNoRoot(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	setArgs(t, disk, "slotboot.rescue=3")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit && slotctl mark-bad A")
	g.must("mount -o remount,rw /run/slotboot/data && dd if=/dev/zero of=/run/slotboot/data/slots/B/rootfs.squashfs bs=4096 count=1 conv=notrunc && sync")
	g.must("mount -o remount,ro /run/slotboot/data")
	g.Reset()
	for range 2 {
		g.WaitLine(`slotboot: fail slot=B cause=".+"`)
		g.WaitLine(`slotboot: restart slot=A why=last-resort`)
		g.expect("A", "once", "0", "v1")
		g.Reset()
	}
	g.expect("A", "once", "0", "v1")
	g.must("slotctl commit")
	g.Reset()
	g.expect("A", "committed", "0", "v1")
}

func TestOverlaySizeAndModeAreSettable(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.disk(t))
	g := direct(t, theLab.slotSet(t, "v1"), "slotboot.slot=A slotboot.why=committed slotboot.overlay=size=20M,mode=0711", false, vm.Disk{Path: disk})
	g.boots()
	g.must(`[ "$(df -m /run/slotboot/overlay | tail -1 | awk '{print $2}')" = 20 ]`)
	g.must(`[ "$(stat -c %a /)" = 711 -o "$(stat -c %a /run/slotboot/overlay)" = 711 ]`)
	g.must("touch /written && ! touch /run/slotboot/rootfs/written && ! touch /run/slotboot/data/written")
}

func TestShutdownOfSystemdLeavesTheDataPartitionClean(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("boots a machine")
	}
	layout := cache(t, "demo/oci", "demo bin/slotctl")
	set := theLab.make(t, "set-debian", func(path string) error {
		_, err := theLab.build(t, "oci:"+layout+":v1", path, "v1", "--cmdline", guestArgs+" systemd.show_status=no")
		return err
	})
	disk := filepath.Join(t.TempDir(), "debian.disk")
	if _, err := theLab.run(t, "mkimage", "disk", "--firmware", "bios", set, disk); err != nil {
		t.Fatal(err)
	}
	g := &guest{vm.Start(t, vm.Config{Firmware: vm.BIOS, MemoryMB: 768, Disks: []vm.Disk{{Path: disk}}}), t}
	write := func(name string) {
		g.WaitLine(`appliance: version v1 is up on slot A`)
		g.WaitPrompt("# ")
		g.SendLine("mount -o remount,rw /run/slotboot/data && echo x > /run/slotboot/data/state/" + name + "; echo wrote=$?")
		g.WaitLine(`^\s*wrote=0`)
	}
	write("one")
	g.SendLine("cat /etc/machine-id; reboot")
	id := g.WaitLine(`([0-9a-f]{32})`)[1]
	g.WaitLine(`slotboot: shutdown how=reboot left=0`)
	write("two")
	g.SendLine("cat /etc/machine-id; poweroff")
	if again := g.WaitLine(`([0-9a-f]{32})`)[1]; again != id {
		t.Errorf("machine-id was %s, and %s after a reboot", id, again)
	}
	g.WaitLine(`slotboot: shutdown how=poweroff left=0`)
	g.WaitExit()
	fsck(t, disk)
}
