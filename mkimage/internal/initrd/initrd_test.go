package initrd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/mkimage/internal/kernel"
	"github.com/u-root/u-root/pkg/cpio"
)

func contents() Contents {
	return Contents{
		Init: bytes.Repeat([]byte("static program "), 1000), Release: "6.1.0-9",
		Modules: &kernel.Selection{
			Modules: []kernel.Module{{Name: "squashfs", Path: "kernel/fs/squashfs/squashfs.ko", Data: []byte("S")}, {Name: "virtio_blk", Path: "kernel/drivers/block/virtio_blk.ko", Data: []byte("V")}},
			Always:  []string{"kernel/fs/squashfs/squashfs.ko"}, Dep: []byte("dep\n"), Alias: []byte("alias\n"), Softdep: []byte("softdep\n"),
		},
		Firmware: []File{{"qlogic/x.bin", []byte("F")}},
	}
}

func written(t *testing.T, c Contents, z Compression) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c, z); err != nil {
		t.Fatalf("Write(%s) = %v", z, err)
	}
	return b.Bytes()
}

func archive(t *testing.T, data []byte) *cpio.Archive {
	t.Helper()
	a, err := cpio.ArchiveFromReader(cpio.Newc.Reader(bytes.NewReader(data)))
	if err != nil {
		t.Fatalf("read the archive: %v", err)
	}
	return a
}

// archives splits the plain bytes of an initrd behind each trailer, as the kernel does.
func archives(t *testing.T, plain []byte) (all []*cpio.Archive) {
	t.Helper()
	for len(plain) > 0 {
		_, rest, ok := bytes.Cut(plain, []byte("TRAILER!!!\x00"))
		if !ok {
			t.Fatalf("archive %d has no trailer", len(all))
		}
		end := (len(plain) - len(rest) + 3) &^ 3
		all = append(all, archive(t, plain[:end]))
		plain = plain[end:]
	}
	return all
}

// entries says what is in the archives of an initrd, sorted.
func entries(t *testing.T, plain []byte) (all []string) {
	t.Helper()
	for _, a := range archives(t, plain) {
		for name, r := range a.Files {
			all = append(all, fmt.Sprintf("%s %o inode %d, %d.%d: %.60q", name, r.Mode, r.Ino, r.Rmajor, r.Rminor, text(t, a, name)))
		}
	}
	slices.Sort(all)
	return all
}

func text(t *testing.T, a *cpio.Archive, name string) string {
	t.Helper()
	r, ok := a.Files[name]
	if !ok {
		t.Fatalf("no %s in the archive, only %v", name, a.Order)
	}
	data, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInitrdHoldsWhatInitExpects(t *testing.T) {
	c := contents()
	a := archive(t, written(t, c, None))
	mods := "lib/modules/6.1.0-9/"
	for name, want := range map[string]string{
		"init": string(c.Init), "etc/slotboot/modules": "kernel/fs/squashfs/squashfs.ko\n",
		mods + "modules.dep": "dep\n", mods + "modules.alias": "alias\n", mods + "modules.softdep": "softdep\n",
		mods + "kernel/fs/squashfs/squashfs.ko": "S", mods + "kernel/drivers/block/virtio_blk.ko": "V", "lib/firmware/qlogic/x.bin": "F",
	} {
		if got := text(t, a, name); got != want {
			t.Errorf("%s = %.40q, want %.40q", name, got, want)
		}
	}
	for name, want := range map[string]uint64{
		"init": cpio.S_IFREG | 0o755, "dev/console": cpio.S_IFCHR | 0o600, "dev/null": cpio.S_IFCHR | 0o666, "dev": cpio.S_IFDIR | 0o755,
		"proc": cpio.S_IFDIR | 0o755, "sys": cpio.S_IFDIR | 0o755, "run": cpio.S_IFDIR | 0o755, "newroot": cpio.S_IFDIR | 0o755, "lib/firmware/qlogic": cpio.S_IFDIR | 0o755,
	} {
		if got := a.Files[name].Mode; got != want {
			t.Errorf("mode of %s = %o, want %o", name, got, want)
		}
	}
}

// The kernel ignores a file whose folder it has not seen.
func TestFoldersStandBeforeTheirFiles(t *testing.T) {
	seen := map[string]bool{".": true}
	var inodes []uint64
	a := archive(t, written(t, contents(), None))
	for _, name := range a.Order {
		if !seen[path.Dir(name)] {
			t.Errorf("%s stands before its folder", name)
		}
		seen[name] = true
		inodes = append(inodes, a.Files[name].Ino)
		if a.Files[name].MTime != 0 {
			t.Errorf("time of %s = %d, want 0", name, a.Files[name].MTime)
		}
	}
	if !slices.IsSorted(a.Order) || !slices.IsSorted(inodes) || len(slices.Compact(inodes)) != len(a.Order) {
		t.Errorf("order %v, inodes %v: want both sorted, inodes unique", a.Order, inodes)
	}
}

// cpio, and the tools that made the format, are the second opinion.
func TestEachCompressionIsWhatItsToolUnpacks(t *testing.T) {
	plain := written(t, contents(), None)
	want := entries(t, plain)
	for z, tool := range map[Compression][]string{Zstd: {"zstd", "-dc"}, LZ4: {"lz4", "-dc"}, Gzip: {"gzip", "-dc"}} {
		packed := written(t, contents(), z)
		cmd := exec.Command(need.Tool(t, tool[0], tool[0]), tool[1:]...)
		cmd.Stdin = bytes.NewReader(packed)
		got, err := cmd.Output()
		if d := cmp.Diff(want, entries(t, got)); err != nil || d != "" {
			t.Errorf("%v of %d bytes gives %d bytes, %v, -plain +unpacked:\n%s", tool, len(packed), len(got), err, d)
		}
		if len(packed) >= len(plain) {
			t.Errorf("%s: %d bytes of %d", z, len(packed), len(plain))
		}
		if again := written(t, contents(), z); !bytes.Equal(packed, again) {
			t.Errorf("%s: a second run gives other bytes", z)
		}
	}
	if z := written(t, contents(), LZ4); !bytes.HasPrefix(z, []byte{0x02, 0x21, 0x4c, 0x18}) {
		t.Errorf("lz4 starts with % x, want the legacy magic, the only one the kernel reads", z[:4])
	}
	cmd := exec.Command(need.Tool(t, "cpio", "cpio"), "-t", "--quiet")
	cmd.Stdin = bytes.NewReader(plain)
	out, err := cmd.CombinedOutput()
	if d := cmp.Diff(archive(t, plain).Order, strings.Fields(string(out))); err != nil || d != "" {
		t.Errorf("cpio -t: %v, -ours +cpio:\n%s", err, d)
	}
}

func TestMicrocodeStandsInFront(t *testing.T) {
	root := fstest.MapFS{
		"usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin": {Data: []byte("amd2")}, "usr/lib/firmware/amd-ucode/microcode_amd.bin": {Data: []byte("amd1")},
		"usr/lib/firmware/amd-ucode/microcode_amd.bin.asc": {Data: []byte("no")}, "usr/lib/firmware/intel-ucode/06-55-04": {Data: []byte("intel")},
	}
	ucode, err := Microcode(root)
	if err != nil {
		t.Fatal(err)
	}
	c := contents()
	c.Microcode = ucode
	data := written(t, c, Zstd)
	early := archive(t, data)
	if got := text(t, early, "kernel/x86/microcode/AuthenticAMD.bin"); got != "amd1amd2" {
		t.Errorf("AuthenticAMD.bin = %q, want amd1amd2", got)
	}
	if got := text(t, early, "kernel/x86/microcode/GenuineIntel.bin"); got != "intel" {
		t.Errorf("GenuineIntel.bin = %q, want intel", got)
	}
	at := bytes.Index(data, []byte{0x28, 0xb5, 0x2f, 0xfd})
	if at < 0 || at%512 != 0 || !bytes.Equal(data[at:], written(t, contents(), Zstd)) {
		t.Errorf("the packed archive starts at %d, want a multiple of 512 and the same bytes as without microcode", at)
	}
	if _, err := Microcode(fstest.MapFS{}); err == nil {
		t.Error("Microcode(root without any) = nil, want an error: it was asked for")
	}
}

func TestCompressionIsOneThatTheKernelReads(t *testing.T) {
	for _, test := range []struct {
		config string
		want   Compression
	}{
		{"CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\nCONFIG_RD_LZ4=y\n", Zstd}, {"CONFIG_RD_GZIP=y\nCONFIG_RD_LZ4=y\n", LZ4},
		{"CONFIG_RD_GZIP=y\n", Gzip}, {"CONFIG_X=y\n", None}, {"", Gzip},
	} {
		conf := kernel.ParseConfig([]byte(test.config))
		if got := Choose(conf); got != test.want {
			t.Errorf("Choose(%q) = %s, want %s", test.config, got, test.want)
		}
		if err := Choose(conf).Check(conf); err != nil {
			t.Errorf("Check of what Choose(%q) chose = %v", test.config, err)
		}
	}
	if err := Zstd.Check(kernel.ParseConfig([]byte("CONFIG_RD_GZIP=y\n"))); err == nil {
		t.Error("Check(zstd) of a kernel with gzip alone = nil, want an error")
	}
	if _, err := Parse("rar"); err == nil {
		t.Error("Parse(rar) = nil, want an error")
	}
}

func TestNamesThatCannotBeInAnArchiveAreRefused(t *testing.T) {
	for _, name := range []string{"../x", "/x", "a//b", ""} {
		c := contents()
		c.Modules.Modules[0].Path = "x"
		c.Microcode = []File{{name, []byte("x")}}
		if err := Write(io.Discard, c, None); err == nil {
			t.Errorf("Write(file %q) = nil, want an error", name)
		}
	}
	c := contents()
	c.Firmware = append(c.Firmware, c.Firmware[0])
	if err := Write(io.Discard, c, None); err == nil {
		t.Error("Write(one file twice) = nil, want an error")
	}
}

func TestKeysAreReadBackFromEveryForm(t *testing.T) {
	c := contents()
	c.Keys = []File{{"device.pub", []byte("K1")}, {"revoked/old.pub", []byte("K22\n")}, {"README", []byte("no key")}}
	want := []File{{"device.pub", []byte("K1")}, {"revoked/old.pub", []byte("K22\n")}}
	for _, z := range []Compression{Zstd, LZ4, Gzip, None} {
		for _, early := range [][]File{nil, {{"kernel/x86/microcode/GenuineIntel.bin", bytes.Repeat([]byte("M"), 1001)}}} {
			c.Microcode = early
			data := written(t, c, z)
			got, err := ReadKeys(bytes.NewReader(data))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("ReadKeys(%s, %d early files) = %v\n%s", z, len(early), err, diff)
			}
			if z == None || z == Gzip { // these notice by themselves that an end is missing
				if _, err := ReadKeys(bytes.NewReader(data[:len(data)/2])); err == nil {
					t.Errorf("ReadKeys(half of a %s initrd) = nil, want an error", z)
				}
			}
		}
	}
	if got, err := ReadKeys(strings.NewReader("\xfd7zXZ\x00 of somebody else")); !errors.Is(err, ErrForeign) {
		t.Errorf("ReadKeys(xz) = %v, %v, want ErrForeign", got, err)
	}
}
