package qemutests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

const block = 4096

// rot flips one bit in a block of slot B's root on a disk that no machine has. The slot holds set.
func rot(t *testing.T, disk, set string, n int) {
	t.Helper()
	parts, err := vm.Partitions(disk)
	if err != nil {
		t.Fatal(err)
	}
	data := parts[len(parts)-1].Offset
	out, err := exec.Command("/sbin/debugfs", "-R", fmt.Sprintf("bmap /slots/B/rootfs.squashfs %d", n), fmt.Sprintf("%s?offset=%d", disk, data)).Output()
	if err != nil {
		t.Fatalf("debugfs: %v: apt-get install e2fsprogs", err)
	}
	at, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		t.Fatalf("debugfs says of block %d of the root: %s", n, out)
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content := make([]byte, block)
	if _, err := f.ReadAt(content, data+at*block); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, readFile(t, filepath.Join(set, "rootfs.squashfs"))[n*block:(n+1)*block]) {
		t.Fatalf("block %d of %s is not block %d of the data partition of %s", n, set, at, disk)
	}
	if _, err := f.WriteAt([]byte{content[20] ^ 4}, data+at*block+20); err != nil {
		t.Fatal(err)
	}
}

// ownBlock returns the last block of the root of a version that the root of version 1 has not. /etc/image-version is
// there.
func ownBlock(t *testing.T, version string) int {
	t.Helper()
	set := theLab.slotSet(t, version)
	first := readFile(t, filepath.Join(theLab.slotSet(t, "v1"), "rootfs.squashfs"))
	of := map[string]bool{}
	for ; len(first) >= block; first = first[block:] {
		of[string(first[:block])] = true
	}
	root := readFile(t, filepath.Join(set, "rootfs.squashfs"))
	for n := verityOf(t, set) - 1; n >= 0; n-- {
		if !of[string(root[n*block:(n+1)*block])] {
			return n
		}
	}
	t.Fatalf("all of version %s is in version 1", version)
	return 0
}

var dataBlocks = regexp.MustCompile(`"data_blocks": (\d+)`)

// verityOf returns how many blocks of data the root of a slot set has in front of its hash tree.
func verityOf(t *testing.T, set string) int {
	t.Helper()
	m := dataBlocks.FindSubmatch(readFile(t, filepath.Join(set, "manifest.json")))
	if m == nil {
		t.Fatalf("the manifest of %s has no verity", set)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFlippedBitInTheRootIsFoundAtBootAndFallsBackAtOnce(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	rot(t, disk, theLab.slotSet(t, "v2"), 0) // the superblock
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.WaitLine(`slotboot: fail slot=B cause=".*"`)
	g.expect("A", "committed", "0", "v1")
	if status := g.do("slotctl status"); status != "10" {
		t.Errorf("slotctl status after a root that is not intact: exit status %s, want 10", status)
	}
	if status := g.do("slotctl verify B"); status != "4" {
		t.Errorf("slotctl verify B: exit status %s, want 4", status)
	}
	g.must("slotctl verify A")
	g.must("grep -q '^/dev/dm-0 /run/slotboot/rootfs squashfs ro' /proc/mounts")
}

func TestFlippedBitThatBootingDoesNotReadIsAnErrorForWhoeverReadsItAndForVerify(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	rot(t, disk, theLab.slotSet(t, "v2"), ownBlock(t, "v2"))
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.WaitLine(`slotboot: boot slot=B why=trial count=1 limit=3 saved=y`)
	g.WaitLine(`verity: .* data block \d+ is corrupted`)
	g.WaitLine("guest: ready")
	if status := g.do("cat /etc/image-version"); status != "1" {
		t.Errorf("cat of a file that is not intact: exit status %s, want 1", status)
	}
	if status := g.do("slotctl verify B"); status != "4" {
		t.Errorf("slotctl verify B: exit status %s, want 4", status)
	}
}

func TestWrongRootHashFailsAtOnce(t *testing.T) {
	t.Parallel()
	disk := vm.CopyDisk(t, theLab.installed(t, "v2"))
	setEnv(t, disk, "BOOT_VERSION=A", "BOOT_VERIFIED=true", "BOOT_BAD=")
	g := start(t, vm.BIOS, vm.Disk{Path: disk})
	g.expect("A", "committed", "0", "v1")
	g.must("mount -o remount,rw /run/slotboot/data && cd /run/slotboot/data/slots/B")
	g.must(`sed -i 's/"root_hash": "[0-9a-f]*"/"root_hash": "` + strings.Repeat("0", 64) + `"/' manifest.json && grep -q 'hash": "0000' manifest.json; cd /`)
	g.must("mount -o remount,ro /run/slotboot/data && slotctl boot-once B")
	g.restart()
	g.WaitLine(`slotboot: fail slot=B cause=".*"`)
	g.expect("A", "committed", "0", "v1")
}
