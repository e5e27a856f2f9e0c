package ext4

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/need"
)

const mib = 1 << 20

var noon = time.Date(2024, 2, 29, 12, 34, 56, 789, time.UTC)

func options(size int64) Options {
	return Options{
		Size: size, Label: "slotboot", Time: noon,
		UUID: [16]byte{0x12, 0x34, 15: 0xff}, HashSeed: [16]byte{1, 2, 15: 3},
	}
}

// noise is a file of size bytes that look random and differ from name to name.
func noise(path string, size int64) File {
	return File{Path: path, Mode: 0o644, Size: size, Open: func() (io.ReadCloser, error) {
		seed := sha256.Sum256([]byte(path))
		return io.NopCloser(io.LimitReader(rand.NewChaCha8(seed), size)), nil
	}}
}

func dir(path string) File { return File{Path: path, Mode: fs.ModeDir | 0o755} }

// deviceTree is the tree of a real data partition, and files at the edges of a block.
func deviceTree(rootfs int64) []File {
	return []File{
		noise("slots/A/vmlinuz", 6*mib+17), noise("slots/A/initrd", mib), noise("slots/A/rootfs.squashfs", rootfs),
		noise("slots/A/slot.cfg", 30), noise("slots/A/empty", 0), noise("slots/A/block", 4096), noise("slots/A/block1", 4097),
		dir("slots/B"), dir("state"), {Path: "state/secret", Mode: fs.ModeDir | 0o700},
	}
}

func image(t *testing.T, o Options, files []File) string {
	t.Helper()
	return need.Image(t, o.Size, func(f *os.File) error { return Write(f, o, files) })
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	return need.Run(t, nil, name, args...)
}

// check runs e2fsck, whose exit status is 0 only when there is nothing to say.
func check(t *testing.T, path string) {
	t.Helper()
	out := tool(t, need.Tool(t, "e2fsck", "e2fsprogs"), "-fnv", path)
	if strings.Contains(out, "? no") {
		t.Errorf("e2fsck -fn found something:\n%s", out)
	}
}

func TestFsckFindsNothingAtAnySize(t *testing.T) {
	sizes := []int64{48 * mib, 127*mib + 1234, 128 * mib, 129 * mib, 133 * mib, 500 * mib, 1 << 30, 2<<30 + 1, 2<<30 + mib, 2<<30 + 3*mib,
		3 << 30, 9 << 30, 300 << 30}
	for _, size := range sizes {
		path := image(t, options(size), deviceTree(3*mib))
		check(t, path)
	}
	for _, growTo := range []int64{1, 1 << 30, 64 << 30, 16 << 40} {
		o := options(600 * mib)
		o.GrowTo = growTo
		check(t, image(t, o, deviceTree(3*mib)))
	}
}

func mount(t *testing.T, path, options string) string {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,"+options, path, dir).CombinedOutput(); err != nil {
		need.Absent(t, "mount -t ext4 -o loop,%s: %v: %s", options, err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

// compare reads every file of the tree below dir.
func compare(t *testing.T, dir string, files []File) {
	t.Helper()
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		st, err := os.Stat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		sys := st.Sys().(*syscall.Stat_t)
		if st.Mode() != f.Mode || sys.Uid != 0 || sys.Gid != 0 || st.ModTime().Unix() != noon.Unix() {
			t.Errorf("%s: got %v, owner %d:%d, %v, want %v, 0:0, %v", f.Path, st.Mode(), sys.Uid, sys.Gid, st.ModTime(), f.Mode, noon)
		}
		if f.Mode.IsDir() {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, want := digest(t, file), contents(t, f); got != want {
			t.Errorf("%s: contents differ", f.Path)
		}
	}
}

func contents(t *testing.T, f File) string {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	return digest(t, r)
}

func digest(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// A file of 700 MiB has more extents than fit in its inode.
func TestTheKernelMountsItReadsItAndWritesToIt(t *testing.T) {
	rootfs := int64(700 * mib)
	if testing.Short() {
		rootfs = 20 * mib
	}
	files := deviceTree(rootfs)
	path := image(t, options(1500*mib), files)
	check(t, path)
	dir := mount(t, path, "rw")
	compare(t, dir, files)
	for i := range 300 {
		name := filepath.Join(dir, "slots/B", fmt.Sprintf("a file with quite a long name, number %d", i))
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 10000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "slots/A")); err != nil {
		t.Error(err)
	}
	tool(t, "umount", dir)
	check(t, path)
}

func TestAFolderOfManyFilesIsWhole(t *testing.T) {
	files := []File{dir("d")}
	for i := range 1000 {
		files = append(files, noise(fmt.Sprintf("d/%0*d", 1+i%200, i), int64(i%3)))
	}
	path := image(t, options(64*mib), files)
	check(t, path)
	compare(t, mount(t, path, "ro"), files)
}

func TestItGrowsWhileMounted(t *testing.T) {
	resize := need.Tool(t, "resize2fs", "e2fsprogs")
	files := deviceTree(30 * mib)
	path := image(t, options(200*mib), files)
	if err := os.Truncate(path, 40<<30); err != nil {
		t.Fatal(err)
	}
	dir := mount(t, path, "rw")
	if !mayResize(t) {
		t.Skip("growing a mounted file system needs CAP_SYS_RESOURCE")
	}
	device := strings.TrimSpace(tool(t, "findmnt", "-n", "-o", "SOURCE", dir))
	tool(t, resize, device)
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if got := int64(st.Blocks) * st.Bsize; got < 39<<30 {
		t.Errorf("size after growing: got %d, want about 40 GiB", got)
	}
	compare(t, dir, files)
	tool(t, "umount", dir)
	check(t, path)
}

// mayResize tells whether the process has capability 24; root in a container often lacks it.
func mayResize(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var caps uint64
	if _, after, found := strings.Cut(string(status), "CapEff:\t"); found {
		fmt.Sscanf(after, "%x", &caps)
	}
	return caps&(1<<24) != 0
}

func TestResize2fsGrowsAndShrinksIt(t *testing.T) {
	resize := need.Tool(t, "resize2fs", "e2fsprogs")
	files := deviceTree(30 * mib)
	path := image(t, options(600*mib), files)
	check(t, path)
	for _, size := range []string{"20G", "150M"} {
		tool(t, resize, path, size)
		check(t, path)
	}
	compare(t, mount(t, path, "ro"), files)
}

func TestGrubReadsEveryFile(t *testing.T) {
	fstest := need.Tool(t, "grub-fstest", "grub-common")
	files := deviceTree(30 * mib)
	path := image(t, options(600*mib), files)
	for _, f := range files {
		if f.Mode.IsDir() || f.Size == 0 {
			continue
		}
		got := sha256.Sum256([]byte(tool(t, fstest, path, "cat", "(loop0)/"+f.Path)))
		if want := contents(t, f); fmt.Sprintf("%x", got) != want {
			t.Errorf("%s: contents differ", f.Path)
		}
	}
}

func TestTheFeaturesAreThoseEveryReaderKnows(t *testing.T) {
	out := tool(t, need.Tool(t, "dumpe2fs", "e2fsprogs"), "-h", image(t, options(300*mib), deviceTree(mib)))
	const want = "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file " +
		"huge_file dir_nlink extra_isize metadata_csum"
	for _, line := range []string{want, "12340000-0000-0000-0000-0000000000ff", "slotboot", "Remount read-only", "16M",
		"Journal sequence:         0x00000001", "Journal backup:           inode blocks"} {
		if !strings.Contains(out, line) {
			t.Errorf("dumpe2fs: want %q in\n%s", line, out)
		}
	}
}

func TestFreeSpaceTakesNoSpace(t *testing.T) {
	path := image(t, options(20<<30), deviceTree(50*mib))
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Sys().(*syscall.Stat_t).Blocks * 512; got > 110*mib {
		t.Errorf("20 GiB with 57 MiB of files and a journal of 32 MiB take %d bytes", got)
	}
}

func TestFreeIsWhatFits(t *testing.T) {
	for _, size := range []int64{48 * mib, 300 * mib, 700 * mib} {
		free, err := Free(options(size))
		if err != nil {
			t.Fatal(err)
		}
		check(t, image(t, options(size), []File{noise("big", free)}))
		err = Write(nowhere{}, options(size), []File{noise("big", free+8*blockSize)})
		if !errors.Is(err, ErrTooSmall) {
			t.Errorf("%d MiB with 8 blocks too many: got %v, want ErrTooSmall", size/mib, err)
		}
	}
}

func TestTheBytesDependOnTheArgumentsOnly(t *testing.T) {
	sum := func(o Options) string {
		f, err := os.Open(image(t, o, deviceTree(20*mib)))
		if err != nil {
			t.Fatal(err)
		}
		return digest(t, f)
	}
	o := options(200 * mib)
	first := sum(o)
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	o.Time = o.Time.In(time.FixedZone("far", 11*3600))
	if got := sum(o); got != first {
		t.Errorf("two runs in two time zones: got %s, want %s", got, first)
	}
	o.HashSeed[0]++
	if sum(o) == first {
		t.Error("another hash seed gave the same bytes")
	}
}

func TestOldDataUnderneathDoesNotShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := options(150 * mib)
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), o.Size); err != nil {
		t.Fatal(err)
	}
	files := deviceTree(20 * mib)
	if err := Write(f, o, files); err != nil {
		t.Fatal(err)
	}
	check(t, path)
	dir := mount(t, path, "rw")
	compare(t, dir, files)
	if err := os.MkdirAll(filepath.Join(dir, "state/new/folder"), 0o755); err != nil {
		t.Error(err)
	}
	tool(t, "umount", dir)
	check(t, path)
}

func TestYearsAfter2038AreKept(t *testing.T) {
	for _, year := range []int{1970, 2038, 2106, 2107, 2400} {
		o := options(64 * mib)
		o.Time = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		path := image(t, o, deviceTree(mib))
		st, err := os.Stat(filepath.Join(mount(t, path, "ro"), "slots/A/vmlinuz"))
		if err != nil || !st.ModTime().Equal(o.Time) {
			t.Errorf("%d: got %v, %v", year, st.ModTime(), err)
		}
	}
}

func TestWhatCannotBeMadeIsRefused(t *testing.T) {
	short := noise("f", 100)
	short.Size = 101
	long := noise("f", 101)
	long.Size = 100
	unreadable := File{Path: "f", Size: 1, Open: func() (io.ReadCloser, error) { return nil, fs.ErrPermission }}
	for name, c := range map[string]struct {
		size  int64
		files []File
		want  error
		text  string
	}{
		"too small":     {mib, nil, ErrTooSmall, ""},
		"zero":          {0, nil, ErrTooSmall, ""},
		"no room":       {64 * mib, []File{noise("f", 60*mib)}, ErrTooSmall, ""},
		"too large":     {1 << 45, nil, nil, "at most 16 TiB"},
		"short file":    {64 * mib, []File{short}, io.ErrUnexpectedEOF, "/f: read at byte 100 of 101"},
		"long file":     {64 * mib, []File{long}, nil, "longer than the 100 bytes"},
		"unreadable":    {64 * mib, []File{unreadable}, fs.ErrPermission, "/f"},
		"no opener":     {64 * mib, []File{{Path: "f", Size: 1}}, nil, "no way to open"},
		"climbs":        {64 * mib, []File{noise("../f", 1)}, nil, "clean relative"},
		"absolute":      {64 * mib, []File{noise("/f", 1)}, nil, "clean relative"},
		"empty name":    {64 * mib, []File{noise("", 1)}, nil, "clean relative"},
		"twice":         {64 * mib, []File{noise("f", 1), noise("f", 1)}, nil, "taken"},
		"below a file":  {64 * mib, []File{noise("f", 1), noise("f/g", 1)}, nil, "taken"},
		"long name":     {64 * mib, []File{noise(strings.Repeat("n", 256), 1)}, nil, "at most 255"},
		"link":          {64 * mib, []File{{Path: "l", Mode: fs.ModeSymlink}}, nil, "plain file or a folder"},
		"lost and file": {64 * mib, []File{noise("lost+found", 1)}, nil, "taken"},
	} {
		err := Write(nowhere{}, options(c.size), c.files)
		if err == nil || !strings.Contains(err.Error(), c.text) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v %q", name, err, c.want, c.text)
		}
	}
	o := options(64 * mib)
	o.Label = "a label of more than sixteen"
	if err := Write(nowhere{}, o, nil); err == nil {
		t.Error("a long label was accepted")
	}
}

func TestAFailedWriteIsReported(t *testing.T) {
	for limit := range 40 {
		err := Write(&failing{limit}, options(64*mib), deviceTree(mib))
		if limit < 20 && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write %d fails: got %v, want ENOSPC", limit, err)
		}
	}
}

type nowhere struct{}

func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

type failing struct{ left int }

func (f *failing) WriteAt(b []byte, _ int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, syscall.ENOSPC
	}
	return len(b), nil
}
