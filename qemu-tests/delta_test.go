package qemutests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// documented makes the slot set of a version of the small test image with a changelog in it, gzipped as Debian does it:
// what most of an update is.
func (l *lab) documented(t *testing.T, version string) string {
	t.Helper()
	gzip, err := exec.LookPath("gzip")
	if err != nil {
		absent(t, "gzip is not installed: apt-get install gzip")
	}
	image := l.imageTar(t, version)
	return l.make(t, "documented-"+version, func(path string) error {
		var text strings.Builder
		fmt.Fprintf(&text, "image (%s) stable; urgency=medium\n\n", version)
		for i := range 4000 {
			fmt.Fprintf(&text, "  * Entry %d, %x.\n", i, i*i*2654435761)
		}
		plain := filepath.Join(l.dir, "changelog-"+version)
		if err := os.WriteFile(plain, []byte(text.String()), 0o644); err != nil {
			return err
		}
		packed, err := exec.Command(gzip, "-9nc", plain).Output()
		if err != nil {
			return err
		}
		tarFile := filepath.Join(l.dir, "documented-"+version+".tar")
		if err := withFiles(tarFile, image, map[string][]byte{"etc/changelog.gz": packed}); err != nil {
			return err
		}
		_, err = l.build(t, "tar:"+tarFile, path, version)
		return err
	})
}

// TestDeltaFromInsideTheGuestMakesTheSameFilesAndBoots installs a delta in slot B from what slot A runs, one that looks
// inside a gzip file. That the result is the new slot set bit for bit, slotctl verify says in the guest, and its digest
// of the root file system is the one in the manifest that the builder wrote.
func TestDeltaFromInsideTheGuestMakesTheSameFilesAndBoots(t *testing.T) {
	t.Parallel()
	v1, v2 := theLab.documented(t, "v1"), theLab.documented(t, "v2")
	dir := t.TempDir()
	disk, update := filepath.Join(dir, "disk"), filepath.Join(dir, "update")
	for _, args := range [][]string{{"disk", "--firmware", "bios", v1, disk}, {"delta", v1, v2, update}} {
		if _, err := theLab.run(t, "mkimage", args...); err != nil {
			t.Fatal(err)
		}
	}
	data := readFile(t, update)
	if !bytes.Contains(data, []byte(`"needs":["gzip-9/1"]`)) {
		t.Error("the delta does not look inside etc/changelog.gz")
	}
	root, err := os.Stat(filepath.Join(v2, "rootfs.squashfs"))
	if err != nil || int64(len(data)) > root.Size()/100 {
		t.Errorf("the update has %d bytes for a changelog with another line at its top, want less than 1 %% of the root (%v)", len(data), err)
	}
	g := start(t, vm.BIOS, vm.Disk{Path: disk}, vm.Disk{Path: update, Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	g.must("slotctl install /dev/vdb && slotctl verify B")
	g.must("test $(sha256sum </run/slotboot/data/slots/B/rootfs.squashfs | cut -c-64) = " + rootfsDigest(t, v2))
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
