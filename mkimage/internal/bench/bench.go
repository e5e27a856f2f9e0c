package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cost is what steps took: times add up, of memory the peak counts.
type cost struct {
	wall, cpu time.Duration
	rss       int64 // bytes
}

func (c *cost) add(d cost) {
	c.wall, c.cpu, c.rss = c.wall+d.wall, c.cpu+d.cpu, max(c.rss, d.rss)
}

// image is what is measured on: an OCI layout with one tag.
type image struct {
	name, ref string
	alone     bool // only ours: to see how memory grows
}

func bench(bin, cache, only string) error {
	work, err := os.MkdirTemp(cache, "bench-image.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	images := []image{{"Debian 12 with systemd", filepath.Join(cache, "demo/oci") + ":v1", false}}
	for _, mib := range []int64{256, 1024, 2048} {
		images = append(images, image{fmt.Sprintf("synthetic, %d MiB", mib), filepath.Join(cache, fmt.Sprintf("synthetic-%d", mib)) + ":latest", mib != 1024})
		if strings.Contains(images[len(images)-1].name, only) {
			if err := synthesize(filepath.Join(cache, fmt.Sprintf("synthetic-%d", mib)), filepath.Join(cache, "kernel-cloud"), mib<<20); err != nil {
				return err
			}
		}
	}
	fmt.Println("| image | with | wall s | CPU s | peak MiB | root, bytes |")
	fmt.Println("|---|---|---|---|---|---|")
	for i, img := range images {
		if !strings.Contains(img.name, only) {
			continue
		}
		dir := filepath.Join(work, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := compare(img, bin, dir); err != nil {
			return fmt.Errorf("%s: %w", img.name, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func compare(img image, bin, dir string) error {
	mkimage := filepath.Join(bin, "mkimage")
	ours, err := steps(img, dir, []step{
		{"mkimage build --no-clean", []string{mkimage, "build", "-q", "--no-clean", "oci:" + img.ref, "set"}, "set/rootfs.squashfs"},
		{"mkimage disk", []string{mkimage, "disk", "-q", "set", "ours.img"}, ""},
	})
	if err != nil || img.alone {
		return err
	}
	// The slot set's own kernel and initrd stand for those that a person would take from the image. Theirs is a disk
	// without GRUB, without an initrd of its own and without a hash tree.
	theirs, err := steps(img, dir, []step{
		{"umoci unpack", []string{"umoci", "unpack", "--image", img.ref, "bundle"}, ""},
		{"mksquashfs, zstd", []string{"mksquashfs", "bundle/rootfs", "root.squashfs", "-comp", "zstd", "-no-progress", "-quiet"}, "root.squashfs"},
		{"mkfs.vfat, mcopy", []string{"sh", "-ec", "truncate -s 64M esp && mkfs.vfat esp && mmd -i esp EFI EFI/BOOT && mcopy -i esp set/slot.cfg ::EFI/BOOT/grub.cfg"}, ""},
		{"mkfs.ext4 -d", []string{"sh", "-ec", `mkdir -p data/slots/A && ln root.squashfs set/vmlinuz set/initrd data/slots/A/
			truncate -s $(($(stat -c %s root.squashfs) * 5 / 2 + 400000000)) ext4 && mke2fs -q -t ext4 -d data ext4`}, ""},
		{"sgdisk, dd", []string{"sh", "-ec", `truncate -s $(($(stat -c %s ext4) / 1048576 * 1048576 + 70000000)) theirs.img
			sgdisk -n1:2048:+64M -t1:EF00 -n2:0:0 theirs.img && dd if=esp of=theirs.img bs=1M seek=1 conv=notrunc,sparse && dd if=ext4 of=theirs.img bs=1M seek=65 conv=notrunc,sparse`}, ""},
	})
	if err != nil {
		return err
	}
	fmt.Printf("| %s | **ours / theirs** | %.2f | %.2f | %.2f | |\n", img.name, ours.wall.Seconds()/theirs.wall.Seconds(),
		ours.cpu.Seconds()/theirs.cpu.Seconds(), float64(ours.rss)/float64(theirs.rss))
	return nil
}

type step struct {
	name    string
	command []string
	made    string // whose size is told
}

// steps runs steps in dir and prints a row for each, and one for all.
func steps(img image, dir string, list []step) (cost, error) {
	var sum cost
	for _, s := range list {
		c, err := run(dir, s.command)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", s.name, err)
		}
		sum.add(c)
		bytes := ""
		if s.made != "" {
			fi, err := os.Stat(filepath.Join(dir, s.made))
			if err != nil {
				return sum, err
			}
			bytes = fmt.Sprint(fi.Size())
		}
		row(img.name, s.name, c, bytes)
	}
	row(img.name, "together", sum, "")
	return sum, nil
}

func row(image, with string, c cost, bytes string) {
	fmt.Printf("| %s | %s | %.1f | %.1f | %d | %s |\n", image, with, c.wall.Seconds(), c.cpu.Seconds(), c.rss>>20, bytes)
}

// run runs one command in dir. Of a shell's children the largest counts.
func run(dir string, command []string) (cost, error) {
	program, err := exec.LookPath(command[0])
	if err != nil {
		return cost{}, err
	}
	if program, err = filepath.Abs(program); err != nil {
		return cost{}, err
	}
	cmd := exec.Command(program, command[1:]...)
	cmd.Dir = dir
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return cost{}, fmt.Errorf("%w\n%s", err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss << 10}, nil
}
