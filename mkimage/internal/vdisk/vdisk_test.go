package vdisk

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// raw makes a sparse disk of size bytes with something here and there.
func raw(t *testing.T, size int64, at ...int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{1})
	for i, a := range at {
		b := make([]byte, 512+i*50_000)
		r.Read(b)
		if i%2 == 1 { // packs well, and has zeros inside
			clear(b[:len(b)*3/4])
		}
		if _, err := f.WriteAt(b[:min(int64(len(b)), size-a)], a); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func written(t *testing.T, d Disk, f Format) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk."+f.String())
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := Write(out, d, f); err != nil {
		t.Fatalf("Write(%v) = %v", f, err)
	}
	return path
}

var id = [16]byte{0xf0, 0x1d, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func TestEveryFormHoldsTheSameDisk(t *testing.T) {
	qemuImg := need.Tool(t, "qemu-img", "qemu-utils")
	const gib = 1 << 30
	for name, tc := range map[string]struct {
		size int64
		at   []int64
	}{
		"empty":    {3 << 20, nil},
		"full":     {1 << 20, []int64{0, 65536, 131072, 400_000, 600_000, 800_000}},
		"ends":     {64 << 20, []int64{0, 64<<20 - 512}},
		"odd MiB":  {33 << 20, []int64{31 << 20, 33<<20 - 4096}},
		"over GTs": {200 << 20, []int64{32<<20 - 700, 64<<20 - 65536, 100 << 20, 199 << 20}},
		"large":    {3 * gib, []int64{0, 512 << 20, 512<<20 - 1000, 2*gib + 5, 3*gib - 512}},
		"3 TiB":    {3072 * gib, []int64{4096, 2048 * gib, 3072*gib - 33*512}},
	} {
		f := raw(t, tc.size, tc.at...)
		d := Disk{f, tc.size, id}
		for form, driver := range map[Format]string{QCOW2: "qcow2", VMDK: "vmdk", VHD: "vpc"} {
			if tc.size > 1<<40 && form != QCOW2 {
				continue // qemu-img reads the holes of others
			}
			path := written(t, d, form)
			out, err := exec.Command(qemuImg, "compare", "-s", "-f", "raw", "-F", driver, f.Name(), path).CombinedOutput()
			if err != nil {
				// -s also compares what is allocated, which differs where zeros were written.
				out, err = exec.Command(qemuImg, "compare", "-f", "raw", "-F", driver, f.Name(), path).CombinedOutput()
			}
			if err != nil || !strings.Contains(string(out), "identical") {
				t.Errorf("%s as %v: qemu-img compare: %v\n%s", name, form, err, out)
			}
			info, err := exec.Command(qemuImg, "info", "-f", driver, "--output=json", path).Output()
			var got struct {
				Format string
				Size   int64 `json:"virtual-size"`
			}
			if json.Unmarshal(info, &got); err != nil || got.Size != tc.size || got.Format != driver {
				t.Errorf("%s as %v: qemu-img info: %v\n%s", name, form, err, info)
			}
			if form == QCOW2 {
				if out, err := exec.Command(qemuImg, "check", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors") {
					t.Errorf("%s: qemu-img check: %v\n%s", name, err, out)
				}
			}
			if found, err := Detect(path); err != nil || found != form {
				t.Errorf("%s: Detect(%v) = %v, %v", name, form, found, err)
			}
			if fi, _ := os.Stat(path); form != VHD && fi.Size() > 2<<20 {
				t.Errorf("%s as %v has %d bytes, want no room for zeros", name, form, fi.Size())
			}
		}
	}
}

func TestEqualDisksAreEqualFiles(t *testing.T) {
	a, b := raw(t, 8<<20, 0, 5<<20), raw(t, 8<<20, 0, 5<<20)
	if _, err := b.WriteAt(make([]byte, 1<<20), 2<<20); err != nil { // zeros instead of a hole
		t.Fatal(err)
	}
	for _, form := range []Format{QCOW2, VMDK, VHD} {
		one, err := os.ReadFile(written(t, Disk{a, 8 << 20, id}, form))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(written(t, Disk{b, 8 << 20, id}, form))
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%v: two files of equal disks differ, %v", form, err)
		}
	}
}

func TestSizesThatHypervisorsRoundAreRefused(t *testing.T) {
	f := raw(t, 1<<20)
	for _, size := range []int64{0, -1 << 20, 1<<20 + 512, 512} {
		if err := Write(f, Disk{f, size, id}, QCOW2); err == nil {
			t.Errorf("Write(%d bytes) = nil, want an error", size)
		}
	}
}

func TestNamesAreReadBack(t *testing.T) {
	for _, form := range []Format{Raw, QCOW2, VMDK, VHD} {
		if got, err := Parse(form.String()); err != nil || got != form {
			t.Errorf("Parse(%v) = %v, %v", form, got, err)
		}
	}
	if _, err := Parse("vdi"); err == nil {
		t.Error("Parse(vdi) = nil, want an error")
	}
}
