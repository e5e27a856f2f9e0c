package vmrun

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/mkimage/internal/disk"
	"github.com/slotboot/slotboot/mkimage/internal/fat"
)

// sparse is a file without contents that counts as a qcow2 disk.
func sparse(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("QFI\xfb"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func all(name string) (string, error)        { return "/bin/" + name, nil }
func everything(string) (os.FileInfo, error) { return nil, nil }
func nothing(string) (os.FileInfo, error)    { return nil, fs.ErrNotExist }
func none(name string) (string, error)       { return "", exec.ErrNotFound }
func only(paths ...string) func(string) (os.FileInfo, error) {
	return func(path string) (os.FileInfo, error) {
		for _, p := range paths {
			if p == path {
				return nil, nil
			}
		}
		return nil, fs.ErrNotExist
	}
}

func TestTheCommandLineSaysWhatWasAsked(t *testing.T) {
	path := sparse(t, "a,b.img")
	drive := "-drive if=none,id=disk,format=qcow2,file=" + strings.ReplaceAll(path, ",", ",,")
	for _, c := range []struct {
		o    Options
		want []string
		not  []string
	}{
		{Options{}, []string{"/bin/qemu-system-x86_64 -nodefaults -display none -serial mon:stdio -m 1024", "-accel tcg", "OVMF_CODE_4M",
			"OVMF_VARS_4M", drive + " ", "-nic none"}, []string{"kvm", "-no-reboot", "AAVMF", "file=" + drive + ",snapshot"}},
		{Options{Firmware: "bios", Memory: 300, NoReboot: true}, []string{"-m 300", "-no-reboot"}, []string{"pflash"}},
		{Options{Snapshot: true, Network: true}, []string{drive + ",snapshot=on", "-nic user,model=virtio-net-pci"}, []string{"-nic none"}},
		{Options{Arch: "arm64"}, []string{"/bin/qemu-system-aarch64", "-M virt", "-cpu cortex-a57", "AAVMF_CODE", "AAVMF_VARS"}, []string{"OVMF"}},
	} {
		c.o.Disk = path
		args, err := c.o.args(all, everything)
		line := strings.Join(args, " ")
		if err != nil {
			t.Errorf("%+v: %v", c.o, err)
		}
		for _, want := range c.want {
			if !strings.Contains(line, want) {
				t.Errorf("%+v: want %q in %s", c.o, want, line)
			}
		}
		for _, not := range c.not {
			if strings.Contains(line, not) {
				t.Errorf("%+v: do not want %q in %s", c.o, not, line)
			}
		}
	}
}

// A CODE file with the VARS of another size spins for ever.
func TestTheTwoPartsOfTheFirmwareBelongTogether(t *testing.T) {
	o := Options{Disk: sparse(t, "disk")}
	args, err := o.args(all, only("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"))
	line := strings.Join(args, " ")
	if err != nil || !strings.Contains(line, "OVMF_CODE.fd") || !strings.Contains(line, "OVMF_VARS.fd") || strings.Contains(line, "4M") {
		t.Errorf("got %v, %s", err, line)
	}
}

func TestWhatIsMissingIsNamedWithItsPackage(t *testing.T) {
	for _, c := range []struct {
		o    Options
		look func(string) (string, error)
		stat func(string) (os.FileInfo, error)
		want string
	}{
		{Options{}, none, everything, "qemu-system-x86_64 is missing: apt-get install qemu-system-x86"},
		{Options{Arch: "arm64"}, none, everything, "qemu-system-aarch64 is missing: apt-get install qemu-system-arm"},
		{Options{}, all, nothing, "apt-get install ovmf"},
		{Options{Arch: "arm64"}, all, nothing, "apt-get install qemu-efi-aarch64"},
	} {
		c.o.Disk = sparse(t, "disk")
		_, err := c.o.args(c.look, c.stat)
		var missing *MissingError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want a MissingError with %q", c.o, err, c.want)
		}
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("ab"), 0o600); err != nil {
		t.Fatal(err)
	}
	zeros := filepath.Join(t.TempDir(), "zeros")
	if err := os.WriteFile(zeros, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"no such file":            {Disk: "/nonexistent"},
		"shorter than 4 bytes":    {Disk: short},
		"partition table":         {Disk: zeros},
		`architecture "riscv64"`:  {Arch: "riscv64"},
		`firmware "bios" for arm`: {Arch: "arm64", Firmware: "bios"},
		`firmware "coreboot"`:     {Firmware: "coreboot"},
		"memory of -1 MiB":        {Memory: -1},
		`acceleration "hvf"`:      {Accel: "hvf"},
	} {
		if o.Disk == "" {
			o.Disk = sparse(t, "disk")
		}
		if _, err := o.args(all, everything); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error with %q", o, err, want)
		}
	}
}

func make1(t *testing.T, fw disk.Firmware, cfg string) string {
	t.Helper()
	need.Tool(t, "grub-mkimage", "grub-common")
	need.File(t, "/usr/lib/grub/x86_64-efi/kernel.img", "grub-efi-amd64-bin")
	need.File(t, "/usr/lib/grub/i386-pc/kernel.img", "grub-pc-bin")
	path := filepath.Join(t.TempDir(), "disk")
	env := append([]byte("# GRUB Environment Block\n"), bytes.Repeat([]byte("#"), 999)...)
	o := disk.Options{Firmware: fw, Arch: "amd64", ID: "test", Time: time.Unix(0, 0)}
	if _, err := disk.Write(context.Background(), path, o, disk.GRUB{Config: []byte(cfg), Env: env}); err != nil {
		t.Fatal(err)
	}
	return path
}

// FuzzDetect damages the partition table and the folders of a disk: an error is fine, a panic is not.
func FuzzDetect(f *testing.F) {
	disk := make([]byte, 40<<20)
	table := gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, GUID: "5de50d7d-0f0a-4d11-9f0a-000000000001", ProtectiveMBR: true,
		Partitions: []*gpt.Partition{{Index: 1, Start: 2048, Size: 36 << 20, Type: gpt.EFISystemPartition, GUID: "5de50d7d-0f0a-4d11-9f0a-000000000002"}}}
	path := filepath.Join(f.TempDir(), "disk")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	err = errors.Join(file.Truncate(int64(len(disk))), table.Write(file, int64(len(disk))),
		fat.Write(io.NewOffsetWriter(file, 1<<20), fat.Options{Size: 36 << 20}, []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI"}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(512+72), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true)
	f.Add(uint32(512+80), []byte{0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f}, true)
	f.Add(uint32(1024+32), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false)
	f.Add(uint32(1<<20+13), []byte{0, 0xff}, false)
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, repair bool) {
		pos := int64(at) % (2 << 20)
		patch = patch[:min(len(patch), 64)]
		old := make([]byte, len(patch)+4096)
		if _, err := file.ReadAt(old, pos); err != nil {
			t.Fatal(err)
		}
		header := make([]byte, 92)
		if _, err := file.ReadAt(header, 512); err != nil {
			t.Fatal(err)
		}
		file.WriteAt(patch, pos)
		if repair {
			// Only with the right checksums does the damage get further.
			fixed := make([]byte, 92)
			entries := make([]byte, 128*128)
			file.ReadAt(fixed, 512)
			file.ReadAt(entries, 1024)
			binary.LittleEndian.PutUint32(fixed[88:], crc32.ChecksumIEEE(entries))
			binary.LittleEndian.PutUint32(fixed[16:], 0)
			binary.LittleEndian.PutUint32(fixed[16:], crc32.ChecksumIEEE(fixed))
			file.WriteAt(fixed, 512)
		}
		Detect(path)
		file.WriteAt(header, 512)
		file.WriteAt(old, pos)
	})
}

func TestDetectTellsForWhatADiskIsMade(t *testing.T) {
	for fw, want := range map[disk.Firmware]Machine{
		disk.UEFI: {"amd64", "uefi", "raw"}, disk.BIOS: {"amd64", "bios", "raw"}, disk.Both: {"amd64", "uefi", "raw"},
	} {
		if got, err := Detect(make1(t, fw, "")); err != nil || got != want {
			t.Errorf("%v: got %v, %v, want %v", fw, got, err, want)
		}
	}
}

func TestRunShowsTheSerialPortAndEndsWithTheMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots QEMU")
	}
	need.Tool(t, "qemu-system-x86_64", "qemu-system-x86")
	path := make1(t, disk.BIOS, "serial --unit=0\nterminal_output serial\necho \"HELLO $grub_platform\"\nreboot\n")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err = Run(ctx, Options{Disk: path, Memory: 128, Snapshot: true, NoReboot: true}, nil, &out)
	if err != nil || ctx.Err() != nil || !strings.Contains(out.String(), "HELLO pc") {
		t.Errorf("got %v, %v, %q", err, ctx.Err(), out.String())
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the disk changed (%v)", err)
	}
}

func TestRunEndsWhenItIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("boots QEMU")
	}
	need.Tool(t, "qemu-system-x86_64", "qemu-system-x86")
	path := make1(t, disk.BIOS, "serial --unit=0\nterminal_output serial\necho HELLO\nsleep 1000\n")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	if err := Run(ctx, Options{Disk: path, Memory: 128, Snapshot: true}, nil, writer(func(b []byte) {
		if bytes.Contains(b, []byte("HELLO")) || bytes.HasSuffix(b, []byte("O")) {
			cancel()
		}
	})); err != nil {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 90*time.Second {
		t.Errorf("ended after %v", took)
	}
}

func TestWhatQEMUSaysBecomesTheError(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-system-x86")
	path := sparse(t, "disk")
	err := Run(context.Background(), Options{Disk: path, Firmware: "bios", Memory: 128}, nil, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(fmt.Sprint(err), "qcow2") {
		t.Errorf("got %v, want QEMU's own words about the bad qcow2 file", err)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}
