package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/fetch"
	"github.com/slotboot/slotboot/slots"
)

// fixture is a device off the device: version 1 committed in slot A, version 0 in slot B, version 2 waiting in v2.
type fixture struct {
	t                  *testing.T
	grubenv, data, set string
	markEvery          int64 // 0: as ever
}

func newFixture(t *testing.T) *fixture {
	dir := memory(t)
	f := &fixture{t: t, grubenv: filepath.Join(dir, "grubenv"), data: filepath.Join(dir, "data"), set: filepath.Join(dir, "v2")}
	for path, version := range map[string]string{f.data + "/slots/A": "1", f.data + "/slots/B": "0", f.set: "2"} {
		if err := writeSlotSet(path, version, []string{"size=5000"}); err != nil {
			t.Fatal(err)
		}
	}
	block, err := bootenv.New(slots.State{Default: slots.A, Verified: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.grubenv, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// memory returns a folder in memory: hundreds of installs with every fsync take a minute on a disk.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "slotctl")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run runs slotctl with slot A running.
func (f *fixture) run(ctx context.Context, files durable.FS, args ...string) (code int, stderr string) {
	var out, err bytes.Buffer
	on := machine()
	on.files = files
	on.markEvery = cmp.Or(f.markEvery, on.markEvery)
	on.fetch = fetch.Options{Idle: 300 * time.Millisecond, Retries: 3, Pause: time.Millisecond}
	args = append([]string{"--grubenv", f.grubenv, "--data", f.data, "--running", "A"}, args...)
	code = run(ctx, args, stdio{&out, &err}, on)
	return code, err.String()
}

func (f *fixture) state() slots.State {
	f.t.Helper()
	content, err := bootenv.Read(f.grubenv, 3)
	if err != nil {
		f.t.Fatal(err)
	}
	return content.State
}

// bootable says whether a slot holds a whole slot set of the version.
func (f *fixture) bootable(slot slots.Slot, version string) error {
	m, err := bundle.Verify(os.DirFS(filepath.Join(f.data, "slots", slot.String())), func(int) {})
	if err == nil && m.Version != version {
		err = fmt.Errorf("version %s", m.Version)
	}
	return err
}

// judge says what is wrong with the device after an install that was cut or failed: each of the next boots must find a
// whole slot set, the old one in slot A or one in slot B, also if slot A fails or somebody rolls back.
func (f *fixture) judge() error {
	if err := f.bootable(slots.A, "1"); err != nil {
		return fmt.Errorf("slot A: %w", err)
	}
	state := f.state()
	back, err := slots.Rollback(state, slots.A, false)
	if err != nil {
		back = state
	}
	for _, from := range []slots.State{state, slots.Fail(state, slots.A), back} {
		for n, step := range slots.Simulate(from, 6) {
			if step.Slot == slots.B && f.bootable(slots.B, "2") != nil && f.bootable(slots.B, "0") != nil {
				return fmt.Errorf("boot %d from %+v chooses slot B: %w", n+1, from, f.bootable(slots.B, "2"))
			}
		}
	}
	return nil
}

// calls is a file system that counts what changes the disk and everything else slotctl asks of it, lets one call fail,
// and refuses every call from one on, as after a power cut or a kill.
type calls struct {
	durable.OS
	log    []string
	failAt int   // this call returns err; -1: none
	err    error // and does nothing
	short  bool  // a write that fails has written half
	cutAt  int   // this call and all behind it do nothing; -1: none
	before func(n int)
	mu     sync.Mutex // a delta reads in a goroutine of its own
}

var errCut = errors.New("power cut")

func (c *calls) call(name, path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.log)
	c.log = append(c.log, name+" "+filepath.Base(path))
	if c.before != nil {
		c.before(n)
	}
	switch {
	case c.cutAt >= 0 && n >= c.cutAt:
		return errCut
	case n == c.failAt:
		return c.err
	}
	return nil
}

func counting() *calls { return &calls{failAt: -1, cutAt: -1} }

func (c *calls) opened(name, path string, open func(string) (durable.File, error)) (durable.File, error) {
	if err := c.call(name, path); err != nil {
		return nil, err
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	return &callsFile{f, c, path}, nil
}

func (c *calls) Open(path string) (durable.File, error) { return c.opened("open", path, c.OS.Open) }
func (c *calls) Edit(path string) (durable.File, error) { return c.opened("edit", path, c.OS.Edit) }
func (c *calls) Create(path string) (durable.File, error) {
	return c.opened("create", path, c.OS.Create)
}

func (c *calls) do(name, path string, f func(string) error) error {
	if err := c.call(name, path); err != nil {
		return err
	}
	return f(path)
}

func (c *calls) Mkdir(path string) error   { return c.do("mkdir", path, c.OS.Mkdir) }
func (c *calls) Remove(path string) error  { return c.do("remove", path, c.OS.Remove) }
func (c *calls) SyncDir(path string) error { return c.do("syncdir", path, c.OS.SyncDir) }
func (c *calls) Settle(path string) error  { return c.do("settle", path, c.OS.Settle) }
func (c *calls) Rename(from, to string) error {
	return c.do("rename", to, func(to string) error { return c.OS.Rename(from, to) })
}
func (c *calls) Free(path string) (free int64, err error) {
	if err := c.call("free", path); err != nil {
		return 0, err
	}
	return c.OS.Free(path)
}

type callsFile struct {
	durable.File
	c    *calls
	path string
}

func (f *callsFile) Write(p []byte) (int, error) {
	if err := f.c.call("write", f.path); err != nil {
		if f.c.short {
			n, _ := f.File.Write(p[:len(p)/2])
			return n, err
		}
		return 0, err
	}
	return f.File.Write(p)
}

func (f *callsFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.c.call("write", f.path); err != nil {
		if f.c.short { // one sector of two
			n, _ := f.File.WriteAt(p[:min(512, len(p))], offset)
			return n, err
		}
		return 0, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *callsFile) check(name string, do func() error) error {
	if err := f.c.call(name, f.path); err != nil {
		return err
	}
	return do()
}

func (f *callsFile) Read(p []byte) (int, error) {
	if err := f.c.call("read", f.path); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *callsFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.c.call("read", f.path); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}

func (f *callsFile) Sync() error      { return f.check("sync", f.File.Sync) }
func (f *callsFile) Datasync() error  { return f.check("datasync", f.File.Datasync) }
func (f *callsFile) DropCache() error { return f.check("drop", f.File.DropCache) }
func (f *callsFile) Lock(wait time.Duration) error {
	return f.check("lock", func() error { return f.File.Lock(wait) })
}
func (f *callsFile) Close() error { return errors.Join(f.c.call("close", f.path), f.File.Close()) }

var _ io.Reader = (*callsFile)(nil)

func TestAnInstallWritesInThePromisedOrder(t *testing.T) {
	f, files := newFixture(t), counting()
	if code, stderr := f.run(context.Background(), files, "install", f.set); code != 0 {
		t.Fatalf("exit status %d: %s", code, stderr)
	}
	var changes []string
	for _, call := range files.log {
		if name, _, _ := strings.Cut(call, " "); !slices.Contains([]string{"open", "edit", "lock", "read", "close", "free"}, name) {
			changes = append(changes, call)
		}
	}
	want := `write grubenv, datasync grubenv, drop grubenv,
mkdir slots, syncdir data, mkdir B, syncdir slots,
remove manifest.json, syncdir B, remove manifest.json.minisig, remove slot.cfg, remove vmlinuz, remove initrd, remove rootfs.squashfs, remove .manifest.json.new, remove .install, syncdir B,
create .install, write .install, datasync .install, syncdir B,
create slot.cfg, write slot.cfg, sync slot.cfg, create vmlinuz, write vmlinuz, sync vmlinuz,
create initrd, write initrd, sync initrd, create rootfs.squashfs, write rootfs.squashfs, sync rootfs.squashfs, syncdir B,
drop slot.cfg, drop vmlinuz, drop initrd, drop rootfs.squashfs,
create .manifest.json.new, write .manifest.json.new, datasync .manifest.json.new, drop .manifest.json.new, sync .manifest.json.new, syncdir B,
remove .install, rename manifest.json, syncdir B, settle data,
write grubenv, datasync grubenv, drop grubenv`
	if got := strings.Join(changes, ", "); got != strings.ReplaceAll(want, ",\n", ", ") {
		t.Errorf("install does\n%s, want\n%s", got, want)
	}
}

// TestAfterAnyCutOfAnInstallEachBootFindsAWholeSlotSet cuts the power before each call, and in the middle of each
// write.
func TestAfterAnyCutOfAnInstallEachBootFindsAWholeSlotSet(t *testing.T) {
	points := 0
	for _, short := range []bool{false, true} {
		for n := 0; ; n++ {
			f, files := newFixture(t), counting()
			files.cutAt, files.short = n, short
			if code, _ := f.run(context.Background(), files, "install", f.set); code == 0 {
				break
			}
			if err := f.judge(); err != nil {
				t.Errorf("cut at call %d (%s), short write %v: %v", n, files.log[n], short, err)
			}
			points++
		}
	}
	t.Logf("%d points tried", points)
	if points < 120 {
		t.Errorf("only %d points: the recorder does not see every call", points)
	}
}

// TestEveryFailingCallOfAnInstallLeavesAWholeSlotSetAndSaysSo lets each call fail with each error.
func TestEveryFailingCallOfAnInstallLeavesAWholeSlotSetAndSaysSo(t *testing.T) {
	points := 0
	for _, cause := range []error{unix.EIO, unix.ENOSPC} {
		for n := 0; ; n++ {
			f, files := newFixture(t), counting()
			files.failAt, files.err, files.short = n, &os.PathError{Op: "x", Path: "y", Err: cause}, n%2 == 1
			code, stderr := f.run(context.Background(), files, "install", f.set)
			if n >= len(files.log) {
				break
			}
			points++
			if err := f.judge(); err != nil {
				t.Errorf("%v at call %d (%s): %v", cause, n, files.log[n], err)
			}
			if code == 0 {
				if err := f.bootable(slots.B, "2"); err != nil || f.state().Default != slots.B {
					t.Errorf("%v at call %d (%s): exit status 0, but %v, %+v", cause, n, files.log[n], err, f.state())
				}
				continue
			}
			want := exitFailed
			if cause == unix.ENOSPC {
				want = exitNoSpace
			}
			if code != want || !strings.Contains(stderr, "(nothing changed)") && !strings.Contains(stderr, "untouched)") {
				t.Errorf("%v at call %d (%s): exit status %d, want %d; it says %s", cause, n, files.log[n], code, want, stderr)
			}
			if state := f.state(); strings.Contains(stderr, "(nothing changed)") && (state.Bad != slots.None || f.bootable(slots.B, "0") != nil) {
				t.Errorf("%v at call %d (%s): it says %s, but %+v", cause, n, files.log[n], stderr, state)
			}
			if strings.Contains(stderr, "left empty") {
				if left, _ := os.ReadDir(f.data + "/slots/B"); len(left) > 0 || f.state().Bad != slots.B {
					t.Errorf("%v at call %d (%s): it says %s, but %v is there, %+v", cause, n, files.log[n], stderr, left, f.state())
				}
			}
		}
	}
	t.Logf("%d points tried", points)
}

// TestASlotSetThatIsThereAlreadyIsBroughtIntoPlaceBeforeItIsActivated kills an install behind its last byte, when the
// journal alone knows the files, and installs again: GRUB, which does not read the journal, must find them.
func TestASlotSetThatIsThereAlreadyIsBroughtIntoPlaceBeforeItIsActivated(t *testing.T) {
	f, whole := newFixture(t), counting()
	if code, stderr := f.run(context.Background(), whole, "install", f.set); code != 0 {
		t.Fatalf("exit status %d: %s", code, stderr)
	}
	f = newFixture(t)
	killed := counting()
	killed.cutAt = slices.Index(whole.log, "settle data")
	if code, _ := f.run(context.Background(), killed, "install", f.set); code == 0 {
		t.Fatal("exit status 0 of an install that was killed")
	}
	if err := f.bootable(slots.B, "2"); err != nil {
		t.Fatalf("killed at call %d: %v, want a slot set that is there", killed.cutAt, err)
	}
	again := counting()
	if code, stderr := f.run(context.Background(), again, "install", f.set); code != 0 {
		t.Fatalf("exit status %d: %s", code, stderr)
	}
	settled, named := slices.Index(again.log, "settle data"), slices.Index(again.log, "write grubenv")
	if settled < 0 || named < settled || slices.Contains(again.log, "create vmlinuz") {
		t.Errorf("installing again does\n%s, want settle data before write grubenv, and no payload written", strings.Join(again.log, ", "))
	}
}

// TestASlotWithAFIFOForAManifestHangsNothing: opening one waits for a writer, and no signal but SIGKILL ends that.
func TestASlotWithAFIFOForAManifestHangsNothing(t *testing.T) {
	for _, slot := range []string{"A", "B"} {
		for _, command := range [][]string{{"status"}, {"verify"}, {"commit"}, {"install"}} {
			f := newFixture(t)
			path := filepath.Join(f.data, "slots", slot, bundle.ManifestName)
			if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644)); err != nil {
				t.Fatal(err)
			}
			args := command
			if command[0] == "install" {
				args = append(args, f.set)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				f.run(context.Background(), durable.OS{}, args...)
			}()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatalf("slotctl %s hangs on the FIFO in slot %s", args, slot)
			}
		}
	}
}

func TestADiskThatGivesBackOtherBytesIsNeverActivated(t *testing.T) {
	for _, name := range []string{bundle.SlotCfgName, bundle.KernelName, bundle.InitrdName, bundle.RootfsName} {
		f, files := newFixture(t), counting()
		files.before = func(n int) {
			if files.log[n] == "drop "+name {
				path := filepath.Join(f.data, "slots/B", name)
				data, _ := os.ReadFile(path)
				data[len(data)/2] ^= 1
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Error(err)
				}
			}
		}
		code, stderr := f.run(context.Background(), files, "install", f.set)
		if code != exitFailed || !strings.Contains(stderr, "read back "+name+": sha256") || !strings.Contains(stderr, "(slot B left empty, slot A untouched)") {
			t.Errorf("%s: exit status %d: %s", name, code, stderr)
		}
		if state := f.state(); state.Default != slots.A || state.Bad != slots.B {
			t.Errorf("%s: %+v", name, state)
		}
	}
}

func TestAnInterruptEndsAnInstallCleanlyAtAnyMoment(t *testing.T) {
	for n := 0; ; n++ {
		f, files := newFixture(t), counting()
		ctx, cancel := context.WithCancel(context.Background())
		files.before = func(call int) {
			if call == n {
				cancel()
			}
		}
		code, stderr := f.run(ctx, files, "install", f.set)
		cancel()
		if n >= len(files.log) {
			break
		}
		if err := f.judge(); err != nil {
			t.Errorf("interrupt at call %d (%s): %v", n, files.log[n], err)
		}
		if code == 0 { // it came behind the point of no return
			if f.state().Default != slots.B {
				t.Errorf("interrupt at call %d (%s): exit status 0, but %+v", n, files.log[n], f.state())
			}
			continue
		}
		if code != exitFailed || !strings.Contains(stderr, "interrupted (") {
			t.Errorf("interrupt at call %d (%s): exit status %d: %s", n, files.log[n], code, stderr)
		}
	}
}

// TestWhatACommandReportedAsDoneIsDoneAndElseNothingIsTorn cuts each call of the small commands.
func TestWhatACommandReportedAsDoneIsDoneAndElseNothingIsTorn(t *testing.T) {
	trial := slots.State{Default: slots.A, Count: 1, Limit: 3}
	for _, command := range [][]string{{"commit"}, {"rollback"}, {"mark-bad", "A"}, {"boot-once", "B"}} {
		for n := 0; ; n++ {
			f, files := newFixture(t), counting()
			block, _ := bootenv.New(trial)
			if err := os.WriteFile(f.grubenv, block, 0o600); err != nil {
				t.Fatal(err)
			}
			done := newFixture(t)
			if err := os.WriteFile(done.grubenv, block, 0o600); err != nil {
				t.Fatal(err)
			}
			if code, stderr := done.run(context.Background(), durable.OS{}, command...); code != 0 {
				t.Fatalf("%s: %s", command, stderr)
			}
			files.cutAt, files.short = n, n%2 == 1
			code, _ := f.run(context.Background(), files, command...)
			got := f.state()
			if got != trial && got != done.state() {
				t.Errorf("%s cut at call %d: %+v, neither %+v nor %+v", command, n, got, trial, done.state())
			}
			if code == 0 && got != done.state() {
				t.Errorf("%s cut at call %d: exit status 0, but %+v", command, n, got)
			}
			if n >= len(files.log) {
				break
			}
		}
	}
}
