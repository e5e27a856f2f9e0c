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

// layout is how a distribution lays out a kernel with its modules. KVER stands for the kernel's release.
type layout struct {
	kernel, config string
	links          map[string]string // symbolic links of the root: name -> target
	pack           []string          // packs modules, whose names follow
	packed         string            // what it adds to their names
	release        string            // a file with the release in it
	dep            bool              // depmod has run
}

// What each distribution's kernel package puts where, and how its modules are packed.
var layouts = map[string]layout{
	"fedora": {
		kernel: "usr/lib/modules/KVER/vmlinuz", config: "usr/lib/modules/KVER/config",
		links: map[string]string{"lib": "usr/lib", "bin": "usr/bin", "sbin": "usr/sbin", "lib64": "usr/lib64"},
		pack:  []string{"xz", "-0", "--check=crc32"}, packed: ".xz", dep: true,
	},
	"alpine": {
		kernel: "boot/vmlinuz-lts", config: "boot/config-lts", release: "usr/share/kernel/lts/kernel.release",
		pack: []string{"gzip", "-1"}, packed: ".gz", dep: true,
	},
	"arch": { // its kernel hook runs depmod on the machine, so an image may be without
		kernel: "usr/lib/modules/KVER/vmlinuz", release: "usr/lib/modules/KVER/pkgbase",
		links: map[string]string{"lib": "usr/lib", "bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin"},
		pack:  []string{"zstd", "-q", "-1", "--rm"}, packed: ".zst",
	},
}

// layoutRoot makes the small test image as a folder: Debian's kernel and modules where the distribution has them.
func (l *lab) layoutRoot(t *testing.T, name string) string {
	t.Helper()
	debian := cache(t, "kernel-cloud", "kernel")
	lay := layouts[name]
	return l.make(t, name+".root", func(root string) error {
		releases, err := os.ReadDir(filepath.Join(debian, "lib/modules"))
		if err != nil || len(releases) != 1 {
			return fmt.Errorf("modules of the kernel: %v, %w", releases, err)
		}
		kver := releases[0].Name()
		in := func(path string) string { return filepath.Join(root, strings.ReplaceAll(path, "KVER", kver)) }
		for _, dir := range []string{"bin", "sbin", "usr/bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"} {
			if lay.links[dir] == "" {
				if err := os.MkdirAll(in(dir), 0o755); err != nil {
					return err
				}
			}
		}
		for link, to := range lay.links {
			if err := os.MkdirAll(filepath.Join(filepath.Dir(in(link)), to), 0o755); err != nil {
				return err
			}
			if err := os.Symlink(to, in(link)); err != nil {
				return err
			}
		}
		files := map[string]string{"bin/busybox": "/bin/busybox", lay.kernel: filepath.Join(debian, "boot/vmlinuz-"+kver)}
		if lay.config != "" {
			files[lay.config] = filepath.Join(debian, "boot/config-"+kver)
		}
		for to, from := range files {
			if err := copyFile(in(to), from); err != nil {
				return err
			}
		}
		texts := map[string]string{"sbin/init": guestInit, "etc/image-version": name + "\n"}
		if lay.release != "" {
			texts[lay.release] = kver + "\n"
		}
		for to, text := range texts {
			if err := writeFile(in(to), []byte(text)); err != nil {
				return err
			}
		}
		return lay.modules(filepath.Join(debian, "lib/modules", kver), in("lib/modules/KVER"), root, kver)
	})
}

// modules puts the modules that could lead to a root, and others beside them, into dir.
//
// depmod runs before they are packed and its list gets the new names: Debian's depmod reads no gzip.
func (lay layout) modules(from, dir, root, kver string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, step := range []string{
		`cd "$1" && cp modules.builtin modules.builtin.modinfo modules.order "$0"`,
		`for d in fs lib crypto block arch drivers/block drivers/virtio drivers/md drivers/nvme drivers/ata drivers/scsi; do
			mkdir -p "$0/kernel/$(dirname $d)" && cp -r "$1/kernel/$d" "$0/kernel/$d" || exit 1
		done`,
		fmt.Sprintf(`! %v || { /sbin/depmod -b "$2" "$3" && sed -i 's/\.ko\>/.ko%s/g' "$0/modules.dep"; }`, lay.dep, lay.packed),
		`find "$0" -name '*.ko' -exec ` + strings.Join(lay.pack, " ") + ` {} +`,
	} {
		if out, err := exec.Command("sh", "-c", step, dir, from, root, kver).CombinedOutput(); err != nil {
			return fmt.Errorf("lay modules out: %v: apt-get install kmod %s\n%s", err, lay.pack[0], out)
		}
	}
	return nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeFile(to, data)
}

func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o755)
}

// Each layout boots from another kind of disk, so that more than one driver is found in packed modules.
func TestLayoutsOfDistributionsBoot(t *testing.T) {
	t.Parallel()
	for name, machine := range map[string]struct {
		firmware vm.Firmware
		device   string
		args     []string // the controller
		loaded   string   // a module that must have come from the initrd
	}{
		"fedora": {vm.UEFI, "virtio-blk-pci", nil, "virtio_blk"},
		"alpine": {vm.BIOS, "scsi-hd", []string{"-device", "virtio-scsi-pci"}, "virtio_scsi"},
		"arch":   {vm.BIOS, "nvme", nil, "overlay"}, // nvme itself is built in
	} {
		t.Run(name, func(t *testing.T) {
			root := theLab.layoutRoot(t, name)
			set, disk := filepath.Join(t.TempDir(), "set"), filepath.Join(t.TempDir(), "disk")
			out, err := theLab.build(t, "dir:"+root, set, name)
			if err != nil {
				t.Fatal(err)
			}
			firmware := map[vm.Firmware]string{vm.UEFI: "uefi", vm.BIOS: "bios"}[machine.firmware]
			if _, err := theLab.run(t, "mkimage", "disk", "--firmware", firmware, set, disk); err != nil {
				t.Fatal(err)
			}
			if kernel := strings.Split(layouts[name].kernel, "/"); !strings.Contains(out, kernel[len(kernel)-1]) {
				t.Errorf("mkimage build says %s, want the kernel %s in it", out, layouts[name].kernel)
			}
			g := &guest{vm.Start(t, vm.Config{Firmware: machine.firmware, Args: machine.args, Disks: []vm.Disk{{Path: disk, Device: machine.device, Snapshot: true}}}), t}
			g.expect("A", "committed", "0", name)
			g.must("test $(uname -r) = $(ls /lib/modules)")
			g.must("grep -q '^squashfs ' /proc/modules && grep -q '^" + machine.loaded + " ' /proc/modules")
		})
	}
}
