package qemutests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// recording is a disk as it was before, and everything that a machine then wrote to it.
type recording struct {
	before string
	log    []vm.Write
	sets   map[string]string // by slot: the folder of the slot set that must be there if the slot boots
}

// point is a disk after a power cut: the first whole entries of the log, then those of some that were on their way.
type point struct {
	whole int
	extra []vm.Write
	name  string
}

// points returns what a power cut can leave: every prefix of the log, writes of which only some sectors arrived, and
// between two flushes any of the writes without the others, because a disk keeps no order there.
func points(log []vm.Write, r *rand.Rand) []point {
	var all []point
	epoch := 0 // the first entry after the last flush
	for i, w := range log {
		all = append(all, point{i, nil, fmt.Sprintf("before entry %d", i)})
		for n := int64(512); n < w.Size() && n <= 4096; n += 512 {
			all = append(all, point{i, []vm.Write{part(w, 0, n)}, fmt.Sprintf("entry %d torn after %d bytes", i, n)})
		}
		for range min(4, w.Size()/4096) {
			from := r.Int64N(w.Size()/512) * 512
			all = append(all, point{i, []vm.Write{part(w, from, w.Size())}, fmt.Sprintf("entry %d without its first %d bytes", i, from)})
		}
		if w.Flush || w.FUA || i == len(log)-1 {
			all = append(all, subsets(log, epoch, i, r)...)
			epoch = i + 1
		}
	}
	return append(all, point{len(log), nil, "after the last entry"})
}

// part returns the bytes from..to of w.
func part(w vm.Write, from, to int64) vm.Write {
	w.Offset += from
	if w.Zero > 0 {
		w.Zero = to - from
	} else {
		w.Data = w.Data[from:to]
	}
	return w
}

// subsets returns points where some of log[from:to], which no flush separates, arrived: all subsets up to 2^5, else 32
// at random.
func subsets(log []vm.Write, from, to int, r *rand.Rand) []point {
	n := to - from
	if n < 2 {
		return nil // prefixes are all there is
	}
	var all []point
	for k := range 32 {
		mask := uint64(k)
		if n > 5 {
			mask = r.Uint64()
		} else if k >= 1<<n {
			break
		}
		var extra []vm.Write
		for i := range n {
			if mask>>(i%64)&1 == 1 {
				extra = append(extra, log[from+i])
			}
		}
		all = append(all, point{from, extra, fmt.Sprintf("entries %d to %d, only those of %b", from, to-1, mask&(1<<min(n, 63)-1))})
	}
	return all
}

// replay calls judge with the disk of each point. The points are sorted by how much of the log they hold, so that the
// disk only moves forward.
func (rec recording) replay(t *testing.T, all []point, judge func(p point, disk string)) {
	t.Helper()
	slices.SortStableFunc(all, func(a, b point) int { return a.whole - b.whole })
	disk := vm.CopyDisk(t, rec.before)
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	apply := func(w vm.Write) {
		if err := w.Apply(f); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	for _, p := range all {
		for ; done < p.whole; done++ {
			apply(rec.log[done])
		}
		var undo []vm.Write
		for _, w := range p.extra {
			old := make([]byte, w.Size())
			if _, err := f.ReadAt(old, w.Offset); err != nil {
				t.Fatal(err)
			}
			undo = append(undo, vm.Write{Offset: w.Offset, Data: old})
			apply(w)
		}
		judge(p, disk)
		for _, w := range slices.Backward(undo) {
			apply(w)
		}
	}
}

// verdict is what a disk would boot, in the words of the first entry of slotctl simulate --json.
type verdict struct{ Slot, Why string }

// judge says which slot boots and checks that its set is whole: what GRUB reads, without replaying the file system's
// journal, and what the kernel finds after it has.
func (rec recording) judge(t *testing.T, p point, disk string) (verdict, bool) {
	t.Helper()
	block := filepath.Join(t.TempDir(), "grubenv")
	if err := os.WriteFile(block, vm.ReadEnv(t, disk), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := theLab.run(t, "slotctl", "simulate", "--json", "--boots", "1", "--grubenv", block)
	var boots []verdict
	if err == nil {
		err = json.Unmarshal([]byte(out), &boots)
	}
	if err != nil || len(boots) != 1 {
		t.Errorf("%s: slotctl simulate: %v: %s", p.name, err, out)
		return verdict{}, false
	}
	v := boots[0]
	parts, err := vm.Partitions(disk)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	data := parts[len(parts)-1]
	set := rec.sets[v.Slot]
	grub := same(t, fmt.Sprintf("%s?offset=%d", disk, data.Offset), v.Slot, set, "vmlinuz", "initrd", "slot.cfg", "manifest.json")
	if grub != nil {
		t.Errorf("%s: what GRUB reads of slot %s: %v", p.name, v.Slot, grub)
	}
	copied := filepath.Join(t.TempDir(), "data")
	if err := vm.CopyRange(copied, disk, data.Offset, data.Size); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(copied)
	if out, err := exec.Command("/sbin/e2fsck", "-fy", "-E", "journal_only", copied).CombinedOutput(); err != nil && exitStatus(err) > 1 {
		t.Errorf("%s: replay the journal: %v\n%s", p.name, err, out)
	}
	if out, err := exec.Command("/sbin/e2fsck", "-fn", copied).CombinedOutput(); err != nil {
		t.Errorf("%s: e2fsck after the replay: %v\n%s", p.name, err, out)
	}
	linux := same(t, copied, v.Slot, set, "vmlinuz", "initrd", "slot.cfg", "manifest.json", "rootfs.squashfs")
	if linux != nil {
		t.Errorf("%s: what the kernel reads of slot %s: %v", p.name, v.Slot, linux)
	}
	return v, grub == nil && linux == nil
}

// exitStatus returns the exit status of a command that failed.
func exitStatus(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return -1
}

// same compares files of a slot in an ext4 file system with those of a slot set. debugfs replays no journal.
func same(t *testing.T, image, slot, set string, names ...string) error {
	t.Helper()
	dir, err := os.MkdirTemp("", "replay-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var script strings.Builder
	for _, name := range names {
		fmt.Fprintf(&script, "dump /slots/%s/%s %s\n", slot, name, filepath.Join(dir, name))
	}
	cmd := exec.Command("/sbin/debugfs", "-n", "-c", "-f", "-", image)
	cmd.Stdin = strings.NewReader(script.String())
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("debugfs: %v: %s", err, said)
	}
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("%s: %v: %s", name, err, said)
		}
		if want := readFile(t, filepath.Join(set, name)); !bytes.Equal(got, want) {
			return fmt.Errorf("%s: %d bytes that are not the %d of %s", name, len(got), len(want), set)
		}
	}
	return nil
}

// record boots a copy of disk, runs a command in the guest and powers it off, and returns all that it wrote.
func record(t *testing.T, disk, slot, command string, more ...vm.Disk) recording {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	g := start(t, vm.BIOS, append([]vm.Disk{{Path: vm.CopyDisk(t, disk), Log: log}}, more...)...)
	if d := g.boots(); d.slot != slot {
		t.Fatalf("boot: slot %s, want %s", d.slot, slot)
	}
	g.must(command)
	g.SendLine("sync; poweroff -f")
	g.WaitExit()
	entries, err := vm.ReadWriteLog(log)
	if err != nil {
		t.Fatal(err)
	}
	return recording{before: disk, log: entries, sets: map[string]string{
		"A": theLab.slotSet(t, "v1"), "B": theLab.slotSet(t, "v2"),
	}}
}

// TestEveryPowerCutOfAnInstallLeavesTheOldSetOrTheNewOne records what install writes to the boot partition and to
// ext4, and judges the disks that power cuts at any write leave. Once the block names the new set, no earlier one comes
// back.
func TestEveryPowerCutOfAnInstallLeavesTheOldSetOrTheNewOne(t *testing.T) {
	t.Parallel()
	rec := record(t, theLab.disk(t), "A", "slotctl install /dev/vdb", vm.Disk{Path: theLab.bundle(t, "v2"), Snapshot: true})
	rec.test(t, verdict{"A", "committed"}, verdict{"B", "trial"})
}

// TestEveryPowerCutOfACommitLeavesTheTrialOrTheCommit does the same for commit on the first boot of a trial, which
// counts as well.
func TestEveryPowerCutOfACommitLeavesTheTrialOrTheCommit(t *testing.T) {
	t.Parallel()
	rec := record(t, theLab.installed(t, "v2"), "B", "slotctl commit")
	rec.test(t, verdict{"B", "trial"}, verdict{"B", "committed"})
}

// sample returns n points at random, and those right behind every write to the boot partition: there the block may name
// a set that is not in place yet.
func (rec recording) sample(t *testing.T, all []point, n int, r *rand.Rand) []point {
	t.Helper()
	parts, err := vm.Partitions(rec.before)
	if err != nil {
		t.Fatal(err)
	}
	data := parts[len(parts)-1].Offset
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	some := slices.Clone(all[:min(n, len(all))])
	for _, p := range all[len(some):] {
		if p.extra == nil && (p.whole == len(rec.log) || p.whole > 0 && rec.log[p.whole-1].Offset < data) {
			some = append(some, p)
		}
	}
	return some
}

// test judges the points of a recording: all with SLOTBOOT_POWER_CUTS, else a sample, every so many of them by
// booting it too.
func (rec recording) test(t *testing.T, before, after verdict) {
	t.Helper()
	n, r := cuts(t)
	all := points(rec.log, r)
	total := len(all)
	if os.Getenv("SLOTBOOT_POWER_CUTS") == "" {
		all = rec.sample(t, all, 60, r)
	}
	boot := max(1, len(all)/min(n, 30)) // 30 of each recording in the long version, 3 here
	judged, booted, lost := 0, 0, 0
	turned := -1 // the prefix at which the new verdict was first seen
	rec.replay(t, all, func(p point, disk string) {
		v, ok := rec.judge(t, p, disk)
		if judged++; judged%100 == 0 {
			t.Logf("%d of %d points judged", judged, len(all))
		}
		if v != before && v != after {
			t.Errorf("%s: boots slot %s (%s): a third thing", p.name, v.Slot, v.Why)
			ok = false
		}
		if v == after && turned < 0 && len(p.extra) == 0 {
			turned = p.whole
		}
		if v == before && turned >= 0 {
			t.Errorf("%s: boots slot %s (%s), but after entry %d it was slot %s (%s)", p.name, v.Slot, v.Why, turned, after.Slot, after.Why)
			ok = false
		}
		if judged%boot == 0 {
			booted++
			g := start(t, vm.BIOS, vm.Disk{Path: disk, Snapshot: true})
			if d := g.boots(); d.slot != v.Slot || d.why != v.Why {
				t.Errorf("%s: GRUB boots slot %s (%s), want slot %s (%s)", p.name, d.slot, d.why, v.Slot, v.Why)
				ok = false
			}
			g.PowerCut()
		}
		if !ok {
			lost++
		}
	})
	if turned < 0 {
		t.Errorf("no disk boots slot %s (%s)", after.Slot, after.Why)
	}
	t.Logf("%d log entries, %d power cuts possible, %d judged, %d of them by GRUB and the kernel, %d lost", len(rec.log), total, judged, booted, lost)
}
