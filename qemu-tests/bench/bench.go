package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// bench is one run.
type bench struct {
	*vm.Program
	bin, cache, dir string
	runs            int
}

// peer is one initrd under test, and the disk that it boots.
type peer struct {
	name, initrd, disk, args string
}

// took is what a boot took, in milliseconds of guest time: from the start of the kernel, and from its start of /init.
type took struct{ all, init float64 }

func newBench(bin, cache string, runs int) *bench {
	b := &bench{Program: &vm.Program{Name: "bench"}, bin: bin, cache: cache, runs: runs}
	b.dir = b.TempDir()
	return b
}

// imageInit is the init of the image: it says when it began, in the kernel's log and by the kernel's clock.
const imageInit = `#!/bin/busybox sh
echo 'bench: the image has begun' > /dev/kmsg
read -r line
/bin/busybox sync
echo 'bench: synced'
exec /bin/busybox sleep 1000
`

func (b *bench) run() {
	const ours = "slotboot.slot=A slotboot.why=committed slotboot.data=LABEL=slotboot"
	set, disk := b.image("set")
	small := b.set("small", "--drivers", "virtio-blk")
	bare, bareDisk := b.image("bare", "--drivers", "virtio-blk", "--no-verity")
	peers := []peer{
		{"slotboot", filepath.Join(set, "initrd"), disk, ours},
		{"slotboot, --drivers virtio-blk", filepath.Join(small, "initrd"), disk, ours},
		{"slotboot, the same, --no-verity", filepath.Join(bare, "initrd"), bareDisk, ours},
		{"busybox script", b.busybox(set), disk, ""},
		{"live-boot", filepath.Join(b.cache, "peers", "live-boot.img"), disk, "boot=live live-media=/dev/vda2 live-media-path=slots/A ignore_uuid"},
		{"dracut dmsquash-live", filepath.Join(b.cache, "peers", "dracut.img"), disk,
			"root=live:LABEL=slotboot rd.live.image rd.live.dir=slots/A rd.live.squashimg=rootfs.squashfs rd.live.overlay.overlayfs=1"},
	}
	fmt.Printf("| initrd | bytes | guest ms from `Run /init` | to slotboot's | from the start of the kernel |\n|---|---|---|---|---|\n")
	var first float64
	for _, p := range peers {
		info, err := os.Stat(p.initrd)
		if err != nil {
			b.Fatalf("%v: run qemu-tests/fixtures/make peers", err)
		}
		t := b.measure(p, filepath.Join(set, "vmlinuz"))
		if first == 0 {
			first = t.init
		}
		fmt.Printf("| %s | %d | %.0f | %.1f | %.0f |\n", p.name, info.Size(), t.init, t.init/first, t.all)
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// set builds the slot set called name of a small image.
func (b *bench) set(name string, args ...string) string {
	root := b.path("root")
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "run", "etc", "tmp"} {
		b.check(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	b.check(os.WriteFile(filepath.Join(root, "sbin", "init"), []byte(imageInit), 0o755))
	b.command("cp", "/bin/busybox", filepath.Join(root, "bin"))
	b.command("ln", "-sf", "../bin/busybox", filepath.Join(root, "sbin", "modprobe")) // or init loads what slotctl mounts
	b.command("cp", "-a", filepath.Join(b.cache, "kernel-cloud", "boot"), filepath.Join(b.cache, "kernel-cloud", "lib"), root)
	// As in an installed system, where modprobe loads what init leaves out.
	releases, err := os.ReadDir(filepath.Join(root, "lib", "modules"))
	b.check(err)
	b.command("depmod", "-b", root, releases[0].Name())
	set := b.path(name)
	b.command(filepath.Join(b.bin, "mkimage"), append(append([]string{"build", "-q", "--cmdline", "console=ttyS0 no_timer_check"}, args...), "dir:"+root, set)...)
	return set
}

// image builds the slot set called name and its disk.
func (b *bench) image(name string, args ...string) (set, disk string) {
	set, disk = b.set(name, args...), b.path(name+".disk")
	b.command(filepath.Join(b.bin, "mkimage"), "disk", "-q", "--firmware", "bios", set, disk)
	// The first boot on a disk makes a machine-id; the ones to measure are those after it.
	m := vm.Start(b, vm.Config{Firmware: vm.BIOS, Disks: []vm.Disk{{Path: disk}}})
	m.WaitLine("bench: the image has begun")
	m.SendLine("")
	m.WaitLine("bench: synced")
	m.PowerCut()
	return set, disk
}

// busyboxInit does what init does, with the modules loaded by hand.
const busyboxInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /bin /dev /proc /sys /run /data /lower /rw /new
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
for m in $(cat /modules); do insmod /lib/modules/$m; done
n=0
while [ $n -lt 3000 ]; do
	d=$(findfs LABEL=slotboot 2>/dev/null) && break
	usleep 1000; n=$((n+1))
done
mount -t ext4 -o ro $d /data
losetup -r /dev/loop0 /data/slots/A/rootfs.squashfs
mount -t squashfs -o ro /dev/loop0 /lower
mount -t tmpfs rw /rw; mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new
for d in dev proc sys run; do mkdir -p /new/$d; mount --move /$d /new/$d; done
exec switch_root /new /sbin/init
`

// busybox packs the script with the modules that it needs on this machine.
func (b *bench) busybox(set string) string {
	root := b.path("busybox")
	modules := []string{"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "loop", "squashfs", "overlay"}
	b.check(os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	b.check(os.MkdirAll(filepath.Join(root, "lib", "modules"), 0o755))
	b.command("cp", "/bin/busybox", filepath.Join(root, "bin"))
	b.check(os.WriteFile(filepath.Join(root, "init"), []byte(busyboxInit), 0o755))
	var list []string
	for _, m := range modules {
		found, err := exec.Command("find", filepath.Join(b.cache, "kernel-cloud", "lib", "modules"), "-name", m+".ko").Output()
		b.check(err)
		if path := strings.TrimSpace(string(found)); path != "" {
			b.command("cp", path, filepath.Join(root, "lib", "modules"))
			list = append(list, m+".ko")
		}
	}
	b.check(os.WriteFile(filepath.Join(root, "modules"), []byte(strings.Join(list, "\n")+"\n"), 0o644))
	out := b.path("busybox.img")
	b.command("sh", "-c", "cd "+root+" && find . | cpio -o -H newc --quiet | zstd -q -19 > "+out)
	return out
}

// measure boots with one initrd several times and returns its least times: the instructions are the same each time, and a
// busy host only adds to the waiting for the disk.
func (b *bench) measure(p peer, kernel string) took {
	var all, init []float64
	for range b.runs {
		m := vm.Start(b, vm.Config{
			Firmware: vm.Kernel, Kernel: kernel, Initrd: p.initrd, MemoryMB: 1024,
			Append: "console=ttyS0 loglevel=7 printk.devkmsg=on no_timer_check " + p.args,
			Disks:  []vm.Disk{{Path: p.disk, Snapshot: true}},
			Args:   []string{"-icount", "shift=0,sleep=off"},
		})
		from := b.seconds(m.WaitLine(`\[ *(\d+\.\d+)\] Run /init as init process`)[1])
		to := b.seconds(m.WaitLine(`\[ *(\d+\.\d+)\] bench: the image has begun`)[1])
		m.PowerCut()
		all, init = append(all, 1000*to), append(init, 1000*(to-from))
	}
	return took{slices.Min(all), slices.Min(init)}
}

func (b *bench) seconds(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	b.check(err)
	return v
}

func (b *bench) command(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (b *bench) check(err error) {
	if err != nil {
		b.Fatal(err)
	}
}
