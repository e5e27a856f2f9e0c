package disk

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// loop makes a block device of size bytes.
func loop(t *testing.T, size int64, flags ...string) string {
	t.Helper()
	need.Root(t)
	losetup := need.Tool(t, "losetup", "mount")
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(losetup, append(flags, "-f", "--show", path)...).CombinedOutput()
	if err != nil {
		need.Absent(t, "losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command(losetup, "-d", dev).Run() })
	return dev
}

func TestADeviceIsFilledAndTheKernelSeesThePartitions(t *testing.T) {
	needGRUB(t, Both, "amd64")
	dev := loop(t, 400*mib+512, "-P")
	f, size, err := OpenDevice(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if size != 400*mib+512 {
		t.Errorf("OpenDevice: got size %d", size)
	}
	o := options(Both)
	o.Size = size
	l, err := Fill(context.Background(), f, o, loader())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	tool(t, need.Tool(t, "sgdisk", "gdisk"), "-v", dev)
	if lacks(t, "CONFIG_EFI_PARTITION") {
		t.Skip("this kernel knows no GPT")
	}
	name := filepath.Base(dev)
	for _, p := range l.Partitions() {
		b, err := os.ReadFile("/sys/block/" + name + "/" + name + "p" + string(rune('0'+p.Number)) + "/size")
		var sectors int64
		for _, c := range strings.TrimSpace(string(b)) {
			sectors = sectors*10 + int64(c-'0')
		}
		if err != nil || sectors*512 != p.Size {
			t.Errorf("partition %d: the kernel says %d sectors, %v, want %d", p.Number, sectors, err, p.Size/512)
		}
	}
}

// lacks tells whether the running kernel says that it was built without an option.
func lacks(t *testing.T, option string) bool {
	t.Helper()
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return false
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	config, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(config, []byte("# "+option+" is not set"))
}

func TestADeviceInUseIsRefused(t *testing.T) {
	dev := loop(t, 64*mib)
	tool(t, need.Tool(t, "mke2fs", "e2fsprogs"), "-q", dev)
	dir := t.TempDir()
	if out, err := exec.Command("mount", dev, dir).CombinedOutput(); err != nil {
		need.Absent(t, "mount: %v: %s", err, out)
	}
	_, _, err := OpenDevice(dev)
	tool(t, "umount", dir)
	if !errors.Is(err, ErrInUse) {
		t.Errorf("while mounted: got %v, want ErrInUse", err)
	}
	f, _, err := OpenDevice(dev)
	if err != nil {
		t.Fatalf("after umount: %v", err)
	}
	defer f.Close()
	if out, err := exec.Command("mount", dev, dir).CombinedOutput(); err == nil {
		tool(t, "umount", dir)
		t.Errorf("it can be mounted while it is open: %s", out)
	}
}

func TestWhatIsNoDiskIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "not a block device", "/dev/null": "not a block device"} {
		if _, _, err := OpenDevice(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if _, _, err := OpenDevice("/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if _, _, err := OpenDevice(loop(t, 64*mib, "-b", "4096")); err == nil || !strings.Contains(err.Error(), "sectors of 4096 bytes") {
		t.Errorf("large sectors: got %v", err)
	}
}

// Some BIOSes start no disk without an active partition; UEFI wants none. GRUB must find its core by sector.
func TestSectorZeroIsAsTheFirmwareWantsIt(t *testing.T) {
	for _, fw := range []Firmware{UEFI, BIOS, Both} {
		path, l := write(t, options(fw))
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, boot := make([]byte, 512), make([]byte, 512)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(boot, l.Boot.Start); err != nil {
			t.Fatal(err)
		}
		if hidden := int64(binary.LittleEndian.Uint32(boot[28:])) * 512; hidden != l.Boot.Start {
			t.Errorf("%v: hidden sectors: got %d bytes, want %d", fw, hidden, l.Boot.Start)
		}
		active := map[Firmware]byte{UEFI: 0, BIOS: 0x80, Both: 0}[fw]
		if b[446] != active || b[450] != 0xee || binary.LittleEndian.Uint32(b[458:]) != uint32(l.Size/512-1) {
			t.Errorf("%v: partition of sector 0: got % x", fw, b[446:462])
		}
		if fw == UEFI {
			if !bytes.Equal(b[:446], make([]byte, 446)) {
				t.Errorf("%v: there is boot code", fw)
			}
			continue
		}
		if at := int64(binary.LittleEndian.Uint64(b[0x5c:])) * 512; at != l.BIOSBoot.Start || b[0x66] != 0x90 || b[0x67] != 0x90 {
			t.Errorf("%v: loads byte %d, checks the drive with % x, want %d, 90 90", fw, at, b[0x66:0x68], l.BIOSBoot.Start)
		}
	}
}

// A medium that loses what it took must not pass: here the file under the loop device changes behind its back.
func TestADeviceThatLosesDataIsNoticed(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "medium"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &recorder{File: f, ctx: t.Context()}
	for at := range int64(4) {
		if _, err := r.WriteAt(bytes.Repeat([]byte{byte(at + 1)}, 100_000), at*200_000); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.WriteAt([]byte("twice"), 0); err != nil {
		t.Fatal(err)
	}
	var steps []string
	r.progress = func(step string, done, total int64) { steps = append(steps, step) }
	r.spans = r.spans[1:] // written twice; only small ones are known to be
	if err := r.verify(); err != nil || len(steps) != 4 {
		t.Errorf("verify of a good medium = %v, %d steps", err, len(steps))
	}
	if _, err := f.WriteAt([]byte{0xff}, 450_000); err != nil {
		t.Fatal(err)
	}
	if err := r.verify(); !errors.Is(err, ErrReadBack) || !strings.Contains(err.Error(), "400000 to 500000") {
		t.Errorf("verify of a medium that lost a byte = %v, want ErrReadBack with the place", err)
	}
}
