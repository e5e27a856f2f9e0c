package qemutests

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

const block = 4096

// rot flips one bit in a block of slot B's root on a disk. The root there is found by its last block of data that is in
// no other file, and stands in one piece.
func rot(t *testing.T, disk, set string, choose func(unique int) int) {
	t.Helper()
	root, image := readFile(t, filepath.Join(set, "rootfs.squashfs")), readFile(t, disk)
	for n := verityOf(t, set) - 1; n >= 0; n-- {
		want := root[n*block : (n+1)*block]
		at := bytes.Index(image, want)
		if at < 0 || bytes.Contains(image[at+1:], want) {
			continue
		}
		k := choose(n)
		at += (k - n) * block
		if !bytes.Equal(image[at:at+block], root[k*block:(k+1)*block]) {
			t.Fatalf("block %d of %s is not at %d of %s", k, set, at, disk)
		}
		f, err := os.OpenFile(disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{image[at+20] ^ 4}, int64(at)+20); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no block of %s is on %s just once", set, disk)
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
	disk := vm.CopyDisk(t, theLab.installed(t, "v2", ""))
	rot(t, disk, theLab.slotSet(t, "v2", ""), func(int) int { return 0 }) // the superblock
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
	disk := vm.CopyDisk(t, theLab.installed(t, "v2", ""))
	rot(t, disk, theLab.slotSet(t, "v2", ""), func(unique int) int { return unique }) // /etc/image-version is there
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
	disk := vm.CopyDisk(t, theLab.installed(t, "v2", ""))
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
