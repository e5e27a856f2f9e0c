package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/need"
)

func TestTheRecorderListsFilesOfTheImageOnceAndInOrder(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	root, image := dir+"/root", dir+"/image"
	for _, d := range []string{root, image} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
		need.Absent(t, "mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The paths of this test are seen from the real root; the image is where the recorder looks them up.
	if err := os.MkdirAll(image+root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "a", "empty", "new"} {
		write(root+"/"+name, name)
		if name != "new" {
			write(image+root+"/"+name, strings.TrimPrefix(name, "empty"))
		}
	}
	group, err := openGroup(root)
	if err != nil {
		need.Absent(t, "fanotify: %v", err)
	}
	defer group.Close()
	scratch := filepath.Join(dir, "scratch")
	write(scratch, strings.Repeat("\x00", 1<<20))
	r := recorder{group: int(group.Fd()), rootfs: image, out: dir + "/order", scratch: scratch, settle: 300 * time.Millisecond}
	for _, name := range []string{"b", "new", "empty", "a", "b"} {
		if _, err := os.ReadFile(root + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	want := root + "/b\n" + root + "/a\n"
	if got, err := os.ReadFile(r.out); err != nil || string(got) != want {
		t.Errorf("the list = %q, %v, want %q", got, err, want)
	}
	disk, err := os.ReadFile(scratch)
	if err != nil || string(disk[:512]) != string(scratchHead([]byte(want), true)) || string(disk[scratchText:scratchText+len(want)]) != want {
		t.Errorf("the scratch disk begins with %.80q, %v, want the head and the list", disk, err)
	}
}

func TestTheScratchDiskIsFoundByItsSerialNumber(t *testing.T) {
	dir := t.TempDir()
	for name, serial := range map[string]string{"vda": "disk\n", "vdb": scratchSerial, "loop0": ""} {
		if err := os.MkdirAll(dir+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if serial != "" {
			if err := os.WriteFile(dir+"/"+name+"/serial", []byte(serial), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := findScratch(dir); got != "vdb" {
		t.Errorf("findScratch = %q, want vdb", got)
	}
	if got := findScratch(dir + "/vda"); got != "" {
		t.Errorf("findScratch without our disk = %q, want none", got)
	}
}

func TestDamagedEventsAreNotFollowed(t *testing.T) {
	r := recorder{seen: map[string]bool{}}
	for _, events := range [][]byte{nil, make([]byte, 23), make([]byte, 24), {0xff, 0xff, 0, 0, 23: 0}, {24: 0}} {
		r.take(events) // must end
	}
	if r.files != 0 {
		t.Errorf("%d files of damaged events, want none", r.files)
	}
}

func TestRecordOrderOnTheCommandLine(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "slotboot.record-order": defaultSettle, "slotboot.record-order=45": 45 * time.Second} {
		if got := parseCmdline(text).recordOrder; got != want {
			t.Errorf("parseCmdline(%q).recordOrder = %v, want %v", text, got, want)
		}
	}
	if c := parseCmdline("slotboot.record-order=soon"); c.recordOrder != 0 || len(c.notes) != 1 {
		t.Errorf("slotboot.record-order=soon: %v, notes %q, want none and a note", c.recordOrder, c.notes)
	}
}
