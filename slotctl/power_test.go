package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// operation is something that slotctl or init does to a disk.
type operation struct {
	name  string
	state slots.State
	args  func(f *fixture) []string // of slotctl
	init  func(s slots.State) slots.State
	prime func(t *testing.T, f *fixture) // what was there before
}

var (
	committed = slots.State{Default: slots.A, Verified: true, Limit: 3}
	onTrial   = slots.State{Default: slots.A, Count: 1, Limit: 3}
)

func words(args ...string) func(*fixture) []string { return func(*fixture) []string { return args } }

// operations are those that write. The install of a delta starts from slot A.
var operations = []operation{
	{name: "install", state: committed, args: func(f *fixture) []string { return []string{"install", f.set} }},
	{name: "install with marks", state: committed, args: func(f *fixture) []string { return []string{"install", f.set} }, prime: func(t *testing.T, f *fixture) { f.markEvery = 1000 }},
	{name: "install gone on with", state: committed, args: func(f *fixture) []string { return []string{"install", f.set} }, prime: func(t *testing.T, f *fixture) {
		f.markEvery = 1000
		cutAfter(t, f, 3, f.set)
	}},
	{name: "delta install", state: committed, args: func(f *fixture) []string { return []string{"install", f.set + ".delta"} }, prime: func(t *testing.T, f *fixture) {
		h := &hostile{fixture: f, set: f.set, mine: newSigner(t)}
		h.mine.sign(t, h.set)
		next := h.read(bundle.RootfsName)
		if err := os.Rename(h.delta(h.rootA(), same, next), f.set+".delta"); err != nil {
			data, _ := os.ReadFile(h.delta(h.rootA(), same, next))
			put(t, f.set+".delta", data)
		}
	}},
	{name: "commit", state: onTrial, args: words("commit")},
	{name: "commit that raises the floor", state: onTrial, args: words("commit"), prime: func(t *testing.T, f *fixture) {
		if err := writeSlotSet(f.data+"/slots/A", "1", []string{"size=5000", "sequence=5"}); err != nil {
			t.Fatal(err)
		}
		put(t, f.data+"/"+floorFile, []byte("4\n"))
	}},
	{name: "rollback", state: onTrial, args: words("rollback")},
	{name: "rollback of a committed slot", state: committed, args: words("rollback")},
	{name: "mark-bad", state: onTrial, args: words("mark-bad", "A")},
	{name: "mark-good", state: slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}, args: words("mark-good", "B")},
	{name: "boot-once", state: committed, args: words("boot-once", "B")},
	{name: "init's count", state: onTrial, init: func(s slots.State) slots.State {
		return slots.Agree(s, slots.Handover{Slot: slots.A, Why: slots.WhyTrial, Count: 2})
	}},
	{name: "init's failure", state: onTrial, init: func(s slots.State) slots.State { return slots.Fail(s, slots.A) }},
}

// device makes the disk on which the operation begins.
func (o operation) device(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	block, err := bootenv.New(o.state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.grubenv, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if o.prime != nil {
		o.prime(t, f)
	}
	return f
}

// again is a copy of the device; the slot set to install is shared.
func (f *fixture) again() *fixture {
	f.t.Helper()
	dir := memory(f.t)
	c := &fixture{t: f.t, grubenv: filepath.Join(dir, "grubenv"), data: filepath.Join(dir, "data"), set: f.set, markEvery: f.markEvery}
	block, err := os.ReadFile(f.grubenv)
	if err := errors.Join(err, os.CopyFS(c.data, os.DirFS(f.data)), os.WriteFile(c.grubenv, block, 0o600)); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// do returns the exit status.
func (o operation) do(f *fixture, files durable.FS) (int, string) {
	if o.init == nil {
		return f.run(context.Background(), files, o.args(f)...)
	}
	_, err := bootenv.UpdateIn(files, f.grubenv, 3, func(s slots.State) (slots.State, error) { return o.init(s), nil })
	if err != nil {
		return 1, err.Error()
	}
	return 0, ""
}

// seed is SLOTBOOT_SEED, else another one each time. It is printed.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("SLOTBOOT_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func randomOf(seed uint64) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.New(rand.NewChaCha8(key))
}

// judges looks at images: whether the block says one of the states that were written, and whether each of the next
// boots, also if the running slot fails or somebody rolls back, finds a whole slot set.
type judges struct {
	seed   maphash.Seed
	whole  map[uint64]error
	states []slots.State
	floors []string // that slotctl, which reads it with the journal replayed, may find
}

func (j *judges) verify(i image, slot slots.Slot) error {
	dir := i.dir("data/slots/" + slot.String())
	key := sum(j.seed, dir)
	err, known := j.whole[key]
	if !known {
		_, err = bundle.Verify(dir, func(int) {})
		j.whole[key] = err
	}
	return err
}

func (j *judges) judge(i image, replays bool) error {
	block := bootenv.Parse(i.content[i.names["grubenv"]], 3)
	switch {
	case block.Damage != nil:
		return fmt.Errorf("the block is damaged: %w", block.Damage)
	case !slices.Contains(j.states, block.State):
		return fmt.Errorf("the block says %+v, which nobody wrote", block.State)
	}
	if floor := string(i.content[i.names["data/"+floorFile]]); replays && len(j.floors) > 0 && !slices.Contains(j.floors, floor) {
		return fmt.Errorf("the floor is %q, want one of %q", floor, j.floors)
	}
	back, err := slots.Rollback(block.State, slots.A, false)
	if err != nil {
		back = block.State
	}
	for _, from := range []slots.State{block.State, slots.Fail(block.State, slots.A), back} {
		for n, step := range slots.Simulate(from, 5) {
			if err := j.verify(i, step.Slot); err != nil {
				return fmt.Errorf("boot %d from %+v chooses slot %s: %w", n+1, from, step.Slot, err)
			}
		}
	}
	return nil
}

// written returns the states that the block has had.
func (r *recorder) states() []slots.State {
	var all []slots.State
	for n := range len(r.log) + 1 {
		i := r.after(n, nil)
		all = append(all, bootenv.Parse(i.content[i.names["grubenv"]], 3).State)
	}
	return slices.Compact(all)
}

// TestAfterAnyPowerCutTheDeviceBootsTheOldSetOrTheNew is the first layer of the fault injection: every image that a cut can
// leave on a disk that loses, keeps and tears what was not synced as it likes, seen by a kernel that replays the journal
// and by a boot loader that does not.
func TestAfterAnyPowerCutTheDeviceBootsTheOldSetOrTheNew(t *testing.T) {
	start, key, total := time.Now(), seed(t), 0
	for _, o := range operations {
		f := o.device(t)
		r := record(t, filepath.Dir(f.grubenv))
		if code, stderr := o.do(f, r); code != 0 {
			t.Fatalf("%s: exit status %d: %s", o.name, code, stderr)
		}
		j := &judges{seed: maphash.MakeSeed(), whole: map[uint64]error{}, states: r.states()}
		if floor := r.start.content[r.start.names["data/"+floorFile]]; floor != nil {
			now, err := os.ReadFile(f.data + "/" + floorFile)
			if err != nil || string(now) != "5\n" {
				t.Fatalf("%s: the floor is %q, %v", o.name, now, err)
			}
			j.floors = []string{string(floor), string(now)}
		}
		if len(j.states) < 2 {
			t.Fatalf("%s: the block has had only the states %+v", o.name, j.states)
		}
		points := 0
		for _, replays := range []bool{true, false} {
			n, err := r.images(randomOf(key), replays, func(i image, what string) error {
				if err := j.judge(i, replays); err != nil {
					return fmt.Errorf("cut that leaves %s (journal replayed: %v): %w", what, replays, err)
				}
				return nil
			})
			if points += n; err != nil {
				t.Errorf("%s, seed %d: %v", o.name, key, err)
			}
			// What it reported as done stays done: nothing that still may be lost makes a difference.
			done := map[int]bool{}
			for _, k := range r.pending(len(r.log), replays) {
				done[k] = true
			}
			last := r.after(len(r.log), done)
			if got, want := bootenv.Parse(last.content[last.names["grubenv"]], 3).State, f.state(); got != want {
				t.Errorf("%s: done, but a cut behind it leaves %+v, want %+v", o.name, got, want)
			}
			if err := j.verify(last, slots.B); err != nil {
				t.Errorf("%s: done, but a cut behind it leaves slot B: %v", o.name, err)
			}
		}
		t.Logf("%-30s %3d units recorded, %6d images, %d kinds of slot", o.name, len(r.log), points, len(j.whole))
		total += points
	}
	t.Logf("%d images, 0 lost wanted; seed %d (SLOTBOOT_SEED); %v", total, key, time.Since(start).Round(time.Millisecond))
	if total < 10_000 {
		t.Errorf("%d images tried, want 10,000: the recorder does not see every write", total)
	}
}

// TestTheJudgeSeesALostPowerCut takes the syncs away, one kind after the other: then some image must be found wanting.
func TestTheJudgeSeesALostPowerCut(t *testing.T) {
	o := operations[0]
	for _, row := range []struct {
		without string
		replays bool
	}{{"sync", true}, {"syncdir", true}, {"settle", false}} {
		f := o.device(t)
		r := record(t, filepath.Dir(f.grubenv))
		if code, stderr := o.do(f, r); code != 0 {
			t.Fatalf("exit status %d: %s", code, stderr)
		}
		j := &judges{seed: maphash.MakeSeed(), whole: map[uint64]error{}, states: r.states()}
		r.log = slices.DeleteFunc(r.log, func(u unit) bool { return u.kind == row.without || row.without != "settle" && u.kind == "settle" })
		if _, err := r.images(randomOf(1), row.replays, func(i image, _ string) error { return j.judge(i, row.replays) }); err == nil {
			t.Errorf("without %s no image is lost: the judge is blind", row.without)
		}
	}
}

// TestAtEveryFailingCallTheDeviceKeepsWhatItHad lets each call of each operation fail, in each way.
func TestAtEveryFailingCallTheDeviceKeepsWhatItHad(t *testing.T) {
	start, total := time.Now(), 0
	for _, o := range operations {
		first := o.device(t)
		done := first.again()
		if code, stderr := o.do(done, durable.OS{}); code != 0 {
			t.Fatalf("%s: exit status %d: %s", o.name, code, stderr)
		}
		want, points := done.state(), 0
		for _, fault := range []struct {
			name  string
			err   error
			short bool
			kill  bool
		}{{"EIO", unix.EIO, false, false}, {"EIO, half written", unix.EIO, true, false}, {"ENOSPC", unix.ENOSPC, false, false}, {"ENOSPC, half written", unix.ENOSPC, true, false},
			{"kill", errCut, false, true}, {"kill, half written", errCut, true, true}} {
			if testing.Short() && fault.short {
				continue
			}
			for n := 0; ; n++ {
				f, files := first.again(), counting()
				files.failAt, files.err, files.short = n, &os.PathError{Op: "call", Path: "file", Err: fault.err}, fault.short
				if fault.kill {
					files.failAt, files.cutAt = -1, n
				}
				code, stderr := o.do(f, files)
				if n >= len(files.log) {
					break
				}
				points++
				if err := f.keeps(o, want, code); err != nil {
					t.Errorf("%s, %s at call %d (%s): %v; exit status %d, it says %s", o.name, fault.name, n, files.log[n], err, code, stderr)
				}
			}
		}
		t.Logf("%-30s %4d faults", o.name, points)
		total += points
	}
	t.Logf("%d faults in %v", total, time.Since(start).Round(time.Millisecond))
}

// keeps says what is wrong with a device on which an operation has ended with this exit status.
func (f *fixture) keeps(o operation, want slots.State, code int) error {
	state := f.state()
	if code == 0 && state != want {
		return fmt.Errorf("done, but the block says %+v, want %+v", state, want)
	}
	if o.args != nil && o.args(f)[0] == "install" {
		if code == 0 {
			return f.bootable(slots.B, "2")
		}
		return f.judge()
	}
	if state != o.state && state != want {
		return fmt.Errorf("the block says %+v, neither %+v nor %+v", state, o.state, want)
	}
	return errors.Join(f.bootable(slots.A, "1"), f.bootable(slots.B, "0"))
}
