package fat

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/need"
)

var noon = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

func options() Options {
	return Options{Size: 64 << 20, Offset: 1 << 20, Serial: 0xabcd1234, Label: "SLOTBOOTESP", Time: noon}
}

// espFiles is a tree as on the disk, plus what strains the format: long, dotted and empty names and files, a folder
// of several clusters.
func espFiles() []File {
	files := []File{
		{"EFI/BOOT/BOOTX64.EFI", bytes.Repeat([]byte("MZ grub "), 80000)},
		{"EFI/BOOT/grub.cfg", []byte("echo hello\n")},
		{"EFI/BOOT/grubenv", bytes.Repeat([]byte("#"), 1024)},
		{"empty", nil},
		{"A long name, with = and +x;.tar.gz", []byte("long")},
		{"exactly13char", []byte("no terminator in a long name of 13")},
	}
	for i := range 60 {
		files = append(files, File{fmt.Sprintf("many/file number %d.text", i), []byte{byte(i)}})
	}
	return files
}

func image(t *testing.T, o Options, files []File) string {
	t.Helper()
	return need.Image(t, o.Size, func(f *os.File) error { return Write(f, o, files) })
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	// mtools otherwise shifts the dates into the local zone, and asks for a keypress when unsure.
	return need.Run(t, []string{"TZ=UTC", "MTOOLS_SKIP_CHECK=0"}, name, args...)
}

func TestFsckFindsNothing(t *testing.T) {
	fsck := need.Tool(t, "fsck.vfat", "dosfstools")
	for _, size := range []int64{MinSize, 64 << 20, 512<<20 + 512} {
		o := options()
		o.Size = size
		out := run(t, fsck, "-n", "-v", image(t, o, espFiles()))
		for _, bad := range []string{"wrong", "bad", "not ", "Dirty", "differ", "fix"} {
			if strings.Contains(strings.ToLower(out), strings.ToLower(bad)) {
				t.Errorf("fsck.vfat of %d bytes says %q:\n%s", size, bad, out)
			}
		}
		if !strings.Contains(out, "70 files") {
			t.Errorf("fsck.vfat of %d bytes: want 70 files and folders in\n%s", size, out)
		}
	}
}

func TestMtoolsReadsEveryFileAndTheDates(t *testing.T) {
	mcopy, mdir := need.Tool(t, "mcopy", "mtools"), need.Tool(t, "mdir", "mtools")
	path := image(t, options(), espFiles())
	for _, f := range espFiles() {
		got := run(t, mcopy, "-n", "-i", path, "::"+f.Path, "-")
		if got != string(f.Data) {
			t.Errorf("%s: got %d bytes, want %d", f.Path, len(got), len(f.Data))
		}
	}
	list := run(t, mdir, "-i", path, "::EFI/BOOT")
	for _, want := range []string{"BOOTX64  EFI    640000 2024-02-29  12:34", "GRUB     CFG        11 2024-02-29  12:34  grub.cfg", "ABCD-1234"} {
		if !strings.Contains(list, want) {
			t.Errorf("mdir: want %q in\n%s", want, list)
		}
	}
	if label := run(t, need.Tool(t, "mlabel", "mtools"), "-s", "-i", path, "::"); !strings.Contains(label, "SLOTBOOTESP") {
		t.Errorf("mlabel: got %q", label)
	}
}

func TestTheKernelMountsItAndWritesInPlace(t *testing.T) {
	need.Root(t)
	fsck := need.Tool(t, "fsck.vfat", "dosfstools")
	exec.Command("modprobe", "vfat").Run()
	if list, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(list), "\tvfat\n") {
		t.Skipf("this kernel has no vfat (%v)", err)
	}
	path, dir := image(t, options(), espFiles()), t.TempDir()
	if out, err := exec.Command("mount", "-t", "vfat", "-o", "loop", path, dir).CombinedOutput(); err != nil {
		need.Absent(t, "mount -t vfat -o loop: %v: %s", err, out)
	}
	for _, f := range espFiles() {
		if got, err := os.ReadFile(filepath.Join(dir, f.Path)); err != nil || !bytes.Equal(got, f.Data) {
			t.Errorf("%s: got %d bytes, %v, want %d", f.Path, len(got), err, len(f.Data))
		}
	}
	err := os.WriteFile(filepath.Join(dir, "EFI/BOOT/new file.txt"), bytes.Repeat([]byte("x"), 5000), 0o644)
	if err != nil {
		t.Errorf("write a new file: %v", err)
	}
	run(t, "umount", dir)
	run(t, fsck, "-n", path)
}

func TestEveryFileIsOneRunOfClusters(t *testing.T) {
	path := image(t, options(), espFiles())
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range espFiles() {
		if len(f.Data) > cluster && !bytes.Contains(raw, f.Data) {
			t.Errorf("%s is not in one piece", f.Path)
		}
	}
}

func TestTheBytesDependOnTheArgumentsOnly(t *testing.T) {
	o := options()
	first := memory(t, o)
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	o.Time = o.Time.In(time.FixedZone("far", 11*3600))
	if !bytes.Equal(first, memory(t, o)) {
		t.Error("two runs in two time zones differ")
	}
	o.Serial++
	if bytes.Equal(first, memory(t, o)) {
		t.Error("another serial gave the same bytes")
	}
}

func TestOldDataUnderneathDoesNotShow(t *testing.T) {
	fsck := need.Tool(t, "fsck.vfat", "dosfstools")
	o := options()
	dirty := &buffer{bytes.Repeat([]byte{0xe5, 0x55, 0xff}, int(o.Size/3+1))[:o.Size]}
	if err := Write(dirty, o, espFiles()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(path, dirty.b, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, fsck, "-n", path)
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		files  []File
		want   string
	}{
		"size":     {func(o *Options) { o.Size = 1 << 20 }, nil, "size 1048576"},
		"odd size": {func(o *Options) { o.Size++ }, nil, "multiple of 512"},
		"offset":   {func(o *Options) { o.Offset = 7 }, nil, "offset 7"},
		"label":    {func(o *Options) { o.Label = "twelve chars" }, nil, "label"},
		"full":     {nil, []File{{"a", make([]byte, 64<<20)}}, "clusters"},
		"climbs":   {nil, []File{{"../a", nil}}, "clean relative"},
		"absolute": {nil, []File{{"/a", nil}}, "clean relative"},
		"twice":    {nil, []File{{"a", nil}, {"A", nil}}, "taken"},
		"file/dir": {nil, []File{{"a", nil}, {"a/b", nil}}, "taken"},
		"char":     {nil, []File{{"a?b", nil}}, "not supported"},
		"dot":      {nil, []File{{"a.", nil}}, "does not fit"},
	} {
		o := options()
		if c.change != nil {
			c.change(&o)
		}
		w := &buffer{make([]byte, 64<<20+1)}
		err := Write(w, o, c.files)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, c.want)
		}
		if !bytes.Equal(w.b, make([]byte, len(w.b))) {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestDatesStayInFATsRange(t *testing.T) {
	for in, want := range map[time.Time][2]uint16{
		{}:   {1<<5 | 1, 0},
		noon: {44<<9 | 2<<5 | 29, 12<<11 | 34<<5 | 28},
		time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC): {127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29},
	} {
		if date, clock := dosTime(in); date != want[0] || clock != want[1] {
			t.Errorf("dosTime(%v): got %#x %#x, want %#x", in, date, clock, want)
		}
	}
}

// memory returns the used start of the file system.
func memory(t *testing.T, o Options) []byte {
	t.Helper()
	b := &buffer{make([]byte, o.Size)}
	if err := Write(b, o, espFiles()); err != nil {
		t.Fatal(err)
	}
	return b.b
}

type buffer struct{ b []byte }

func (w *buffer) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(w.b)) {
		return 0, io.ErrShortWrite
	}
	return copy(w.b[off:], p), nil
}
