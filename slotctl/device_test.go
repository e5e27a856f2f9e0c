package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/slots"
)

// guest is a device as init leaves it: partitions on loop devices, the data partition mounted read-only, boot.json.
type guest struct {
	t       *testing.T
	base    string
	esp     string // block device
	effects effects
	reboots int
}

func newGuest(t *testing.T, sameDevice bool) *guest {
	need.Root(t)
	dir := t.TempDir()
	g := &guest{t: t, base: filepath.Join(dir, "slotboot")}
	g.effects = machine()
	g.effects.base = g.base
	g.effects.reboot = func() error { g.reboots++; return nil }
	block, err := bootenv.New(slots.State{Default: slots.A, Verified: true, Bad: slots.B})
	if err != nil {
		t.Fatal(err)
	}
	data := g.partition(filepath.Join(dir, "data.img"), func(root string) {
		if err := writeSlotSet(root+"/slots/A", "1", nil); err != nil {
			t.Fatal(err)
		}
		put(t, root+"/EFI/BOOT/grubenv", block)
	})
	g.esp = data
	if !sameDevice {
		g.esp = g.partition(filepath.Join(dir, "esp.img"), func(root string) { put(t, root+"/EFI/BOOT/grubenv", block) })
	}
	mnt := g.base + "/data"
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(data, mnt, "ext4", unix.MS_RDONLY|unix.MS_NOATIME, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	report, _ := json.Marshal(map[string]any{
		"slot": "A", "count": 0, "limit": 5, "why": "committed", "saved": true, "fell_back": false, "version": "1", "build": "x",
		"data_device": data, "env_device": g.esp, "env_path": "/EFI/BOOT/grubenv",
	})
	put(t, g.base+"/boot.json", report)
	return g
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// partition returns a loop device with an ext4 that fill has filled.
func (g *guest) partition(image string, fill func(root string)) string {
	g.t.Helper()
	root := filepath.Join(g.t.TempDir(), "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		g.t.Fatal(err)
	}
	fill(root)
	put(g.t, image, make([]byte, 8<<20))
	if out, err := exec.Command(need.Tool(g.t, "mkfs.ext4", "e2fsprogs"), "-q", "-F", "-d", root, image).CombinedOutput(); err != nil {
		g.t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return g.loop(image)
}

func (g *guest) loop(image string) string {
	g.t.Helper()
	out, err := exec.Command(need.Tool(g.t, "losetup", "mount"), "-f", "--show", image).Output()
	if err != nil {
		need.Absent(g.t, "cannot make a loop device here: %v", err)
	}
	device := strings.TrimSpace(string(out))
	g.t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	return device
}

func (g *guest) run(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), args, stdio{&out, &err}, g.effects)
	return code, out.String(), err.String()
}

func (g *guest) must(args ...string) string {
	g.t.Helper()
	code, out, stderr := g.run(args...)
	if code != 0 || stderr != "" {
		g.t.Fatalf("slotctl %s: exit status %d: %s", args, code, stderr)
	}
	return out
}

// fill puts a slot set into a slot.
func (g *guest) fill(slot, version string) {
	g.t.Helper()
	data := g.base + "/data"
	if err := errors.Join(linux{}.Remount(data, false), writeSlotSet(data+"/slots/"+slot, version, nil), linux{}.Remount(data, true)); err != nil {
		g.t.Fatal(err)
	}
}

// tidy checks that slotctl leaves no mount and no folder, and the data partition read-only.
func (g *guest) tidy() {
	g.t.Helper()
	if left, _ := filepath.Glob(g.base + "/env-*"); len(left) > 0 {
		g.t.Errorf("%v is left", left)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Contains(mounts, []byte(g.base+"/env-")) {
		g.t.Errorf("a mount is left in\n%s", mounts)
	}
	if readOnly, err := g.effects.mounts.ReadOnly(g.base + "/data"); !readOnly || err != nil {
		g.t.Errorf("the data partition is left writable (%v)", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(g.base+"/data", &st); err != nil || st.Flags&unix.MS_NOATIME == 0 {
		g.t.Errorf("the data partition lost noatime (%v)", err)
	}
}

func TestOnTheDeviceEverythingIsFoundAndMountedOnlyAsLongAsNeeded(t *testing.T) {
	for name, same := range map[string]bool{"block on its own partition": false, "block on the data partition": true} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, same)
			set := filepath.Join(t.TempDir(), "v2")
			if err := writeSlotSet(set, "2", nil); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := bundle.Write(&b, os.DirFS(set)); err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(t.TempDir(), "stick.img") // what stands behind the bundle does not count
			put(t, image, append(b.Bytes(), bytes.Repeat([]byte("leftover"), 1<<16)...))
			if out := g.must("status"); !strings.Contains(out, "running    slot A\ndefault    slot A, committed") {
				t.Errorf("status says %s", out)
			}
			g.tidy()
			out := g.must("install", "--reboot", g.loop(image))
			if !strings.Contains(out, "slot B: on trial from the next boot on, 5 boots") || g.reboots != 1 {
				t.Errorf("install says %s and reboots %d times", out, g.reboots)
			}
			g.tidy()
			if out := g.must("status"); !strings.Contains(out, "default    slot B on trial, not booted yet, 5 boots") || !strings.Contains(out, "B     ready    2") {
				t.Errorf("status says %s", out)
			}
			g.must("verify")
			if code, _, stderr := g.run("commit"); code != 0 || !strings.Contains(stderr, "gives up the trial of slot B, 2") {
				t.Errorf("commit of slot A: exit status %d: %s", code, stderr)
			}
			if out := g.must("simulate", "--boots", "1"); out != "boot 1  slot A  committed\n" {
				t.Errorf("simulate says %q", out)
			}
			g.tidy()
		})
	}
}

func TestAFailedInstallOnTheDeviceLeavesNothingMountedOrWritable(t *testing.T) {
	g := newGuest(t, false)
	set := filepath.Join(t.TempDir(), "v2")
	if err := writeSlotSet(set, "2", nil); err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(set, bundle.RootfsName)
	data, _ := os.ReadFile(rootfs)
	data[7] ^= 1
	put(t, rootfs, data)
	if code, _, stderr := g.run("install", set); code != exitInvalid || !strings.Contains(stderr, "(slot B left empty, slot A untouched)") {
		t.Errorf("install: exit status %d: %s", code, stderr)
	}
	g.tidy()
	if err := writeSlotSet(set, "2", []string{"size=9000000"}); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := g.run("install", set); code != exitNoSpace || !strings.Contains(stderr, "(nothing changed)") {
		t.Errorf("install: exit status %d: %s", code, stderr)
	}
	g.tidy()
}

// TestAFullDiskIsFoundOutAlsoByTheWrite hides the lack of space from the check in front.
func TestAFullDiskIsFoundOutAlsoByTheWrite(t *testing.T) {
	g := newGuest(t, false)
	g.effects.files = roomy{}
	set := filepath.Join(t.TempDir(), "v2")
	if err := writeSlotSet(set, "2", []string{"size=9000000"}); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := g.run("install", set); code != exitNoSpace || !strings.Contains(stderr, "no space left on device (slot B left empty, slot A untouched)") {
		t.Errorf("install: exit status %d: %s", code, stderr)
	}
	g.tidy()
}

type roomy struct{ durable.OS }

func (roomy) Free(string) (int64, error) { return 1 << 40, nil }

func TestABlockPartitionThatIsMountedElsewhereIsStillChanged(t *testing.T) {
	for name, flags := range map[string]uintptr{"writable": 0, "read-only": unix.MS_RDONLY} {
		g := newGuest(t, false)
		elsewhere := t.TempDir()
		if err := unix.Mount(g.esp, elsewhere, "ext4", flags, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(elsewhere, unix.MNT_DETACH)
		g.must("status")
		g.fill("B", "0")
		g.must("mark-good", "B")
		if content, err := bootenv.Read(elsewhere+"/EFI/BOOT/grubenv", 3); err != nil || content.State.Bad != slots.None {
			t.Errorf("mounted %s elsewhere: %+v, %v", name, content.State, err)
		}
		g.tidy()
	}
}

// TestACommitDuringAnInstallLeavesTheDataPartitionAsItIs holds the lock that an install holds.
func TestACommitDuringAnInstallLeavesTheDataPartitionAsItIs(t *testing.T) {
	g := newGuest(t, false)
	g.fill("B", "0")
	g.must("mark-good", "B")
	g.must("mark-bad", "A") // puts it on trial, so that the commit has something to record
	lock, err := g.effects.files.Lock(g.base + "/data")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	remounts := &remounting{mounter: g.effects.mounts}
	g.effects.mounts = remounts
	code, out, stderr := g.run("commit")
	if code != 0 || out != "slot A is committed\n" || !strings.Contains(stderr, "keep a record of this") {
		t.Errorf("commit: exit status %d: %s%s, want 0 and a warning", code, out, stderr)
	}
	if remounts.n != 0 {
		t.Errorf("commit remounts the data partition %d times, want 0", remounts.n)
	}
	lock.Close()
	g.must("mark-good", "B")
	g.must("mark-bad", "A")
	remounts.n = 0
	g.must("commit")
	if remounts.n != 2 {
		t.Errorf("commit remounts the data partition %d times once the lock is free, want 2", remounts.n)
	}
	g.tidy()
}

// TestACommitToABlockOnTheDataPartitionWaitsItsTurn: making the partition writable for the block, and read-only again, would
// end the writes of an install in between.
func TestACommitToABlockOnTheDataPartitionWaitsItsTurn(t *testing.T) {
	g := newGuest(t, true)
	lock, err := g.effects.files.Lock(g.base + "/data")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	remounts := &remounting{mounter: g.effects.mounts}
	g.effects.mounts = remounts
	if code, _, stderr := g.run("commit"); code != exitFailed || !strings.Contains(stderr, "another slotctl is at work on this device (nothing changed)") || remounts.n != 0 {
		t.Errorf("commit during an install: exit status %d, %d remounts: %s", code, remounts.n, stderr)
	}
	lock.Close()
	g.must("commit")
	g.tidy()
}

func TestAMissingBlockOnTheDeviceSaysWhereItWasLookedForAndHowToMakeIt(t *testing.T) {
	for name, same := range map[string]bool{"own partition": false, "data partition": true} {
		g := newGuest(t, same)
		report, err := os.ReadFile(g.base + "/boot.json")
		if err != nil {
			t.Fatal(err)
		}
		put(t, g.base+"/boot.json", bytes.Replace(report, []byte("/EFI/BOOT/grubenv"), []byte("/EFI/BOOT/other"), 1))
		for _, command := range []string{"status", "commit", "simulate"} {
			code, _, stderr := g.run(command)
			if want := "there is no environment block on " + g.esp + ": no file /EFI/BOOT/other\nslotctl: hint: mount " + g.esp + " /mnt && slotctl env create /mnt/EFI/BOOT/other makes"; code != exitFailed || !strings.Contains(stderr, want) {
				t.Errorf("%s: %s: exit status %d: %s, want %q", name, command, code, stderr, want)
			}
		}
		g.tidy()
	}
}

// remounting counts how often a partition becomes writable or read-only.
type remounting struct {
	mounter
	n int
}

func (r *remounting) Remount(dir string, readOnly bool) error {
	r.n++
	return r.mounter.Remount(dir, readOnly)
}

func TestABootReportThatNamesNothingIsAClearError(t *testing.T) {
	for report, want := range map[string]string{
		"":                                      "unexpected end of JSON",
		"{}":                                    "it names no slot",
		`{"slot":"C"}`:                          `slot "C": want A or B`,
		`{"slot":"A"}`:                          "no partition with an environment block",
		`{"slot":"A","env_device":"/dev/no"}`:   "mount /dev/no: ",
		`{"slot":"A","env_device":"/dev/null"}`: "mount /dev/null: ",
	} {
		on := machine()
		on.base = t.TempDir()
		put(t, on.base+"/boot.json", []byte(report))
		var out, stderr bytes.Buffer
		if code := run(context.Background(), []string{"commit"}, stdio{&out, &stderr}, on); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("boot.json %q: exit status %d: %s, want %q", report, code, &stderr, want)
		}
		if left, err := os.ReadDir(on.base); err != nil || len(left) != 1 {
			t.Errorf("boot.json %q: %v is left, %v", report, left, errors.Join(err))
		}
	}
}
