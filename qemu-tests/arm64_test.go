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

// arm64Programs returns a folder with init and slotctl for arm64.
func (l *lab) arm64Programs(t *testing.T) string {
	t.Helper()
	return l.make(t, "bin-arm64", func(dir string) error {
		for _, name := range []string{"init", "slotctl"} {
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), "../"+name)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build %s for arm64: %v\n%s", name, err, out)
			}
		}
		return nil
	})
}

// arm64Set builds the small test image of a version for arm64.
func (l *lab) arm64Set(t *testing.T, version string) string {
	t.Helper()
	packages := cache(t, "arm64", "arm64")
	bin := l.arm64Programs(t)
	return l.make(t, "set-arm64-"+version, func(path string) error {
		image := path + ".tar"
		if err := (parts{packages, filepath.Join(packages, "bin/busybox"), filepath.Join(bin, "slotctl")}).tar(image, version); err != nil {
			return err
		}
		defer os.Remove(image)
		_, err := l.build(t, "tar:"+image, path, version, "--platform", "linux/arm64", "--init", filepath.Join(bin, "init"), "--cmdline", "console=ttyAMA0 quiet")
		return err
	})
}

// The whole way on the other architecture: firmware, GRUB, kernel, init, install, trial and commit, once each.
func TestArm64InstallsTriesAndCommits(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
		absent(t, "qemu-system-aarch64 is not installed: apt-get install qemu-system-arm qemu-efi-aarch64")
	}
	v1, v2 := theLab.arm64Set(t, "v1"), theLab.arm64Set(t, "v2")
	dir := t.TempDir()
	disk, bundle := filepath.Join(dir, "disk"), filepath.Join(dir, "v2.bundle")
	if _, err := theLab.run(t, "mkimage", "disk", "--grub-modules", cache(t, "arm64/usr/lib/grub", "arm64"), v1, disk); err != nil {
		t.Fatal(err)
	}
	if _, err := theLab.run(t, "mkimage", "bundle", v2, bundle); err != nil {
		t.Fatal(err)
	}
	g := &guest{vm.Start(t, vm.Config{Arch: "arm64", Firmware: vm.UEFI, Disks: []vm.Disk{{Path: disk}, {Path: bundle, Snapshot: true}}}), t}
	g.expect("A", "committed", "0", "v1")
	g.must("test $(uname -m) = aarch64")
	g.must("slotctl install /dev/vdb")
	g.restart()
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit")
	g.PowerCut()
	if got, want := env(t, disk), "BOOT_VERSION=B BOOT_VERIFIED=true BOOT_COUNT=0"; !strings.HasPrefix(got, want) {
		t.Errorf("the block after the commit: %s, want %s ...", got, want)
	}
}
