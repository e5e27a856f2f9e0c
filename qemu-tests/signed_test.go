package qemutests

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// release makes what the maker of a product with a key has. It returns the path of a file of it: disk with version 1,
// unsigned.bundle and signed.bundle with version 2, v2, their slot set.
//
// The image knows where example.com is, for a guest in QEMU's user network, and believes the certificate of the servers
// of net/http/httptest, which is for that name.
func (l *lab) release(t *testing.T) (in func(name string) string) {
	t.Helper()
	images := map[string]string{"v1": l.imageTar(t, "v1"), "v2": l.imageTar(t, "v2")}
	return func(name string) string {
		return filepath.Join(l.make(t, "release", func(dir string) error { return l.makeRelease(t, dir, images) }), name)
	}
}

func (l *lab) makeRelease(t *testing.T, dir string, images map[string]string) error {
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if _, err := l.run(t, "mkimage", "keygen", "-W", in("release")); err != nil {
		return err
	}
	pub, err := os.ReadFile(in("release.pub"))
	if err != nil {
		return err
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	files := map[string][]byte{
		"etc/slotboot/keys/release.pub":     pub,
		"etc/hosts":                         []byte("10.0.2.2 example.com\n"),
		"etc/ssl/certs/ca-certificates.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	for version, image := range images {
		tarFile := in(version + ".tar")
		if err := withFiles(tarFile, image, files); err != nil {
			return err
		}
		if _, err := l.build(t, "tar:"+tarFile, in(version), version); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"bundle", in("v2"), in("unsigned.bundle")},
		{"sign", "--key", in("release.key"), in("v2")},
		{"bundle", in("v2"), in("signed.bundle")},
		{"sign", "--key", in("release.key"), in("v1")},
		{"disk", "--firmware", "bios", in("v1"), in("disk")},
	} {
		if _, err := l.run(t, "mkimage", args...); err != nil {
			return err
		}
	}
	return nil
}

func TestDeviceWithKeysInstallsAndBootsOnlyWhatIsSigned(t *testing.T) {
	t.Parallel()
	in := theLab.release(t)
	g := start(t, vm.BIOS, vm.Disk{Path: vm.CopyDisk(t, in("disk"))}, vm.Disk{Path: in("unsigned.bundle"), Snapshot: true}, vm.Disk{Path: in("signed.bundle"), Snapshot: true})
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
