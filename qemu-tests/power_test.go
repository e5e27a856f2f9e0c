package qemutests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// cuts is how often the plug is pulled: 3 times, or SLOTBOOT_POWER_CUTS; the seed is SLOTBOOT_SEED, or another one each
// time, which is printed.
func cuts(t *testing.T) (int, *rand.Rand) {
	n, err := strconv.Atoi(os.Getenv("SLOTBOOT_POWER_CUTS"))
	if err != nil {
		n = 3
	}
	seed, err := strconv.ParseUint(os.Getenv("SLOTBOOT_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("%d power cuts, SLOTBOOT_SEED=%d", n, seed)
	return n, rand.New(rand.NewPCG(seed, 0))
}

// installSteps are lines that slotctl install prints one after the other: a moment after one of them is a random one of the
// install, however slow the machine.
var installSteps = []string{`^guest: install$`, `slot B: installing`, `slot B: vmlinuz`, `slot B: initrd`, `slot B: rootfs`, `slot B: read back`, `slot B: on trial`}

// TestPowerCutAtAnyTimeOfAnInstallBootsTheOldSetOrTheNewOne kills the machine while slotctl writes, then lets real GRUB
// judge what is on the disk. Which of the two sets boots must be the one that slotctl's last word promised, if it came
// to a last word.
func TestPowerCutAtAnyTimeOfAnInstallBootsTheOldSetOrTheNewOne(t *testing.T) {
	t.Parallel()
	n, r := cuts(t)
	for i := range n {
		step, pause := installSteps[r.IntN(len(installSteps))], time.Duration(r.Int64N(int64(time.Second)))
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			t.Parallel()
			cutInstall(t, step, pause)
		})
	}
}

// cutInstall pulls the plug of an install at a moment after one of its steps.
func cutInstall(t *testing.T, step string, pause time.Duration) {
	t.Helper()
	disk := vm.CopyDisk(t, theLab.disk(t))
	g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	g.SendLine("echo guest: install; slotctl install /dev/vdb && echo guest: installed")
	g.WaitLine(step)
	done := g.WaitUntil(`guest: installed`, pause)
	g.PowerCut()
	g = start(t, vm.BIOS, vm.Disk{Path: disk})
	d := g.boots()
	what := fmt.Sprintf("cut %v after %q (installed: %v): slot %s why %s version %s", pause, step, done, d.slot, d.why, d.version)
	switch {
	case d.slot == "A" && d.why == "committed" && d.version == "v1" && !done:
	case d.slot == "B" && d.why == "trial" && d.version == "v2":
	default:
		t.Errorf("%s: a third thing", what)
	}
	g.must("slotctl verify " + d.slot)
	t.Log(what)
}

// TestPowerCutRightAfterCommitKeepsIt pulls the plug as soon as slotctl commit has said that it is done.
func TestPowerCutRightAfterCommitKeepsIt(t *testing.T) {
	t.Parallel()
	n, _ := cuts(t)
	for i := range max(1, n/3) {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			t.Parallel()
			disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
			g := start(t, vm.BIOS, vm.Disk{Path: disk})
			g.expect("B", "trial", "1", "v2")
			g.must("slotctl commit")
			g.PowerCut()
			g = start(t, vm.BIOS, vm.Disk{Path: disk})
			g.expect("B", "committed", "0", "v2")
		})
	}
}
