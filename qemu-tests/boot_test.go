package qemutests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// guest is a machine that runs the small test image.
type guest struct {
	*vm.Machine
	t *testing.T
}

// decision is the line init writes about a boot, and the lines the image writes about itself.
type decision struct {
	slot, why, count, limit, saved string
	version, fellback, said        string
}

// start boots disk. The test goes on while the machine runs.
func start(t *testing.T, firmware vm.Firmware, disks ...vm.Disk) *guest {
	t.Helper()
	return &guest{vm.Start(t, vm.Config{Firmware: firmware, Disks: disks}), t}
}

const decisionLine = `slotboot: boot slot=([AB]) why=(\S+) count=(\d+) limit=(\d+) saved=([yn])`

// boots waits for the next boot to reach the image's init.
func (g *guest) boots() decision {
	g.t.Helper()
	m := g.WaitLine(decisionLine)
	d := decision{slot: m[1], why: m[2], count: m[3], limit: m[4], saved: m[5]}
	m = g.WaitLine(`guest: version=(\S+) slot=([AB]) fellback=(\S+) (.*)`)
	d.version, d.fellback, d.said = m[1], m[3], m[4]
	if m[2] != d.slot {
		g.t.Errorf("init boots slot %s, but boot.json says %s", d.slot, m[2])
	}
	g.WaitLine(`guest: ready`)
	return d
}

// expect waits for the next boot and compares slot, reason, count and version.
func (g *guest) expect(slot, why, count, version string) decision {
	g.t.Helper()
	d := g.boots()
	if d.slot != slot || d.why != why || d.count != count || d.version != version {
		g.t.Fatalf("boot: slot %s why %s count %s version %s, want slot %s why %s count %s version %s",
			d.slot, d.why, d.count, d.version, slot, why, count, version)
	}
	return d
}

// do runs a command in the guest and returns its exit status.
func (g *guest) do(command string) string {
	g.t.Helper()
	g.SendLine(command)
	return g.WaitLine(`guest: done (\d+)`)[1]
}

// must runs a command in the guest that has to succeed.
func (g *guest) must(command string) {
	g.t.Helper()
	if status := g.do(command); status != "0" {
		g.t.Fatalf("in the guest: %s: exit status %s", command, status)
	}
}

// restart restarts the guest in order.
func (g *guest) restart() {
	g.t.Helper()
	g.SendLine("sync; reboot -f")
}

// setEnv edits the environment block of a disk that no machine has.
func setEnv(t *testing.T, disk string, vars ...string) {
	t.Helper()
	block := theLab.blockFile(t, vm.ReadESP(t, disk, "EFI/BOOT/grubenv"))
	if _, err := theLab.run(t, "slotctl", append([]string{"env", "set", block}, vars...)...); err != nil {
		t.Fatal(err)
	}
	vm.WriteESP(t, disk, "EFI/BOOT/grubenv", readFile(t, block))
}

// env returns the environment block of a disk as one line of variables.
func env(t *testing.T, disk string) string {
	t.Helper()
	block := theLab.blockFile(t, vm.ReadESP(t, disk, "EFI/BOOT/grubenv"))
	out, err := theLab.run(t, "slotctl", "env", "list", block)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(out), " ")
}

// installed makes a disk with version 1 committed in slot A and a bundle freshly installed in slot B, by slotctl in
// the guest.
func (l *lab) installed(t *testing.T, version string) string {
	t.Helper()
	from := l.disk(t)
	bundle := l.bundle(t, version)
	return l.make(t, "v1-and-"+version+".disk", func(path string) error {
		disk := vm.CopyDisk(t, from)
		g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: bundle, Snapshot: true})
		g.expect("A", "committed", "0", "v1")
		g.must("slotctl install /dev/vdb")
		g.SendLine("sync; poweroff -f")
		g.WaitExit()
		return os.Rename(disk, path)
	})
}

func TestInstallTrialCommitFromInsideTheGuestUnderUEFI(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.disk(t))
	g := start(t, vm.UEFI, vm.Disk{Path: disk}, vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	d := g.expect("A", "committed", "0", "v1")
	if want := "pid=1 args= var=kept"; d.said != want {
		t.Errorf("the image's init was started with %q, want %q", d.said, want)
	}
	g.must("slotctl install /dev/vdb")
	if status := g.do("slotctl install /dev/vdb"); status != "0" {
		t.Errorf("slotctl install again before the reboot: exit status %s, want 0 (it is there already)", status)
	}
	g.restart()
	g.expect("B", "trial", "1", "v2")
	g.SendLine("slotctl status --json | tr -d '\\n '; echo")
	status := statusLine(t, g)
	if status.Running != "B" || status.Default != "B" || status.Verified || status.Count != 1 || status.Slots["B"].Version != "v2" || status.Slots["A"].State != "ready" {
		t.Errorf("slotctl status --json on the first trial boot = %+v", status)
	}
	g.WaitLine("guest: done 0")
	g.must("slotctl commit")
	g.restart()
	g.expect("B", "committed", "0", "v2")
	g.PowerCut()
	if got, want := env(t, disk), "BOOT_VERSION=B BOOT_VERIFIED=true BOOT_COUNT=0"; !strings.HasPrefix(got, want) {
		t.Errorf("the block after the commit: %s, want %s ...", got, want)
	}
}

type status struct {
	Running, Default string
	Verified         bool
	Count, Limit     int
	FellBack         bool `json:"fell_back"`
	Slots            map[string]struct{ Version, State string }
}

func statusLine(t *testing.T, g *guest) status {
	t.Helper()
	line := g.WaitLine(`(\{.*"running".*\})`)[1]
	var s status
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		t.Fatalf("slotctl status --json: %v in %s", err, line)
	}
	return s
}

func TestCommitStaysThroughPowerCuts(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit")
	g.PowerCut()
	for range 3 {
		g = start(t, vm.BIOS, vm.Disk{Path: disk})
		g.expect("B", "committed", "0", "v2")
		g.PowerCut()
	}
}

func TestTrialGetsExactlyLimitBootsThenTheOtherSlotForEver(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	setEnv(t, disk, "BOOT_LIMIT=2")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	for count := 1; count <= 2; count++ {
		g.expect("B", "trial", fmt.Sprint(count), "v2")
		g.Reset()
	}
	if d := g.expect("A", "fallback", "0", "v1"); d.fellback != "yes" {
		t.Errorf("slotboot.fellback on the boot that fell back: %s, want yes", d.fellback)
	}
	if status := g.do("slotctl status"); status != "10" {
		t.Errorf("slotctl status after a fallback: exit status %s, want 10", status)
	}
	for range 2 {
		g.Reset()
		g.expect("A", "committed", "0", "v1")
	}
}

func TestKernelThatPanicsFallsBack(t *testing.T) {
	t.Parallel()
	// No root and no init: the kernel panics before it runs anything, and panic=1 restarts the machine.
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	setArgs(t, disk, "rdinit=/nothing panic=1")
	setEnv(t, disk, "BOOT_LIMIT=2")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.WaitLine("Kernel panic - not syncing")
	g.WaitLine("Kernel panic - not syncing")
	g.expect("A", "fallback", "0", "v1")
	g.PowerCut()
	if got := env(t, disk); !strings.Contains(got, "BOOT_BAD=B") || !strings.Contains(got, "BOOT_FELL_BACK=true") {
		t.Errorf("the block after the fallback: %s", got)
	}
}

func TestKernelThatCannotBeLoadedFallsBackAtOnce(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	g := start(t, vm.UEFI, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "v2")
	g.must("mount -o remount,rw /run/slotboot/data && truncate -s 100000 /run/slotboot/data/slots/B/vmlinuz && sync")
	g.must("mount -o remount,ro /run/slotboot/data")
	g.restart()
	g.expect("A", "fallback", "0", "v1")
}

func TestRootThatCannotBeMountedFallsBackAtOnce(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("B", "trial", "1", "v2")
	g.must("mount -o remount,rw /run/slotboot/data && dd if=/dev/zero of=/run/slotboot/data/slots/B/rootfs.squashfs bs=4096 count=1 conv=notrunc && sync")
	g.must("mount -o remount,ro /run/slotboot/data")
	g.Reset()
	g.WaitLine(`slotboot: fail slot=B cause=".+"`)
	g.expect("A", "committed", "0", "v1")
	if status := g.do("slotctl status"); status != "10" {
		t.Errorf("slotctl status after a failed root: exit status %s, want 10", status)
	}
}

func TestBothSlotsBadStillBootsSomething(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.disk(t))
	setEnv(t, disk, "BOOT_VERSION=A", "BOOT_VERIFIED=false", "BOOT_COUNT=3", "BOOT_BAD=B")
	before := env(t, disk)
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("A", "last-resort", "3", "v1")
	g.PowerCut()
	if after := env(t, disk); after != before {
		t.Errorf("a last resort wrote the block: %s, want %s", after, before)
	}
}

func TestDamagedBlockStillBoots(t *testing.T) {
	t.Parallel()
	good := "# GRUB Environment Block\nBOOT_VERSION=A\nBOOT_VERIFIED=true\n"
	for name, block := range map[string]string{
		"zeroed":     strings.Repeat("\x00", 1024),
		"cut short":  good[:40] + strings.Repeat("\x00", 984),
		"CRLF":       pad(strings.ReplaceAll(good, "\n", "\r\n")),
		"duplicates": pad(good + "BOOT_VERIFIED=false\nBOOT_COUNT=1\nBOOT_COUNT=9\nBOOT_COUNT=2\nBOOT_VERIFIED=true\n"),
		"no header":  strings.Repeat("#", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			disk := vm.CopyDisk(t, theLab.disk(t))
			vm.WriteESP(t, disk, "EFI/BOOT/grubenv", []byte(block))
			g := start(t, vm.BIOS, vm.Disk{Path: disk})
			if d := g.boots(); d.slot != "A" {
				t.Errorf("a block that is %s boots slot %s why %s, want A", name, d.slot, d.why)
			}
			g.must("slotctl commit") // repairs it
			g.PowerCut()
			if got := env(t, disk); !strings.HasPrefix(got, "BOOT_VERSION=A BOOT_VERIFIED=true BOOT_COUNT=0") {
				t.Errorf("the block after a commit: %s", got)
			}
		})
	}
}

func TestBlockThatGRUBCannotSaveIsRepairedByInit(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	block := []byte("# GRUB Environment Block\nBOOT_VERSION=B\nBOOT_VERIFIED=false\nBOOT_COUNT=0\n")
	vm.WriteESP(t, disk, "EFI/BOOT/grubenv", append(block, strings.Repeat(" ", 1024-len(block))...)) // no '#' to make room from
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	if d := g.expect("B", "trial", "1", "v2"); d.saved != "y" {
		t.Errorf("init says saved=%s, want y: it has repaired the block", d.saved)
	}
	g.must("grep -q slotboot.saved=n /proc/cmdline") // GRUB could not
	g.Reset()
	g.expect("B", "trial", "2", "v2")
	g.must("grep -q slotboot.saved=y /proc/cmdline")
}

func pad(block string) string {
	return block + strings.Repeat("#", 1024-len(block))
}

// fsck judges the data partition of a disk that no machine has, as it was left.
func fsck(t *testing.T, disk string) {
	t.Helper()
	parts, err := vm.Partitions(disk)
	if err != nil {
		t.Fatal(err)
	}
	data := parts[len(parts)-1]
	out, err := exec.Command("/sbin/e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", disk, data.Offset)).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck of the data partition: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "recovering journal") || strings.Contains(string(out), "skipping journal") {
		t.Errorf("the data partition was not left clean:\n%s", out)
	}
}
