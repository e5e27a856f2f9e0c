package vm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tool returns the path of a program that the Debian package pkg installs, or skips the test.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	absent(t, fmt.Errorf("%s is not installed: apt-get install %s", name, pkg))
	return ""
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

const espOffset = 4 << 20

// espDisk makes an image whose second partition is an EFI system partition of FAT with the given bits and holds
// content as EFI/BOOT/grubenv and under a long name.
func espDisk(t *testing.T, bits string, content []byte) string {
	t.Helper()
	sgdisk, mkfs := tool(t, "sgdisk", "gdisk"), tool(t, "mkfs.vfat", "dosfstools")
	mcopy, mmd := tool(t, "mcopy", "mtools"), tool(t, "mmd", "mtools")
	dir := t.TempDir()
	disk, src := filepath.Join(dir, "disk.img"), filepath.Join(dir, "file")
	for path, data := range map[string][]byte{disk: nil, src: content} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, sgdisk, "-n", "1:2M:+1M", "-t", "1:ef02", "-n", "2:4M:+40M", "-t", "2:ef00", "-c", "2:boot", disk)
	run(t, mkfs, "-F", bits, "-s", map[string]string{"16": "2", "32": "1"}[bits], "--offset", fmt.Sprint(espOffset/512), disk, fmt.Sprint(40<<10)) // in KiB
	image := fmt.Sprintf("%s@@%d", disk, espOffset)
	run(t, mmd, "-i", image, "::EFI", "::EFI/BOOT", "::a folder with a long name")
	run(t, mcopy, "-i", image, src, "::EFI/BOOT/grubenv")
	run(t, mcopy, "-i", image, src, "::a folder with a long name/a file with a long name.text")
	return disk
}

func TestFilesInTheESPAreReadAndOverwrittenInPlace(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcde\n"), 300) // many clusters, the last one not full
	for _, bits := range []string{"16", "32"} {
		disk := espDisk(t, bits, content)
		for _, name := range []string{EnvPath, "/efi/boot/GRUBENV", "a folder with a long name/A file with a long name.text"} {
			if got := ReadESP(t, disk, name); !bytes.Equal(got, content) {
				t.Errorf("FAT%s: ReadESP(%q) = %d bytes, want %d others", bits, name, len(got), len(content))
			}
		}
		changed := bytes.Repeat([]byte("#"), 1024)
		WriteEnv(t, disk, changed)
		want := append(changed, content[1024:]...)
		if got := ReadEnv(t, disk); !bytes.Equal(got, want) {
			t.Errorf("FAT%s: ReadEnv after WriteEnv is not what was written", bits)
		}
		image := fmt.Sprintf("%s@@%d", disk, espOffset)
		if got := run(t, tool(t, "mtype", "mtools"), "-i", image, "::EFI/BOOT/grubenv"); !bytes.Equal(got, want) {
			t.Errorf("FAT%s: mtools reads something else after WriteEnv", bits)
		}
		err := withESP(disk, os.O_RDWR, func(fs *fat) error {
			file, err := fs.find(EnvPath)
			if err != nil {
				return err
			}
			return fs.overwrite(file, make([]byte, len(content)+1))
		})
		if err == nil {
			t.Errorf("FAT%s: more bytes than the file has are not refused", bits)
		}
	}
}

func TestPartitionsNamesWhatSgdiskMade(t *testing.T) {
	disk := espDisk(t, "32", nil)
	parts, err := Partitions(disk)
	if err != nil || len(parts) != 2 {
		t.Fatalf("Partitions = %v, %v, want two", parts, err)
	}
	p := parts[1]
	if p.Number != 2 || p.Type != ESPType || p.Name != "boot" || p.Offset != espOffset || p.Size != 40<<20 {
		t.Errorf("second partition = %+v", p)
	}
	if out := string(run(t, tool(t, "sgdisk", "gdisk"), "-i", "2", disk)); !strings.Contains(strings.ToLower(out), p.ID) {
		t.Errorf("ID = %s, sgdisk says\n%s", p.ID, out)
	}
}

func TestCopyDiskKeepsBytesAndHoles(t *testing.T) {
	src := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{1 << 20, 50 << 20} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	dst := CopyDisk(t, src)
	got, err := os.ReadFile(dst)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(src)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs (%v)", err)
	}
	var info syscall.Stat_t
	if err := syscall.Stat(dst, &info); err != nil || info.Blocks*512 > 1<<20 {
		t.Errorf("the copy of 8 bytes in a hole of 100 MiB takes %d bytes (%v)", info.Blocks*512, err)
	}
}

func TestARangeIsCopiedToTheByte(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	content := make([]byte, 3<<20)
	copy(content[1<<20:], "data")
	copy(content[2<<20:], "data")
	if err := os.WriteFile(src, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, 3 << 20}, {1<<20 + 2, 1 << 20}, {2 << 20, 4}, {5, 100}} {
		if err := CopyRange(dst, src, r[0], r[1]); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(dst)
		if err != nil || !bytes.Equal(got, content[r[0]:r[0]+r[1]]) {
			t.Errorf("CopyRange of %d bytes from %d gives %d others (%v)", r[1], r[0], len(got), err)
		}
	}
}
