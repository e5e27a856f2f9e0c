package qemutests

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// keyed makes the small test image of a version with a public key in it.
func keyed(t *testing.T, version, pub string) string {
	t.Helper()
	in, err := os.Open(theLab.imageTar(t, version))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), version+".tar")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r, w := tar.NewReader(in), tar.NewWriter(out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(addTar(w, "etc/slotboot/keys/release.pub", 0o644, 0, readFile(t, pub)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDeviceWithKeysInstallsAndBootsOnlyWhatIsSigned(t *testing.T) {
	dir := t.TempDir()
	mkimage := func(args ...string) {
		t.Helper()
		if _, err := theLab.run(t, "mkimage", args...); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(dir, "release")
	init := filepath.Join(theLab.programs(t), "init")
	in := func(name string) string { return filepath.Join(dir, name) }
	mkimage("keygen", "-W", key)
	mkimage("build", "--init", init, "--version", "v1", "--cmdline", guestArgs, "--key", key+".key", "tar:"+keyed(t, "v1", key+".pub"), in("v1"))
	mkimage("build", "--init", init, "--version", "v2", "--cmdline", guestArgs, "tar:"+keyed(t, "v2", key+".pub"), in("v2"))
	mkimage("disk", "--firmware", "bios", in("v1"), in("disk"))
	mkimage("bundle", in("v2"), in("unsigned.bundle"))
	mkimage("sign", "--key", key+".key", in("v2"))
	mkimage("bundle", in("v2"), in("signed.bundle"))
	g := start(t, vm.BIOS, vm.Disk{Path: in("disk")}, vm.Disk{Path: in("unsigned.bundle"), Snapshot: true}, vm.Disk{Path: in("signed.bundle"), Snapshot: true})
	g.expect("A", "committed", "0", "v1")
	if status := g.do("slotctl install /dev/vdb"); status != "4" {
		t.Errorf("slotctl install of an unsigned bundle: exit status %s, want 4", status)
	}
	g.must("slotctl install /dev/vdc && slotctl verify")
	g.restart()
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit")
	g.must("mount -o remount,rw /run/slotboot/data && echo >>/run/slotboot/data/slots/B/manifest.json && mount -o remount,ro /run/slotboot/data")
	g.restart()
	g.WaitLine(`slotboot: fail slot=B cause="check manifest.json of slot B: key [0-9A-F]{16}: the signature does not fit.*"`)
	g.expect("A", "committed", "0", "v1")
	if status := g.do("slotctl explain"); status != "0" {
		t.Errorf("slotctl explain: exit status %s", status)
	}
}
