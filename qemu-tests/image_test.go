package qemutests

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lab holds what the tests share: the built programs, and slot sets and disks that are made once, by whoever needs
// them first.
type lab struct {
	dir  string // temporary; gone after the tests
	bin  string // mkimage, slotctl, init
	mu   sync.Mutex
	made map[string]*made
}

type made struct {
	once sync.Once
	path string
	err  error
}

var theLab = &lab{made: map[string]*made{}}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "qemu-tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	theLab.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// make returns the path name in the lab, which build makes the first time.
func (l *lab) make(t *testing.T, name string, build func(path string) error) string {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine")
	}
	l.mu.Lock()
	one := l.made[name]
	if one == nil {
		one = &made{path: filepath.Join(l.dir, name)}
		l.made[name] = one
	}
	l.mu.Unlock()
	one.once.Do(func() { one.err = build(one.path) })
	if one.err != nil {
		t.Fatalf("make %s: %v", name, one.err)
	}
	return one.path
}

// programs returns the folder with the programs: SLOTBOOT_BIN, which the Makefile sets to what it has built, or freshly
// built ones.
func (l *lab) programs(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("SLOTBOOT_BIN"); bin != "" {
		return bin
	}
	return l.make(t, "bin", func(dir string) error {
		for _, name := range []string{"init", "slotctl", "mkimage"} {
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), "../"+name)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build %s: %v\n%s", name, err, out)
			}
		}
		return nil
	})
}

// run runs one of the programs and returns what it printed.
func (l *lab) run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(l.programs(t), name), args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// cache returns a path in the cache that fixtures/make fills, or skips.
func cache(t *testing.T, name, target string) string {
	t.Helper()
	dir := os.Getenv("SLOTBOOT_CACHE")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".cache", "slotboot")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		absent(t, "%s is not there: run qemu-tests/fixtures/make %s", path, target)
	}
	return path
}

func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// guestInit is the init of the small test image. It says what it was given and runs /etc/rc if there is one, then the
// commands it reads from the console, one a line, and says how each ended.
const guestInit = `#!/bin/busybox sh
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
slot=$(sed -n 's/.*"slot": *"\([AB]\)".*/\1/p' /run/slotboot/boot.json)
fellback=no
grep -q slotboot.fellback /proc/cmdline && fellback=yes
echo "guest: version=$(cat /etc/image-version) slot=$slot fellback=$fellback pid=$$ args=$* var=$GUEST_VARIABLE"
[ ! -f /etc/rc ] || . /etc/rc
echo "guest: ready"
while read -r line; do
	eval "$line"
	echo "guest: done $?"
done
`

// parts is what the small test image is made of.
type parts struct {
	kernel  string // folder with boot/ and lib/modules/
	busybox string
	slotctl string
}

// imageTar writes the small test image of a version as a tar: Debian's kernel and modules, busybox, slotctl.
func (l *lab) imageTar(t *testing.T, version string) string {
	t.Helper()
	p := parts{cache(t, "kernel-cloud", "kernel"), "/bin/busybox", filepath.Join(l.programs(t), "slotctl")}
	return l.make(t, "image-"+version+".tar", func(path string) error { return p.tar(path, version) })
}

func (p parts) tar(path, version string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "var"} {
		if err := addTar(w, dir, 0o755, fs.ModeDir, nil); err != nil {
			return err
		}
	}
	files := map[string]string{"bin/busybox": p.busybox, "usr/bin/slotctl": p.slotctl}
	for name, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("%w: apt-get install busybox-static", err)
		}
		if err := addTar(w, name, 0o755, 0, data); err != nil {
			return err
		}
	}
	if err := addTar(w, "sbin/init", 0o755, 0, []byte(guestInit)); err != nil {
		return err
	}
	if err := addTar(w, "etc/image-version", 0o644, 0, []byte(version+"\n")); err != nil {
		return err
	}
	for _, dir := range []string{"boot", "lib"} {
		if err := addKernel(w, p.kernel, dir); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

// networkModules lead to QEMU's network card, in the order in which they load.
var networkModules = []string{"net/core/failover.ko", "drivers/net/net_failover.ko", "drivers/net/virtio_net.ko"}

// unwanted are large folders of modules that no test here needs: a small image makes fast tests.
var unwanted = []string{"net", "drivers/net", "drivers/infiniband", "drivers/comedi", "drivers/hid", "drivers/target", "arch/x86/kvm",
	"fs/btrfs", "fs/ceph", "fs/nfs", "fs/nfsd", "fs/smb", "fs/xfs"}

// wanted says whether the small test image gets a file of the kernel's package.
func wanted(name string) bool {
	_, module, _ := strings.Cut(name, "/kernel/")
	within := func(dir string) bool { return strings.HasPrefix(module, dir+"/") }
	return slices.Contains(networkModules, module) || !slices.ContainsFunc(unwanted, within)
}

// addKernel adds a folder of the kernel's package: the kernel and those of its modules that a machine needs to find its
// disk and root, and whole folders around them: mkimage has to choose.
func addKernel(w *tar.Writer, root, dir string) error {
	return filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir():
			return addTar(w, name, 0o755, fs.ModeDir, nil)
		case !d.Type().IsRegular() || !wanted(name):
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return addTar(w, name, 0o644, 0, data)
	})
}

// withFiles copies the tar from to the new tar to, and adds files to it.
func withFiles(to, from string, files map[string][]byte) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	r, w := tar.NewReader(in), tar.NewWriter(out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := addTar(w, name, 0o644, 0, files[name]); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), out.Close())
}

func addTar(w *tar.Writer, name string, mode int64, kind fs.FileMode, data []byte) error {
	h := &tar.Header{Name: name, Mode: mode, Typeflag: tar.TypeReg, Size: int64(len(data)), ModTime: time.Unix(1700000000, 0), Format: tar.FormatPAX}
	if kind.IsDir() {
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// guestArgs are what every kernel here needs: a console, and no check of the timer, which a starved emulator fails now
// and then ("IO-APIC + timer doesn't work").
const guestArgs = "console=ttyS0 quiet no_timer_check"

// build builds an image, as mkimage names one, into the slot set at path, and returns what mkimage said.
func (l *lab) build(t *testing.T, image, path, version string, flags ...string) (string, error) {
	t.Helper()
	args := []string{"build", "--init", filepath.Join(l.programs(t), "init"), "--version", version, "--cmdline", guestArgs + " GUEST_VARIABLE=kept"}
	return l.run(t, "mkimage", slices.Concat(args, flags, []string{image, path})...)
}

// slotSet builds the small test image of a version into a slot set.
func (l *lab) slotSet(t *testing.T, version string) string {
	t.Helper()
	image := l.imageTar(t, version)
	return l.make(t, "set-"+version, func(path string) error {
		_, err := l.build(t, "tar:"+image, path, version)
		return err
	})
}

// bundle makes a slot set into a bundle, padded so that QEMU takes it for a disk.
func (l *lab) bundle(t *testing.T, version string) string {
	t.Helper()
	set := l.slotSet(t, version)
	return l.make(t, version+".bundle", func(path string) error {
		_, err := l.run(t, "mkimage", "bundle", set, path)
		return err
	})
}

// disk makes a disk with version 1 committed in slot A and nothing in slot B, for both firmwares.
func (l *lab) disk(t *testing.T) string {
	t.Helper()
	set := l.slotSet(t, "v1")
	return l.make(t, "v1.disk", func(path string) error {
		_, err := l.run(t, "mkimage", "disk", "--firmware", "both", set, path)
		return err
	})
}

// blockFile puts an environment block into a file of its own.
func (l *lab) blockFile(t *testing.T, block []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grubenv")
	if err := os.WriteFile(path, block, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
