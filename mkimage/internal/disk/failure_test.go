package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

func TestNothingIsLeftAfterAFailure(t *testing.T) {
	needGRUB(t, UEFI, "amd64")
	done, cancel := context.WithCancel(context.Background())
	for name, c := range map[string]struct {
		change func(*Options, *GRUB) context.Context
		want   error
	}{
		"file that cannot be opened": {func(o *Options, g *GRUB) context.Context {
			o.Files = append(o.Files, File{"x", 1, func() (io.ReadCloser, error) { return nil, fs.ErrPermission }})
			return context.Background()
		}, fs.ErrPermission},
		"file cut short": {func(o *Options, g *GRUB) context.Context {
			short := noise("x", 10)
			short.Size = 11
			o.Files = append(o.Files, short)
			return context.Background()
		}, io.ErrUnexpectedEOF},
		"no GRUB": {func(o *Options, g *GRUB) context.Context {
			g.Modules = "/nonexistent"
			return context.Background()
		}, fs.ErrNotExist},
		"too small": {func(o *Options, g *GRUB) context.Context {
			o.Size = 100 * mib
			return context.Background()
		}, ErrTooSmall},
		"cancelled on the way": {func(o *Options, g *GRUB) context.Context {
			o.Files = append(o.Files, File{"x", 1, func() (io.ReadCloser, error) {
				cancel()
				return io.NopCloser(strings.NewReader("x")), nil
			}})
			return done
		}, context.Canceled},
	} {
		dir := t.TempDir()
		o, g := options(UEFI), loader()
		ctx := c.change(&o, &g)
		_, err := Write(ctx, filepath.Join(dir, "disk"), o, g)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if list, _ := os.ReadDir(dir); len(list) != 0 {
			t.Errorf("%s: left %v", name, list)
		}
	}
}

func TestAFullDiskIsAnErrorAndLeavesNothing(t *testing.T) {
	need.Root(t)
	needGRUB(t, UEFI, "amd64")
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=20m", "none", dir).CombinedOutput(); err != nil {
		need.Absent(t, "mount -t tmpfs: %v: %s", err, out)
	}
	defer exec.Command("umount", dir).Run()
	_, err := Write(context.Background(), filepath.Join(dir, "disk"), options(UEFI), loader())
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left %v", list)
	}
}

func TestAnExistingFileIsNeverReplaced(t *testing.T) {
	needGRUB(t, UEFI, "amd64")
	path := filepath.Join(t.TempDir(), "disk")
	o := options(UEFI)
	appear := File{"x", 1, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("x")), os.WriteFile(path, []byte("mine"), 0o600)
	}}
	o.Files = append(o.Files, appear)
	for _, when := range []string{"made meanwhile", "there before"} {
		_, err := Write(context.Background(), path, o, loader())
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: got %v, want fs.ErrExist", when, err)
		}
		if b, err := os.ReadFile(path); string(b) != "mine" {
			t.Errorf("%s: the file holds %d bytes, %v", when, len(b), err)
		}
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left %v", list)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"architecture": func(o *Options) { o.Arch = "riscv64" },
		"uefi only":    func(o *Options) { o.Arch, o.Firmware = "arm64", Both },
		"firmware(9)":  func(o *Options) { o.Firmware = 9 },
		"size -512":    func(o *Options) { o.Size = -512 },
		"size 1000":    func(o *Options) { o.Size = 1000 },
		"no id":        func(o *Options) { o.ID = "" },
	} {
		o := options(UEFI)
		change(&o)
		if _, err := Plan(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	needGRUB(t, UEFI, "amd64")
	for want, change := range map[string]func(*Options, *GRUB){
		"environment block of 3": func(_ *Options, g *GRUB) { g.Env = []byte("abc") },
		`name "a/b"`:             func(o *Options, _ *GRUB) { o.Files = []File{noise("a/b", 1)} },
	} {
		o, g := options(UEFI), loader()
		change(&o, &g)
		if _, err := Write(context.Background(), filepath.Join(t.TempDir(), "d"), o, g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestAMissingGrubNamesItsPackage(t *testing.T) {
	g := loader()
	g.Modules = t.TempDir()
	for format, fw := range map[string]Firmware{"grub-efi-amd64-bin": UEFI, "grub-pc-bin": BIOS} {
		_, err := Write(context.Background(), filepath.Join(t.TempDir(), "d"), options(fw), g)
		var missing *MissingError
		if !errors.As(err, &missing) || missing.Package != format {
			t.Errorf("%v: got %v, want a MissingError naming %s", fw, err, format)
		}
	}
	needGRUB(t, UEFI, "amd64")
	t.Setenv("PATH", "")
	_, err := Write(context.Background(), filepath.Join(t.TempDir(), "d"), options(UEFI), loader())
	if err == nil || !strings.Contains(err.Error(), "grub-mkimage is missing: apt-get install grub-common") {
		t.Errorf("got %v", err)
	}
}

// An image built by the tool of another release does not start, so it must not come to that.
func TestModulesOfAnotherReleaseAreRefused(t *testing.T) {
	needGRUB(t, UEFI, "amd64")
	g := loader()
	g.Modules = t.TempDir()
	dir := filepath.Join(g.Modules, "x86_64-efi")
	if err := os.CopyFS(dir, os.DirFS("/usr/lib/grub/x86_64-efi")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	l, err := Write(context.Background(), path, options(UEFI), g)
	if err != nil || l.GRUB == "" {
		t.Fatalf("modules of the same release elsewhere: got version %q, %v", l.GRUB, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modinfo.sh"), []byte("a=b\ngrub_version=\"9.99\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Write(context.Background(), path+"2", options(UEFI), g)
	if err == nil || !strings.Contains(err.Error(), "modules of version 9.99, but grub-mkimage is "+l.GRUB) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ext2.mod")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "modinfo.sh")); err != nil {
		t.Fatal(err)
	}
	_, err = Write(context.Background(), path+"3", options(UEFI), g)
	if err == nil || !strings.Contains(err.Error(), "ext2.mod") {
		t.Errorf("without ext2.mod: got %v", err)
	}
}
