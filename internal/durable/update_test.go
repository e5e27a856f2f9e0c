package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/need"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func to(s string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(s), nil }
}

func TestUpdateKeepsTheFileInItsPlace(t *testing.T) {
	path := write(t, "old")
	before, _ := os.Stat(path)
	if err := Update(path, func(old []byte) ([]byte, error) { return append(old, " new"...), nil }); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "old new" {
		t.Errorf("content %q, want %q", got, "old new")
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("Update replaced the file; GRUB saves by block address")
	}
}

func TestUpdateOfAMissingFileCreatesNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Update(path, to("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Update = %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v: Update made the file", err)
	}
}

func TestUpdateNeverShortensAFile(t *testing.T) {
	path := write(t, "four")
	if err := Update(path, to("one")); !errors.Is(err, ErrShrink) {
		t.Errorf("Update = %v, want ErrShrink", err)
	}
	if got := content(t, path); got != "four" {
		t.Errorf("content %q after a refused update", got)
	}
}

func TestARefusedOrEmptyEditWritesNothing(t *testing.T) {
	refusal := errors.New("refused")
	for name, edit := range map[string]func([]byte) ([]byte, error){
		"refused":   func(old []byte) ([]byte, error) { old[0] = 'X'; return old, refusal },
		"no change": func(old []byte) ([]byte, error) { return old, nil },
	} {
		path := write(t, "old")
		rec := &recorder{}
		if err := UpdateIn(rec, path, edit); err != nil && !errors.Is(err, refusal) {
			t.Errorf("%s: %v", name, err)
		}
		if got := content(t, path); got != "old" {
			t.Errorf("%s: content %q", name, got)
		}
		if log := rec.String(); strings.Contains(log, "write") || strings.Contains(log, "sync") {
			t.Errorf("%s: the disk saw %s", name, log)
		}
	}
}

func TestOneWriteThenSyncThenReadBackFromTheDisk(t *testing.T) {
	rec := &recorder{}
	if err := UpdateIn(rec, write(t, strings.Repeat("a", 1024)), to(strings.Repeat("b", 1024))); err != nil {
		t.Fatal(err)
	}
	if got, want := rec.String(), "edit lock read write@0+1024 datasync drop read close"; got != want {
		t.Errorf("Update does\n%s, want\n%s", got, want)
	}
}

func TestEveryFailingCallIsReported(t *testing.T) {
	for _, call := range []string{"edit", "lock", "read", "write", "datasync", "drop", "close"} {
		rec := &recorder{fail: call}
		path := write(t, "old")
		err := UpdateIn(rec, path, to("new"))
		if !errors.Is(err, unix.EIO) {
			t.Errorf("%s fails: Update = %v, want EIO", call, err)
		}
		uncertain := err != nil && strings.Contains(err.Error(), "uncertain")
		if want := call == "write" || call == "datasync" || call == "drop"; uncertain != want {
			t.Errorf("%s fails: Update = %v, want it to call the content uncertain: %v", call, err, want)
		}
	}
}

func TestADiskThatLiesIsFoundOut(t *testing.T) {
	rec := &recorder{lie: true}
	if err := UpdateIn(rec, write(t, "old"), to("new")); !errors.Is(err, ErrReadBack) {
		t.Errorf("Update = %v, want ErrReadBack", err)
	}
}

func TestUpdateRefusesWhatIsNotASmallRegularFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	big := write(t, "")
	if err := os.Truncate(big, MaxUpdate+1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, big, t.TempDir()} {
		if err := Update(path, to("new")); err == nil {
			t.Errorf("Update(%s) = nil", path)
		}
	}
}

func TestUpdatesDoNotInterleave(t *testing.T) {
	path := write(t, strings.Repeat("x", 64))
	const writers, rounds = 4, 25
	done := make(chan error)
	for range writers {
		go func() {
			for range rounds {
				err := Update(path, func(old []byte) ([]byte, error) {
					return append(old, '.'), nil
				})
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if got, want := len(content(t, path)), 64+writers*rounds; got != want {
		t.Errorf("%d bytes after %d appends, want %d: an update was lost", got, writers*rounds, want)
	}
}

func TestAHeldLockIsReportedAtOnce(t *testing.T) {
	dir := t.TempDir()
	held, err := OS{}.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (OS{}).Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second Lock = %v, want ErrLocked", err)
	}
	held.Close()
	again, err := OS{}.Lock(dir)
	if err != nil {
		t.Fatalf("Lock after release: %v", err)
	}
	again.Close()
}

func TestCreateReplacesNothingAndLeavesNothingBehindAFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, call := range []string{"write", "datasync", "sync", "syncdir"} {
		if err := Create(&recorder{fail: call}, path, dir, []byte("new")); !errors.Is(err, unix.EIO) {
			t.Errorf("%s fails: Create = %v, want EIO", call, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s fails: the file stays (%v)", call, err)
		}
	}
	if err := Create(OS{}, path, dir, []byte("new")); err != nil || content(t, path) != "new" {
		t.Fatalf("Create = %v", err)
	}
	if err := Create(OS{}, path, dir, []byte("other")); !errors.Is(err, fs.ErrExist) || content(t, path) != "new" {
		t.Errorf("second Create = %v, want fs.ErrExist and the file untouched", err)
	}
}

// TestSettleWritesTheJournalBack reads the image below a mounted ext4 as GRUB does, without its journal.
func TestSettleWritesTheJournalBack(t *testing.T) {
	for name, settle := range map[string]func(dir string, fd int) error{
		"settle":     func(dir string, _ int) error { return OS{}.Settle(dir) },
		"checkpoint": func(_ string, fd int) error { return checkpoint(fd) },
		"freeze":     func(_ string, fd int) error { return freezeAndThaw(fd) },
	} {
		t.Run(name, func(t *testing.T) { settleOnExt4(t, settle) })
	}
}

func settleOnExt4(t *testing.T, settle func(dir string, fd int) error) {
	need.Root(t)
	mkfs, debugfs := need.Tool(t, "mkfs.ext4", "e2fsprogs"), need.Tool(t, "debugfs", "e2fsprogs")
	image, mnt := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", "-F", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		need.Absent(t, "cannot mount a loop device here: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", mnt).Run() })
	path := filepath.Join(mnt, "file")
	if err := Create(OS{}, path, mnt, []byte("content")); err != nil {
		t.Fatal(err)
	}
	seen := func() string {
		out, _ := exec.Command(debugfs, "-R", "cat /file", image).Output()
		return string(out)
	}
	if seen() == "content" {
		t.Log("the file was in place before: this run shows nothing")
	}
	dir, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	err = settle(mnt, int(dir.Fd()))
	dir.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got := seen(); got != "content" {
		t.Errorf("without the journal the file reads %q", got)
	}
	if err := os.WriteFile(filepath.Join(mnt, "after"), nil, 0o600); err != nil {
		t.Errorf("the file system is not thawed: %v", err)
	}
}

func TestSettleWorksWhereNothingCanBeFrozen(t *testing.T) {
	if err := (OS{}).Settle("/dev/shm"); err != nil {
		t.Errorf("Settle on tmpfs = %v", err)
	}
}

// recorder is OS with a log of the calls, and one call that fails.
type recorder struct {
	OS
	log  []string
	fail string
	lie  bool
}

func (r *recorder) String() string { return strings.Join(r.log, " ") }

func (r *recorder) note(call, detail string) error {
	r.log = append(r.log, call+detail)
	if call == r.fail {
		return unix.EIO
	}
	return nil
}

func (r *recorder) Edit(path string) (File, error) {
	f, err := r.OS.Edit(path)
	return r.opened("edit", f, err)
}

func (r *recorder) Create(path string) (File, error) {
	f, err := r.OS.Create(path)
	return r.opened("create", f, err)
}

func (r *recorder) opened(call string, f File, err error) (File, error) {
	if err := errors.Join(err, r.note(call, "")); err != nil {
		return nil, err
	}
	return &recordedFile{File: f, r: r}, nil
}

func (r *recorder) SyncDir(path string) error {
	return errors.Join(r.note("syncdir", ""), r.OS.SyncDir(path))
}

type recordedFile struct {
	File
	r       *recorder
	written bool
}

func (f *recordedFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.r.note("read", ""); err != nil {
		return 0, err
	}
	n, err := f.File.ReadAt(p, offset)
	if f.r.lie && f.written {
		copy(p[:n], bytes.ToUpper(p[:n]))
	}
	return n, err
}

func (f *recordedFile) WriteAt(p []byte, offset int64) (int, error) {
	f.written = true
	if err := f.r.note("write", fmt.Sprintf("@%d+%d", offset, len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *recordedFile) Sync() error { return errors.Join(f.r.note("sync", ""), f.File.Sync()) }
func (f *recordedFile) Datasync() error {
	return errors.Join(f.r.note("datasync", ""), f.File.Datasync())
}
func (f *recordedFile) DropCache() error {
	return errors.Join(f.r.note("drop", ""), f.File.DropCache())
}
func (f *recordedFile) Close() error { return errors.Join(f.r.note("close", ""), f.File.Close()) }
func (f *recordedFile) Lock(wait time.Duration) error {
	return errors.Join(f.r.note("lock", ""), f.File.Lock(wait))
}
