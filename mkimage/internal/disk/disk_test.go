package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/mkimage/internal/ext4"
)

// noise is a file of size bytes that look random and differ from name to name.
func noise(name string, size int64) File {
	return File{Name: name, Size: size, Open: func() (io.ReadCloser, error) {
		seed := sha256.Sum256([]byte(name))
		return io.NopCloser(io.LimitReader(rand.NewChaCha8(seed), size)), nil
	}}
}

func text(name, contents string) File {
	return File{Name: name, Size: int64(len(contents)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(contents)), nil
	}}
}

func options(fw Firmware) Options {
	return Options{
		Firmware: fw, Arch: "amd64", ID: "sha256:0123", Time: time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC),
		Files: []File{noise("vmlinuz", 5*mib+1), noise("initrd", mib), noise("rootfs.squashfs", 20*mib), text("manifest.json", "{}\n")},
	}
}

func environment(vars string) []byte {
	head := "# GRUB Environment Block\n" + vars
	return []byte(head + strings.Repeat("#", 1024-len(head)))
}

func loader() GRUB { return GRUB{Config: []byte("echo hello\n"), Env: environment("")} }

func write(t *testing.T, o Options) (string, Layout) {
	t.Helper()
	needGRUB(t, o.Firmware, o.Arch)
	path := filepath.Join(t.TempDir(), "disk.img")
	l, err := Write(context.Background(), path, o, loader())
	if err != nil {
		t.Fatal(err)
	}
	return path, l
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// extract copies a partition to a file of its own, for tools that know no partitions.
func extract(t *testing.T, path string, p Partition) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), p.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(in, p.Start, p.Size)); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

func TestEveryCheckerFindsNothing(t *testing.T) {
	sgdisk, fsck := need.Tool(t, "sgdisk", "gdisk"), need.Tool(t, "fsck.vfat", "dosfstools")
	e2fsck := need.Tool(t, "e2fsck", "e2fsprogs")
	for _, fw := range []Firmware{UEFI, BIOS, Both} {
		sizes := []int64{0, 300*mib + 512, 5<<30 - 512}
		if testing.Short() {
			sizes = sizes[1:2]
		}
		for _, size := range sizes {
			o := options(fw)
			o.Size = size
			path, l := write(t, o)
			out := tool(t, sgdisk, "-v", path)
			if !strings.Contains(out, "No problems found") {
				t.Errorf("%v, %d bytes: sgdisk -v:\n%s", fw, size, out)
			}
			for _, p := range l.Partitions() {
				info := tool(t, sgdisk, "-i", fmt.Sprint(p.Number), path)
				for _, want := range []string{strings.ToUpper(p.GUID.String()), "slotboot-" + p.Name, fmt.Sprintf("First sector: %d ", p.Start/512)} {
					if !strings.Contains(info, want) {
						t.Errorf("%v: sgdisk -i %d: want %q in\n%s", fw, p.Number, want, info)
					}
				}
			}
			tool(t, fsck, "-n", extract(t, path, l.Boot))
			tool(t, e2fsck, "-fn", fmt.Sprintf("%s?offset=%d", path, l.Data.Start))
			if st, err := os.Stat(path); err != nil || st.Size() != l.Size || size != 0 && l.Size != size {
				t.Errorf("%v: got %v, %v, layout %d, want %d bytes", fw, st.Size(), err, l.Size, size)
			}
		}
	}
}

func TestAPersistentPartitionIsLastAndTakesNothingFromTheSlots(t *testing.T) {
	plain, err := Plan(options(Both))
	if err != nil {
		t.Fatal(err)
	}
	o := options(Both)
	o.Persistent = 100*mib - 1
	path, l := write(t, o)
	p := l.Persistent
	if l.Data.Size != plain.Data.Size || p.Start != l.Data.Start+l.Data.Size || p.Size != 100*mib || p.Number != 4 || l.Size != plain.Size+p.Size {
		t.Errorf("data %+v, persistent %+v, disk of %d; without it %+v and %d", l.Data, *p, l.Size, plain.Data, plain.Size)
	}
	if out := tool(t, need.Tool(t, "sgdisk", "gdisk"), "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	tool(t, need.Tool(t, "e2fsck", "e2fsprogs"), "-fn", fmt.Sprintf("%s?offset=%d", path, p.Start))
	if out := tool(t, need.Tool(t, "blkid", "util-linux"), "-p", "-O", fmt.Sprint(p.Start), path); !strings.Contains(out, `LABEL="persistent"`) || !strings.Contains(out, p.FSUUID) {
		t.Errorf("blkid: %s, want label persistent and UUID %s", out, p.FSUUID)
	}
	o.Size = plain.Size
	tight, err := Plan(o)
	if err != nil || tight.Data.Size != plain.Data.Size-100*mib || tight.Persistent.Start+tight.Persistent.Size > plain.Size-mib {
		t.Errorf("on a disk of %d: %+v, %v", o.Size, tight, err)
	}
	o.Persistent = persistentLeast - 1
	if _, err := Plan(o); !errors.Is(err, ErrTooSmall) {
		t.Errorf("Plan of a persistent partition of %d bytes: %v, want ErrTooSmall", o.Persistent, err)
	}
}

func TestTheKernelFindsThePartitionsAndMountsThem(t *testing.T) {
	need.Root(t)
	losetup := need.Tool(t, "losetup", "mount")
	o := options(Both)
	path, l := write(t, o)
	for _, p := range []Partition{l.Boot, l.Data} {
		dev := strings.TrimSpace(tool(t, losetup, "-f", "--show", "-o", fmt.Sprint(p.Start), "--sizelimit", fmt.Sprint(p.Size), path))
		t.Cleanup(func() { exec.Command(losetup, "-d", dev).Run() })
		id := tool(t, need.Tool(t, "blkid", "util-linux"), "-p", dev)
		if !strings.Contains(id, ` UUID="`+p.FSUUID+`"`) || !strings.Contains(id, ` LABEL="`+p.FSLabel+`"`) {
			t.Errorf("blkid of %s: want %s and %s in %s", p.Name, p.FSUUID, p.FSLabel, id)
		}
		if !knows(t, map[string]string{"boot": "vfat", "data": "ext4"}[p.Name]) {
			t.Logf("this kernel cannot mount partition %s", p.Name)
			continue
		}
		dir := t.TempDir()
		if out, err := exec.Command("mount", dev, dir).CombinedOutput(); err != nil {
			need.Absent(t, "mount: %v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("umount", dir).Run() })
		if p.Name == "data" {
			sameFiles(t, filepath.Join(dir, "slots/A"), o.Files)
			for _, empty := range []string{"slots/B", "state"} {
				if list, err := os.ReadDir(filepath.Join(dir, empty)); err != nil || len(list) != 0 {
					t.Errorf("%s: got %v, %v, want an empty folder", empty, list, err)
				}
			}
			continue
		}
		sameFiles(t, filepath.Join(dir, "EFI/BOOT"), []File{text("grub.cfg", "echo hello\n"), text("grubenv", string(environment("")))})
		if _, err := os.Stat(filepath.Join(dir, "EFI/BOOT/BOOTX64.EFI")); err != nil {
			t.Error(err)
		}
	}
}

// knows tells whether the running kernel has a file system, loading its module if there is one.
func knows(t *testing.T, name string) bool {
	t.Helper()
	exec.Command("modprobe", name).Run()
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(list), "\t"+name+"\n")
}

func sameFiles(t *testing.T, dir string, files []File) {
	t.Helper()
	for _, f := range files {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := io.ReadAll(r)
		got, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v, want %d", f.Name, len(got), err, len(want))
		}
	}
}

func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// small makes disks that are quick to compare.
func small() Options {
	o := options(Both)
	o.Size = 220 * mib
	return o
}

func TestTheSameDiskWheneverAndWhereverItIsMade(t *testing.T) {
	path, _ := write(t, small())
	first := sum(t, path)
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("LC_ALL", "C.UTF-8")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer syscall.Umask(syscall.Umask(0o077))
	o := small()
	o.Time = o.Time.In(time.FixedZone("far", 11*3600))
	if path, _ = write(t, o); sum(t, path) != first {
		t.Error("another place, time zone, umask or number of CPUs made another disk")
	}
	o.ID += "4"
	if path, _ = write(t, o); sum(t, path) == first {
		t.Error("another id made the same disk")
	}
}

// The test runs itself as user nobody.
func TestTheSameDiskForAnotherUser(t *testing.T) {
	const variable = "SLOTBOOT_DISK_TEST_OUT"
	if out := os.Getenv(variable); out != "" {
		if _, err := Write(context.Background(), out, small(), loader()); err != nil {
			t.Fatal(err)
		}
		return
	}
	need.Root(t)
	path, _ := write(t, small())
	dir, err := os.MkdirTemp("/tmp", "slotboot-nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, "test")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "cp", self, exe)
	if err := errors.Join(os.Chmod(exe, 0o755), os.Chmod(dir, 0o755), os.Mkdir(dir+"/out", 0o700), os.Chown(dir+"/out", 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestTheSameDiskForAnotherUser$")
	cmd.Dir, cmd.Env = dir+"/out", []string{variable + "=other.img", "PATH=" + os.Getenv("PATH"), "HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	if sum(t, dir+"/out/other.img") != sum(t, path) {
		t.Error("another user made another disk")
	}
}

func TestFreeSpaceTakesNoSpace(t *testing.T) {
	o := options(UEFI)
	o.Size = 16 << 30
	path, _ := write(t, o)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Sys().(*syscall.Stat_t).Blocks * 512; got > 80*mib {
		t.Errorf("a disk of 16 GiB with 26 MiB of files and a journal of 32 MiB takes %d bytes", got)
	}
}

func TestFillMakesTheSameDiskOverOldData(t *testing.T) {
	o := options(Both)
	o.Size = 220 * mib
	path, l := write(t, o)
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), o.Size); err != nil {
		t.Fatal(err)
	}
	if _, err := Fill(context.Background(), f, o, loader()); err != nil {
		t.Fatal(err)
	}
	tool(t, need.Tool(t, "sgdisk", "gdisk"), "-v", f.Name())
	tool(t, need.Tool(t, "fsck.vfat", "dosfstools"), "-n", extract(t, f.Name(), l.Boot))
	tool(t, need.Tool(t, "e2fsck", "e2fsprogs"), "-fn", fmt.Sprintf("%s?offset=%d", f.Name(), l.Data.Start))
	// What is not free must be the same as in a file of zeros: the disk's first and last sectors say who is who.
	for _, span := range [][2]int64{{0, 446}, {l.Boot.Start, 4096}, {l.Data.Start, 4096}, {l.Size - 512, 512}} {
		a, b := make([]byte, span[1]), make([]byte, span[1])
		g, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, aerr := g.ReadAt(a, span[0])
		_, berr := f.ReadAt(b, span[0])
		g.Close()
		if aerr != nil || berr != nil || !bytes.Equal(a, b) {
			t.Errorf("%d bytes at %d differ (%v, %v)", span[1], span[0], aerr, berr)
		}
	}
}

func TestAutomaticSizeHasRoomForTwoGrownSlotSetsAndState(t *testing.T) {
	for _, slot := range []int64{1, 90 * mib, 300 * mib, 3 << 30, 40 << 30} {
		o := options(Both)
		o.Files = []File{noise("rootfs.squashfs", slot)}
		l, err := Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		free, err := ext4.Free(ext4.Options{Size: l.Data.Size})
		if want := slot*5/2 + 2*slotSlack + stateRoom; err != nil || free < want || free > want+2*sizeStep {
			t.Errorf("slot set of %d: %d free, %v, want %d and little more", slot, free, err, want)
		}
		o.Size = l.Size
		if _, err := Plan(o); err != nil {
			t.Errorf("slot set of %d: the automatic size is refused: %v", slot, err)
		}
	}
}

func TestTheSizeNamedInTheErrorIsEnough(t *testing.T) {
	o := options(BIOS)
	o.Size = 90 * mib
	_, err := Plan(o)
	var have, want int64
	if !errors.Is(err, ErrTooSmall) {
		t.Fatalf("got %v, want ErrTooSmall", err)
	}
	if _, serr := fmt.Sscanf(err.Error(), "plan disk: disk too small: %d MiB, want at least %d MiB", &have, &want); serr != nil {
		t.Fatalf("%v: %v", err, serr)
	}
	o.Size = want * mib
	if _, err := Plan(o); err != nil {
		t.Errorf("%d MiB: %v", want, err)
	}
}

func TestIdentifiersFollowFromTheContents(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Options){
		"base": func(*Options) {}, "id": func(o *Options) { o.ID = "other" },
		"size": func(o *Options) { o.Size = 2 << 30 }, "firmware": func(o *Options) { o.Firmware = Both },
		"arch": func(o *Options) { o.Arch = "arm64" }, "persistent": func(o *Options) { o.Persistent = 64 * mib },
	} {
		o := options(UEFI)
		change(&o)
		a, err := Plan(o)
		b, berr := Plan(o)
		if err != nil || berr != nil {
			t.Fatal(err, berr)
		}
		ja, _ := json.Marshal(a)
		jb, _ := json.Marshal(b)
		if !bytes.Equal(ja, jb) || a.data != b.data || a.own != b.own {
			t.Errorf("%s: two plans differ:\n%s\n%s", name, ja, jb)
		}
		ids := []string{a.GUID.String(), a.Boot.GUID.String(), a.Data.GUID.String(), a.Boot.FSUUID, a.Data.FSUUID, a.data.hashSeed.String()}
		if a.BIOSBoot != nil {
			ids = append(ids, a.BIOSBoot.GUID.String())
		}
		if a.Persistent != nil {
			ids = append(ids, a.Persistent.GUID.String(), a.Persistent.FSUUID, a.own.hashSeed.String())
		}
		for _, id := range ids {
			if other := seen[id]; other != "" {
				t.Errorf("%s: %s was already used in %s", name, id, other)
			}
			seen[id] = name
		}
	}
}

func TestSlotSetReadsAFolderOfFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := SlotSet(dir); err == nil {
		t.Error("an empty folder was accepted")
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinuz"), []byte("kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := SlotSet(dir)
	if err != nil || len(files) != 1 || files[0].Name != "vmlinuz" || files[0].Size != 6 {
		t.Errorf("got %v, %v", files, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := SlotSet(dir); err == nil {
		t.Error("a folder in the slot set was accepted")
	}
}
