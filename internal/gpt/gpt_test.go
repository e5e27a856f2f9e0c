package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

const (
	oldSize = 4 << 20
	newSize = 8<<20 + 512*5 // no whole MiB
)

// disk returns the path of a disk made by sgdisk with two partitions, in a file that has been enlarged since.
func disk(t *testing.T, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	resize(t, path, oldSize)
	args := append([]string{"-n1:2048:4095", "-t1:EF00", "-c1:boot", "-n2:4096:6143", "-c2:data", "-u2:0fedcba9-8765-4321-0123-456789abcdef"}, more...)
	if out, err := exec.Command(need.Tool(t, "sgdisk", "gdisk"), append(args, path)...).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	resize(t, path, newSize)
	return path
}

func resize(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func plan(t *testing.T, path string, number int) Plan {
	t.Helper()
	p, err := Grow(bytes.NewReader(content(t, path)), 512, newSize, number, 1<<20)
	if err != nil {
		t.Fatalf("Grow(partition %d) = %v", number, err)
	}
	return p
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func perform(image []byte, writes []Write) {
	for _, w := range writes {
		copy(image[w.Offset:], w.Data)
	}
}

// sgdisk returns what sgdisk -v finds wrong.
func sgdisk(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command(need.Tool(t, "sgdisk", "gdisk"), "-v", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		return fmt.Sprintf("%v\n%s", err, out)
	}
	return ""
}

func TestTheLastPartitionGrowsToTheEndAndNothingElseChanges(t *testing.T) {
	path := disk(t)
	before := content(t, path)
	p := plan(t, path, 2)
	if p.Start != 2<<20 || p.Size != 1<<20 || p.NewSize != 5<<20 {
		t.Errorf("Grow = start %d, size %d, new size %d, want 2, 1 and 5 MiB", p.Start, p.Size, p.NewSize)
	}
	after := bytes.Clone(before)
	perform(after, p.Writes)
	if err := os.WriteFile(path, after, 0o644); err != nil {
		t.Fatal(err)
	}
	if wrong := sgdisk(t, path); wrong != "" {
		t.Errorf("sgdisk -v of the grown disk: %s", wrong)
	}
	out, err := exec.Command("sgdisk", "-p", "-i", "2", path).CombinedOutput()
	for _, want := range []string{"0FEDCBA9-8765-4321-0123-456789ABCDEF", "Last sector: 14335", "'data'", "2048            4095"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("sgdisk -p -i 2: %v, no %q in\n%s", err, want, out)
		}
	}
	// The partitions' contents stay. What the old copy of the table was is the only place that may change in between.
	if !bytes.Equal(before[1<<20:3<<20], after[1<<20:3<<20]) {
		t.Error("what is in the partitions changed")
	}
	if again := plan(t, path, 2); len(again.Writes) != 0 || again.NewSize != again.Size {
		t.Errorf("Grow again = %d writes, from %d to %d bytes, want nothing to do", len(again.Writes), again.Size, again.NewSize)
	}
}

// The power fails after any sector: Linux still finds both partitions, the data partition either old or grown, and the
// next boot brings the growth to its end.
func TestACutAnywhereLeavesADiskThatBootsAndGrows(t *testing.T) {
	path := disk(t)
	image := content(t, path)
	p := plan(t, path, 2)
	check := func(image []byte, where string) {
		h, _, err := read(bytes.NewReader(image), 512, newSize)
		if err != nil {
			t.Fatalf("%s: Linux would find no partitions: %v", where, err)
		}
		now, _, err := h.extent(2)
		if err != nil || now.Start != p.Start || now.Size != p.Size && now.Size != p.NewSize {
			t.Fatalf("%s: partition 2 is %+v, %v", where, now, err)
		}
		next, err := Grow(bytes.NewReader(image), 512, newSize, 2, 1<<20)
		if err != nil {
			t.Fatalf("%s: Grow on the next boot = %v", where, err)
		}
		done := bytes.Clone(image)
		perform(done, next.Writes)
		if h, _, err = read(bytes.NewReader(done), 512, newSize); err != nil || h.table != 2 {
			t.Fatalf("%s: after the next boot: %v", where, err)
		}
		if now, _, _ = h.extent(2); now.Size != p.NewSize {
			t.Fatalf("%s: after the next boot partition 2 has %d bytes, want %d", where, now.Size, p.NewSize)
		}
	}
	check(image, "before")
	for i, w := range p.Writes {
		for at := 0; at < len(w.Data); at += 512 {
			copy(image[w.Offset+int64(at):], w.Data[at:at+512])
			check(image, fmt.Sprintf("write %d, sector %d", i, at/512))
		}
	}
	// sgdisk judges the end of every way: cut after each step, then done by the next boot.
	for n := range p.Writes {
		image := content(t, path)
		perform(image, p.Writes[:n])
		next, err := Grow(bytes.NewReader(image), 512, newSize, 2, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		perform(image, next.Writes)
		cut := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(cut, image, 0o644); err != nil {
			t.Fatal(err)
		}
		if wrong := sgdisk(t, cut); wrong != "" {
			t.Errorf("cut after %d writes, then done again: sgdisk -v: %s", n, wrong)
		}
	}
}

// Linux itself reads the disk after each step, through a loop device.
func TestLinuxFindsThePartitionsAfterEachStep(t *testing.T) {
	need.Root(t)
	losetup := need.Tool(t, "losetup", "mount")
	path := disk(t)
	p := plan(t, path, 2)
	for n := 0; n <= len(p.Writes); n++ {
		if n > 0 {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(p.Writes[n-1].Data, p.Writes[n-1].Offset); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		out, err := exec.Command(losetup, "-fP", "--show", path).CombinedOutput()
		if err != nil {
			t.Skipf("no loop devices here: %s", out)
		}
		loop := strings.TrimSpace(string(out))
		name := filepath.Base(loop)
		size, err := os.ReadFile("/sys/block/" + name + "/" + name + "p2/size")
		exec.Command(losetup, "-d", loop).Run()
		sectors, _ := strconv.ParseInt(strings.TrimSpace(string(size)), 10, 64)
		if n == 0 && err != nil {
			t.Skip("this kernel looks for no partitions on loop devices")
		}
		if err != nil || sectors*512 != p.Size && sectors*512 != p.NewSize {
			t.Errorf("after %d writes Linux sees partition 2 with %d sectors, %v", n, sectors, err)
		}
		if n == len(p.Writes) && sectors*512 != p.NewSize {
			t.Errorf("at the end Linux sees %d sectors, want %d bytes", sectors, p.NewSize)
		}
	}
}

func TestWhatCannotGrowIsLeftAlone(t *testing.T) {
	path := disk(t)
	image := content(t, path)
	reader := func(edit func([]byte)) *bytes.Reader {
		b := bytes.Clone(image)
		edit(b)
		return bytes.NewReader(b)
	}
	same := func([]byte) {}
	for name, tc := range map[string]struct {
		r      *bytes.Reader
		sector int
		size   int64
		number int
		want   error
	}{
		"not the last":       {reader(same), 512, newSize, 1, ErrNotLast},
		"no such partition":  {reader(same), 512, newSize, 3, ErrNoTable},
		"beyond the table":   {reader(same), 512, newSize, 129, ErrNoTable},
		"number 0":           {reader(same), 512, newSize, 0, ErrNoTable},
		"other sectors":      {reader(same), 4096, newSize / 4096 * 4096, 2, ErrNoTable},
		"odd sectors":        {reader(same), 513, newSize, 2, ErrNoTable},
		"half a sector more": {reader(same), 512, newSize + 5, 2, ErrNoTable},
		"no table":           {reader(func(b []byte) { clear(b[512:1024]) }), 512, newSize, 2, ErrNoTable},
		"damaged header":     {reader(func(b []byte) { b[512+60]++ }), 512, newSize, 2, ErrNoTable},
		"damaged entries":    {reader(func(b []byte) { b[1024+60]++ }), 512, newSize, 2, ErrNoTable},
		"no room in front": {reader(func(b []byte) {
			binary.LittleEndian.PutUint64(b[1024+32:], 40)
			reseal(b)
		}), 512, newSize, 2, ErrNoRoom},
		"smaller disk": {reader(same), 512, 2 << 20, 2, ErrNoTable},
	} {
		if p, err := Grow(tc.r, tc.sector, tc.size, tc.number, 1); !errors.Is(err, tc.want) {
			t.Errorf("%s: Grow = %d writes, %v, want %v", name, len(p.Writes), err, tc.want)
		}
	}
	if p, err := Grow(bytes.NewReader(image), 512, newSize, 2, 100<<20); err != nil || len(p.Writes) != 0 || p.NewSize != p.Size {
		t.Errorf("Grow for 100 MiB at least = %d writes, %v, want none", len(p.Writes), err)
	}
	if p, err := Grow(bytes.NewReader(image[:oldSize]), 512, oldSize, 2, 1); err != nil || len(p.Writes) != 0 {
		t.Errorf("Grow on a disk that is full = %d writes, %v, want none", len(p.Writes), err)
	}
}

// reseal makes the checksums of an edited table fit.
func reseal(b []byte) {
	h := header{raw: b[512:1024], entries: b[1024 : 1024+16384], sector: 512, sectors: oldSize / 512, span: 32}
	copy(b[512:], h.sealed(h.entries, 1, oldSize/512-1, 2))
}

func TestAnotherDiskIsNeverHarmedByAForeignBackupPointer(t *testing.T) {
	path := disk(t)
	image := content(t, path)
	binary.LittleEndian.PutUint64(image[512+32:], 5000) // the second header, it says, is inside partition 2
	binary.LittleEndian.PutUint32(image[512+16:], headerSum(image[512:1024], 92))
	p, err := Grow(bytes.NewReader(image), 512, newSize, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Writes {
		if w.Offset+int64(len(w.Data)) > 1<<20 && w.Offset < 3<<20 {
			t.Errorf("a write of %d bytes at %d, inside the partitions", len(w.Data), w.Offset)
		}
	}
}

func FuzzGrowNeverPanicsAndStaysOutOfPartitions(f *testing.F) {
	entry := make([]byte, 128)
	entry[0] = 1
	binary.LittleEndian.PutUint64(entry[32:], 4096)
	binary.LittleEndian.PutUint64(entry[40:], 6143)
	f.Add(entry, uint64(oldSize/512-1), uint64(2), 1)
	f.Fuzz(func(t *testing.T, entries []byte, alternate, table uint64, number int) {
		b := make([]byte, 64<<10)
		copy(b[512:], "EFI PART")
		le := binary.LittleEndian
		le.PutUint32(b[512+12:], 92)
		le.PutUint64(b[512+24:], 1)
		le.PutUint64(b[512+32:], alternate)
		le.PutUint64(b[512+72:], table)
		le.PutUint32(b[512+80:], 128)
		le.PutUint32(b[512+84:], 128)
		array := make([]byte, 128*128)
		copy(array, entries)
		if at := table % 64 * 512; at >= 1024 {
			copy(b[at:], array)
		}
		le.PutUint32(b[512+88:], crc32.ChecksumIEEE(array))
		le.PutUint32(b[512+16:], headerSum(b[512:1024], 92))
		p, err := Grow(bytes.NewReader(b), 512, newSize, number, 1)
		if err != nil {
			return
		}
		for _, w := range p.Writes {
			if w.Offset < 0 || w.Offset+int64(len(w.Data)) > newSize || w.Offset < p.Start+p.Size && w.Offset+int64(len(w.Data)) > p.Start {
				t.Errorf("Grow writes %d bytes at %d; partition %d is at %d, %d bytes", len(w.Data), w.Offset, number, p.Start, p.Size)
			}
		}
	})
}
