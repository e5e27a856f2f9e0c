package qemutests

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// deltaBundle makes the update from version 1 to another one, in which every payload that can be a delta is one.
func (l *lab) deltaBundle(t *testing.T, version, cmdline string) string {
	t.Helper()
	old, next := l.slotSet(t, "v1", "GUEST_VARIABLE=kept"), l.slotSet(t, version, cmdline)
	return l.make(t, "v1-to-"+version+".bundle", func(path string) error {
		_, err := l.run(t, "mkimage", "delta", old, next, path)
		return err
	})
}

// TestDeltaFromInsideTheGuestMakesTheSameFilesAndBoots installs a delta in slot B from what slot A runs. That the
// result is the new slot set bit for bit, slotctl verify says in the guest, and its digest of the root file system is
// the one in the manifest that the builder wrote.
func TestDeltaFromInsideTheGuestMakesTheSameFilesAndBoots(t *testing.T) {
	t.Parallel()
	update := theLab.deltaBundle(t, "v2", "")
	full, err := os.Stat(theLab.bundle(t, "v2", ""))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(update); err != nil || info.Size() > full.Size()/4 {
		t.Fatalf("the delta has %d bytes (%v), want less than a quarter of the full bundle's %d", info.Size(), err, full.Size())
	}
	disk := vm.CopyDisk(t, theLab.disk(t))
	g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: update, Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	g.must("slotctl install /dev/vdb && slotctl verify B")
	g.must("test $(sha256sum </run/slotboot/data/slots/B/rootfs.squashfs | cut -c-64) = " + rootfsDigest(t, theLab.slotSet(t, "v2", "")))
	g.restart()
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit")
	// Slot B runs version 2 now: the delta from version 1 fits no more, and slot A must not be touched for it.
	if status := g.do("slotctl install /dev/vdb"); status != "6" {
		t.Errorf("slotctl install of a delta from another version: exit status %s, want 6", status)
	}
	g.must("slotctl verify")
	g.restart()
	g.expect("B", "committed", "0", "v2")
}

// rootfsDigest is what a slot set's manifest says of its root file system.
func rootfsDigest(t *testing.T, set string) string {
	t.Helper()
	var m struct {
		Payloads []struct{ Name, SHA256 string }
	}
	if err := json.Unmarshal(readFile(t, set+"/manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Payloads {
		if p.Name == "rootfs.squashfs" {
			return p.SHA256
		}
	}
	t.Fatalf("%s: no payload rootfs.squashfs", set)
	return ""
}
