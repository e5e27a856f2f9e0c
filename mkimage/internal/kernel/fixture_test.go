package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/ulikunitz/xz"
)

// bzImage returns an x86 kernel file with the header fields that loaders read, around payload.
func bzImage(release string, flags uint16, payload []byte) []byte {
	const sects = 4
	b := make([]byte, (sects+1)*512)
	le := binary.LittleEndian
	b[hdrSetupSects] = sects
	le.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[hdrProtocol:], 0x20f)
	le.PutUint16(b[hdrXLoadFlags:], flags)
	le.PutUint16(b[hdrVersionText:], 0x300)
	copy(b[0x500:], release+" (builder@host) #1 SMP\x00")
	le.PutUint32(b[hdrPayloadLen:], uint32(len(payload)))
	payload = append(payload, make([]byte, -len(payload)&15)...)
	le.PutUint32(b[hdrSysSize:], uint32(len(payload)/16))
	return append(b, payload...)
}

func amd64Kernel(release string) []byte { return bzImage(release, 1, []byte("payload")) }

// arm64Image returns an arm64 kernel file; extra is what else the kernel holds.
func arm64Image(release, extra string) []byte {
	b := make([]byte, 64)
	copy(b, "MZ")
	copy(b[0x38:], "ARM\x64")
	b = append(b, "\x00Linux version %s (%s)\x00Linux version "+release+" (builder@host) #1\n\x00"...)
	return append(b, extra...)
}

func zboot(payload []byte, name string) []byte {
	b := make([]byte, 64)
	copy(b, "MZ")
	copy(b[4:], "zimg")
	binary.LittleEndian.PutUint32(b[8:], 64)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], name)
	return append(append(b, payload...), "signature"...)
}

func gz(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func xzed(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// module returns a .ko: an ELF file with a .modinfo section of the given "key=value" texts.
func module(info ...string) []byte {
	text := strings.Join(info, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	head := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: header, Shentsize: section, Shnum: 3, Shstrndx: 2, Shoff: uint64(header + len(text) + len(names))}
	copy(head.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	put(head)
	b.WriteString(text + names)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: header, Size: uint64(len(text))})
	put(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(header + len(text)), Size: uint64(len(names))})
	return b.Bytes()
}

// files is a root file system in a table. A text that starts with "->" is a symbolic link.
type files map[string]string

func (f files) fs() fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range f {
		if target, ok := strings.CutPrefix(text, "->"); ok {
			m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		m[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

// with returns f and g together.
func (f files) with(g files) files {
	all := files{}
	for _, m := range []files{f, g} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// rootBuiltin is a modules.builtin with all that mounting a root takes.
const rootBuiltin = "kernel/drivers/block/loop.ko\nkernel/fs/squashfs/squashfs.ko\nkernel/fs/overlayfs/overlay.ko\nkernel/fs/ext4/ext4.ko\nkernel/fs/fat/vfat.ko\n"

// debian returns the unpacked package of Debian's cloud kernel, which is downloaded once into the cache, and the release.
// The package has no modules.dep: depmod makes that when it is installed.
var debian = sync.OnceValues(func() (string, error) {
	cache := os.Getenv("SLOTBOOT_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "slotboot")
	}
	dir := filepath.Join(cache, "kernel-cloud")
	if _, err := os.Stat(filepath.Join(dir, "boot")); err == nil {
		return dir, nil
	}
	script := `set -e
mkdir -p "$1" && cd "$1"
pkg=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
tmp=$(mktemp -d kernel-cloud.XXXXXX)
(cd "$tmp" && apt-get download "$pkg" && dpkg-deb -x ./*.deb root)
mv "$tmp/root" kernel-cloud
rm -r "$tmp"`
	out, err := exec.Command("sh", "-c", script, "sh", cache).CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return dir, nil
})

func debianKernel(t *testing.T) (dir, release string) {
	t.Helper()
	dir, err := debian()
	if err != nil {
		need.Absent(t, "Debian's linux-image-cloud-amd64 could not be downloaded: %v: %s", err, dir)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "lib/modules"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("ReadDir(%s/lib/modules) = %v, %v, want one release", dir, entries, err)
	}
	return dir, entries[0].Name()
}

// depmodded returns a copy of Debian's kernel, in hard links where that works, on which depmod was run.
func depmodded(t *testing.T) (dir, release string) {
	t.Helper()
	depmod := need.Tool(t, "depmod", "kmod")
	from, release := debianKernel(t)
	dir = t.TempDir()
	if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("cp -a: %v: %s", err, out)
	}
	if out, err := exec.Command(depmod, "-b", dir, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v: %s", err, out)
	}
	return dir, release
}
