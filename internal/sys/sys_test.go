package sys

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/overlay"
)

func TestSwitchRootAndRebootRefuseUnlessProcess1(t *testing.T) {
	l := New()
	for _, how := range []Ending{Restart, PowerOff, Halt, Kexec} {
		if err := l.Reboot(how); !errors.Is(err, ErrNotPID1) {
			t.Errorf("Reboot(%v) = %v, want ErrNotPID1", how, err)
		}
	}
	if err := l.SwitchRoot(t.TempDir(), "/bin/sh", nil, nil); !errors.Is(err, ErrNotPID1) {
		t.Errorf("SwitchRoot = %v, want ErrNotPID1", err)
	}
}

func TestEmptyingTheInitramfsKeepsOtherFileSystemsAndFollowsNoLink(t *testing.T) {
	need.Root(t)
	keep := t.TempDir()
	if err := os.WriteFile(filepath.Join(keep, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	l := New()
	mount := func(target string) {
		t.Helper()
		if err := l.Mount(overlay.Mount{Source: "tmpfs", Target: target, Type: "tmpfs"}); err != nil {
			need.Absent(t, "this test needs the right to mount: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	}
	mount(root)
	other := filepath.Join(root, "run")
	mount(other)
	for _, name := range []string{"a/b/c", "a/d", "run/stays"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(keep, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	emptyInitramfs(fd)
	left, _ := filepath.Glob(root + "/*")
	kept, _ := filepath.Glob(other + "/*")
	if len(left) != 1 || len(kept) != 1 {
		t.Errorf("left %v, on the other file system %v, want only run and run/stays", left, kept)
	}
	if _, err := os.Stat(filepath.Join(keep, "file")); err != nil {
		t.Errorf("behind the link: %v", err)
	}
}

func TestNothingButAnInitramfsIsEmptied(t *testing.T) {
	var sfs unix.Statfs_t
	dir := t.TempDir()
	if unix.Statfs(dir, &sfs) == nil && (uint32(sfs.Type) == tmpfsMagic || uint32(sfs.Type) == ramfsMagic) {
		t.Skip("the temporary folder is in memory")
	}
	if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	emptyInitramfs(fd)
	if _, err := os.Stat(dir + "/file"); err != nil {
		t.Errorf("a folder on a disk was emptied: %v", err)
	}
}

func TestTheVerityTableIsTheOneThatVeritysetupLoads(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	spec := verityTarget("/dev/loop7", Verity{RootHash: hash, DataBlocks: 240})
	params := "1 /dev/loop7 /dev/loop7 4096 4096 240 241 sha256 " + hash + " -\x00"
	if got := string(spec[dmTarget:]); !strings.HasPrefix(got, params) || strings.Trim(got[len(params):], "\x00") != "" {
		t.Errorf("parameters %q, want %q", got, params)
	}
	if strict := verityTarget("/dev/loop7", Verity{RootHash: hash, DataBlocks: 240, OnCorruption: "panic_on_corruption"}); !strings.Contains(string(strict), hash+" - 1 panic_on_corruption\x00") {
		t.Errorf("verityTarget(panic) = %q", strict)
	}
	if len(spec)%8 != 0 || string(spec[24:31]) != "verity\x00" {
		t.Errorf("target of %d bytes, type %q", len(spec), spec[24:40])
	}
}

func TestWaitReturnsAtTheLatestAfterItsTimeout(t *testing.T) {
	l := New()
	start := l.Uptime()
	l.Wait(time.Hour) // the first look is free
	l.Wait(30 * time.Millisecond)
	if took := l.Uptime() - start; took > 10*time.Second {
		t.Errorf("Wait took %v", took)
	}
}

func TestRandomFillsTheWholeSlice(t *testing.T) {
	b := make([]byte, 64)
	if err := New().Random(b); err != nil || strings.Trim(string(b[32:]), "\x00") == "" {
		t.Errorf("Random = %x, %v", b, err)
	}
}
