package sys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// made returns an empty file that the command, with the file's name behind its arguments, has written to.
func made(t *testing.T, size int64, tool string, args ...string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, append(args, path)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return f
}

func TestFileSystemsMadeByTheUsualToolsAreRecognised(t *testing.T) {
	ext := need.Tool(t, "mke2fs", "e2fsprogs")
	fat := need.Tool(t, "mkfs.vfat", "dosfstools")
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	for _, tc := range []struct {
		size int64
		cmd  []string
		want Identity
	}{
		{4 << 20, []string{ext, "-q", "-t", "ext4", "-U", id, "-L", "slotboot"}, Identity{"ext4", id, "slotboot"}},
		{4 << 20, []string{ext, "-q", "-t", "ext2", "-U", id, "-L", "sixteen letters."}, Identity{"ext4", id, "sixteen letters."}},
		{40 << 20, []string{fat, "-F", "32", "-i", "ABCD1234", "-n", "MY ESP"}, Identity{"vfat", "abcd-1234", "MY ESP"}},
		{16 << 20, []string{fat, "-F", "16", "-i", "00000001", "-n", "X"}, Identity{"vfat", "0000-0001", "X"}},
		{2 << 20, []string{fat, "-F", "12", "-i", "FFFFFFFF"}, Identity{"vfat", "ffff-ffff", "NO NAME"}},
	} {
		f := made(t, tc.size, tc.cmd[0], tc.cmd[1:]...)
		if got, err := Identify(f); err != nil || got != tc.want {
			t.Errorf("Identify(%v) = %+v, %v, want %+v", tc.cmd, got, err, tc.want)
		}
	}
}

func TestPartitionsMadeBySgdiskAndSfdiskAreRead(t *testing.T) {
	sgdisk := need.Tool(t, "sgdisk", "gdisk")
	const esp, data = "aabbccdd-0011-2233-4455-66778899aabb", "0fedcba9-8765-4321-0123-456789abcdef"
	gpt := made(t, 8<<20, sgdisk, "-n1:2048:4095", "-t1:EF00", "-u1:"+esp, "-n3:4096:8191", "-u3:"+data)
	for number, want := range map[int]Partition{
		1: {esp, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"},
		3: {data, "0fc63daf-8483-4772-8e79-3d69d8477de4"},
	} {
		got, err := ReadPartition(gpt, 512, number)
		if err != nil || got != want || got.ESP() != (number == 1) {
			t.Errorf("ReadPartition(%d) = %+v, %v, want %+v", number, got, err, want)
		}
	}

	sfdisk := need.Tool(t, "sfdisk", "fdisk")
	mbr := made(t, 8<<20, "true")
	cmd := exec.Command(sfdisk, "-q", mbr.Name())
	cmd.Stdin = strings.NewReader("label: dos\nlabel-id: 0x0000abcd\nstart=2048,size=2048,type=ef\nstart=4096,size=2048,type=83\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	for number, want := range map[int]Partition{1: {"0000abcd-01", "ef"}, 2: {"0000abcd-02", "83"}, 5: {"0000abcd-05", ""}} {
		got, err := ReadPartition(mbr, 512, number)
		if err != nil || got != want || got.ESP() != (number == 1) {
			t.Errorf("ReadPartition(%d) = %+v, %v, want %+v", number, got, err, want)
		}
	}
}

func TestAGPTOnADiskWithLargeSectorsIsRead(t *testing.T) {
	disk := make([]byte, 4*4096)
	header, entry := disk[4096:], disk[2*4096:]
	copy(header, "EFI PART")
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], 1)
	binary.LittleEndian.PutUint32(header[84:], 128)
	entry[16] = 0x42
	got, err := ReadPartition(bytes.NewReader(disk), 4096, 1)
	if err != nil || got.UUID != "00000042-0000-0000-0000-000000000000" {
		t.Errorf("ReadPartition = %+v, %v", got, err)
	}
}

func TestWhatIsNoFileSystemOrTableIsAnError(t *testing.T) {
	if _, err := Identify(bytes.NewReader(make([]byte, 4096))); !errors.Is(err, ErrUnknownFormat) {
		t.Errorf("Identify(zeros) = %v, want ErrUnknownFormat", err)
	}
	if _, err := Identify(bytes.NewReader(nil)); err == nil {
		t.Error("Identify(nothing) = nil")
	}
	for _, number := range []int{-1, 0, 1, 5000} {
		if _, err := ReadPartition(bytes.NewReader(make([]byte, 4096)), 512, number); !errors.Is(err, ErrUnknownFormat) {
			t.Errorf("ReadPartition(zeros, %d) = %v, want ErrUnknownFormat", number, err)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	gpt := make([]byte, 1200)
	copy(gpt[512:], "EFI PART")
	gpt[510], gpt[511] = 0x55, 0xaa
	f.Add(gpt, 512, 1)
	f.Fuzz(func(t *testing.T, data []byte, sector, number int) {
		Identify(bytes.NewReader(data))
		if sector < 1<<16 {
			ReadPartition(bytes.NewReader(data), sector, number)
		}
	})
}
