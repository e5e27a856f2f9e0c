package kernel

import (
	"bytes"
	"compress/gzip"
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
