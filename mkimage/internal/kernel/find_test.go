package kernel

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slotboot/slotboot/mkimage/internal/kernel/kerneltest"
)

const rel = "6.1.0-9-test"

// Every layout holds one kernel of release rel. The places are those of the packages named.
func TestEachLayoutGivesItsKernel(t *testing.T) {
	k, arm := string(kerneltest.Amd64(rel)), string(kerneltest.Arm64(rel, ""))
	mods := func(dir string) files {
		return files{dir + "/" + rel + "/modules.dep": "", dir + "/" + rel + "/modules.builtin": rootBuiltin}
	}
	usrMerged := files{"lib": "->usr/lib"}
	for _, test := range []struct {
		name string
		root files
		path string
		arch string
	}{
		{"Debian", mods("usr/lib/modules").with(usrMerged).with(files{"boot/vmlinuz-" + rel: k, "vmlinuz": "->boot/vmlinuz-" + rel, "boot/config-" + rel: "CONFIG_RD_ZSTD=y\n"}), "boot/vmlinuz-" + rel, "amd64"},
		{"Debian before usr-merge", mods("lib/modules").with(files{"boot/vmlinuz-" + rel: k}), "boot/vmlinuz-" + rel, "amd64"},
		{"Fedora and bootc", mods("usr/lib/modules").with(usrMerged).with(files{"usr/lib/modules/" + rel + "/vmlinuz": k, "usr/lib/modules/" + rel + "/initramfs.img": "x", "usr/lib/modules/" + rel + "/config": "CONFIG_RD_ZSTD=y\n"}), "usr/lib/modules/" + rel + "/vmlinuz", "amd64"},
		{"Fedora with a rescue kernel", mods("usr/lib/modules").with(files{"boot/vmlinuz-0-rescue-0123": k, "boot/vmlinuz-" + rel: k}), "boot/vmlinuz-" + rel, "amd64"},
		{"Alpine", mods("lib/modules").with(files{"boot/vmlinuz-lts": k, "boot/config-" + rel: "CONFIG_RD_ZSTD=y\n", "usr/share/kernel/lts/kernel.release": rel + "\n"}), "boot/vmlinuz-lts", "amd64"},
		{"Alpine, kernel that does not tell", mods("lib/modules").with(files{"boot/vmlinuz-virt": string(kerneltest.BzImage("", 1, nil)), "usr/share/kernel/virt/kernel.release": rel + "\n"}), "boot/vmlinuz-virt", "amd64"},
		{"Alpine on arm64", mods("lib/modules").with(files{"boot/vmlinuz-lts": string(gz(t, []byte(arm)))}), "boot/vmlinuz-lts", "arm64"},
		{"Arch", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/vmlinuz": k, "usr/lib/modules/" + rel + "/pkgbase": "linux", "boot/vmlinuz-linux": k}), "usr/lib/modules/" + rel + "/vmlinuz", "amd64"},
		{"Void", mods("usr/lib/modules").with(files{"boot/vmlinuz-" + rel: k}), "boot/vmlinuz-" + rel, "amd64"},
		{"openSUSE", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/vmlinuz": k, "boot/vmlinuz-" + rel: "->../usr/lib/modules/" + rel + "/vmlinuz", "boot/vmlinuz": "->vmlinuz-" + rel}), "usr/lib/modules/" + rel + "/vmlinuz", "amd64"},
		{"openSUSE on arm64", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/Image": arm}), "usr/lib/modules/" + rel + "/Image", "arm64"},
		{"Fedora on arm64", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/vmlinuz": string(kerneltest.Zboot(gz(t, []byte(arm)), "gzip"))}), "usr/lib/modules/" + rel + "/vmlinuz", "arm64"},
		{"Fedora's unified kernel image", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/vmlinuz-virt.efi": string(kerneltest.UKI([]byte(k))), "usr/lib/modules/" + rel + "/vmlinuz-virt.efi.extra.d/x.addon.efi": "x"}), "usr/lib/modules/" + rel + "/vmlinuz-virt.efi", "amd64"},
		{"systemd's unified kernel image", mods("usr/lib/modules").with(files{"efi/EFI/Linux/0123-" + rel + ".efi": string(kerneltest.UKI([]byte(k))), "efi/EFI/Linux/other.efi": "MZ"}), "efi/EFI/Linux/0123-" + rel + ".efi", "amd64"},
		{"unified kernel image beside its kernel", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/vmlinuz": k, "boot/EFI/Linux/arch-linux.efi": string(kerneltest.UKI([]byte(k)))}), "usr/lib/modules/" + rel + "/vmlinuz", "amd64"},
		{"unified kernel image on arm64", mods("usr/lib/modules").with(files{"usr/lib/modules/" + rel + "/vmlinuz-virt.efi": string(kerneltest.UKI(kerneltest.Zboot(gz(t, []byte(arm)), "gzip")))}), "usr/lib/modules/" + rel + "/vmlinuz-virt.efi", "arm64"},
		{"Buildroot, nothing modular", files{"boot/bzImage": k}, "boot/bzImage", "amd64"},
		{"folder of an old kernel's leftovers", mods("usr/lib/modules").with(files{"boot/vmlinuz-" + rel: k, "usr/lib/modules/5.10.0/updates/dkms/x.ko": "x"}), "boot/vmlinuz-" + rel, "amd64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Find(test.root.fs(), Options{})
			if err != nil {
				t.Fatalf("Find() = %v", err)
			}
			if got.Release != rel || got.Path != test.path || got.Image.Arch != test.arch {
				t.Errorf("Find() = %s at %s for %s, want %s at %s for %s", got.Release, got.Path, got.Image.Arch, rel, test.path, test.arch)
			}
			if _, hasConfig := test.root["boot/config-"+rel]; hasConfig && !got.Config.Yes("RD_ZSTD") {
				t.Errorf("Find().Config = %v, want RD_ZSTD", got.Config)
			}
		})
	}
}

func TestNoKernelSaysWhereItWasLookedFor(t *testing.T) {
	_, err := Find(files{"etc/os-release": "ID=x"}.fs(), Options{})
	var none *NotFoundError
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "usr/lib/modules") || !strings.Contains(err.Error(), "boot/") || !strings.Contains(none.Hint(), "--kernel-file") {
		t.Errorf("Find(root without kernel) = %v, want a *NotFoundError that names usr/lib/modules and boot/, with a hint", err)
	}
	_, err = Find(files{"usr/lib/modules/5.0/modules.dep": "", "boot/vmlinuz-old": string(kerneltest.Amd64("4.0"))}.fs(), Options{})
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "modules without their kernel: usr/lib/modules/5.0") || !strings.Contains(err.Error(), "boot/vmlinuz-old is 4.0") {
		t.Errorf("Find(modules 5.0, kernel 4.0) = %v, want both named", err)
	}
	_, err = Find(files{"usr/lib/modules/5.0/modules.dep": "", "boot/vmlinuz": "<html>"}.fs(), Options{})
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "boot/vmlinuz: not a kernel image") {
		t.Errorf("Find(kernel that is a web page) = %v, want it named", err)
	}
}

func TestSeveralKernelsAreListedAndOneCanBeChosen(t *testing.T) {
	root := files{}
	for _, r := range []string{"6.10.0", "6.9.0"} {
		root["usr/lib/modules/"+r+"/modules.builtin"] = rootBuiltin
		root["boot/vmlinuz-"+r] = string(kerneltest.Amd64(r))
	}
	_, err := Find(root.fs(), Options{})
	var several *SeveralError
	if !errors.As(err, &several) || strings.Join(several.Releases, " ") != "6.9.0 6.10.0" || !strings.Contains(several.Hint(), "--kernel 6.10.0") {
		t.Errorf("Find(two kernels) = %v, want both in order, the newer in the hint", err)
	}
	if k, err := Find(root.fs(), Options{Release: "6.9.0"}); err != nil || k.Path != "boot/vmlinuz-6.9.0" {
		t.Errorf("Find(6.9.0) = %v, %v, want boot/vmlinuz-6.9.0", k, err)
	}
	var none *NotFoundError
	if _, err := Find(root.fs(), Options{Release: "6.8.0"}); !errors.As(err, &none) || !strings.Contains(err.Error(), "6.9.0, 6.10.0") {
		t.Errorf("Find(6.8.0) = %v, want a *NotFoundError that lists what there is", err)
	}
}

func TestKernelOfAnotherArchitectureIsRefused(t *testing.T) {
	root := files{"usr/lib/modules/" + rel + "/modules.builtin": rootBuiltin, "boot/vmlinuz-" + rel: string(kerneltest.Arm64(rel, ""))}
	var arch *ArchError
	if _, err := Find(root.fs(), Options{Arch: "amd64"}); !errors.As(err, &arch) || arch.Got != "arm64" {
		t.Errorf("Find(amd64) = %v, want an *ArchError: got arm64", err)
	}
	if _, err := Find(root.fs(), Options{Arch: "arm64"}); err != nil {
		t.Errorf("Find(arm64) = %v, want it found", err)
	}
}

func TestKernelThatIsNotItsModulesReleaseIsRefused(t *testing.T) {
	root := files{"usr/lib/modules/" + rel + "/vmlinuz": string(kerneltest.Amd64("5.5.5"))}
	if _, err := Find(root.fs(), Options{}); err == nil || !strings.Contains(err.Error(), "5.5.5") {
		t.Errorf("Find() = %v, want an error that names 5.5.5", err)
	}
}

func TestKernelFromOutsideTheImage(t *testing.T) {
	mods := files{"modules.builtin": rootBuiltin, "modules.dep": "", "config": "CONFIG_RD_LZ4=y\n"}.fs()
	k, err := Outside("bzImage", kerneltest.Amd64(rel), mods, Options{Arch: "amd64"})
	if err != nil || k.Release != rel || !k.Modules.Builtin("ext4") || !k.Config.Yes("RD_LZ4") {
		t.Errorf("Outside() = %+v, %v, want release %s with ext4 built in and its configuration", k, err, rel)
	}
	if _, err := Outside("bzImage", kerneltest.Amd64(rel), mods, Options{Arch: "arm64"}); err == nil {
		t.Error("Outside(arm64) of an amd64 kernel = nil, want an error")
	}
	if _, err := Outside("bzImage", kerneltest.Amd64(rel), mods, Options{Release: "1.2.3"}); err == nil {
		t.Errorf("Outside(1.2.3) of %s = nil, want an error", rel)
	}
	if _, err := Outside("x", []byte("<html>"), nil, Options{}); !errors.Is(err, ErrNotKernel) {
		t.Errorf("Outside(web page) = %v, want ErrNotKernel", err)
	}
}

// Debian's real kernel, laid out as five distributions lay theirs out.
func TestDebiansKernelIsFoundInEveryLayout(t *testing.T) {
	dir, release := debianKernel(t)
	kernel, moddir := "boot/vmlinuz-"+release, "lib/modules/"+release
	for name, layout := range map[string]map[string]string{
		"Debian":   {kernel: kernel, "usr/" + moddir: moddir, "boot/config-" + release: "boot/config-" + release},
		"Fedora":   {"usr/" + moddir + "/vmlinuz": kernel, "usr/" + moddir: moddir},
		"Alpine":   {"boot/vmlinuz-lts": kernel, moddir: moddir},
		"Arch":     {"usr/" + moddir + "/vmlinuz": kernel, "boot/vmlinuz-linux": kernel, "usr/" + moddir: moddir},
		"openSUSE": {"usr/" + moddir + "/vmlinuz": kernel, kernel: kernel, "usr/" + moddir: moddir},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := Find(relaid{os.DirFS(dir), layout}, Options{Arch: "amd64"})
			if err != nil {
				t.Fatalf("Find() = %v", err)
			}
			if k.Release != release || k.Image.Release != release || k.Image.Format != "bzImage" || !k.Modules.Has("squashfs") || !k.Modules.Builtin("ext4") {
				t.Errorf("Find() = %s, a %s of %s, want %s with squashfs as a module and ext4 built in", k.Release, k.Image.Format, k.Image.Release, release)
			}
		})
	}
}

// relaid shows files and folders of real under other names.
type relaid struct {
	real  fs.FS
	names map[string]string
}

func (r relaid) Open(name string) (fs.File, error) {
	if from, ok := r.names[name]; ok {
		return r.real.Open(from)
	}
	parents := fstest.MapFS{}
	for at, from := range r.names {
		if rest, ok := strings.CutPrefix(name, at+"/"); ok {
			return r.real.Open(from + "/" + rest)
		}
		parents[at] = &fstest.MapFile{Mode: 0o644}
		if fi, err := fs.Stat(r.real, from); err == nil && fi.IsDir() {
			parents[at].Mode = fs.ModeDir | 0o755
		}
	}
	return parents.Open(name)
}
