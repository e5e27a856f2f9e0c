package kernel

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/mkimage/internal/kernel/kerneltest"
)

func TestKernelFilesTellWhatTheyAre(t *testing.T) {
	arm := kerneltest.Arm64("6.6.1-arm", "")
	for _, test := range []struct {
		name                  string
		data                  []byte
		format, arch, release string
		boot                  []byte // nil: data
	}{
		{"bzImage for 64 bits", kerneltest.Amd64("6.1.0-1"), "bzImage", "amd64", "6.1.0-1", nil},
		{"bzImage for 32 bits", kerneltest.BzImage("6.1.0-686", 0, nil), "bzImage", "386", "6.1.0-686", nil},
		{"bzImage with a signature behind it", append(kerneltest.Amd64("6.1.0-1"), "PKCS7"...), "bzImage", "amd64", "6.1.0-1", nil},
		{"arm64 Image", arm, "Image", "arm64", "6.6.1-arm", nil},
		{"gzip", gz(t, arm), "gzip Image", "arm64", "6.6.1-arm", arm},
		{"zboot with gzip", kerneltest.Zboot(gz(t, arm), "gzip"), "zboot Image", "arm64", "6.6.1-arm", arm},
		{"zboot with zstd", kerneltest.Zboot(zst(t, arm), "zstd22"), "zboot Image", "arm64", "6.6.1-arm", arm},
		{"zboot with xz", kerneltest.Zboot(xzed(t, arm), "xzkern"), "zboot Image", "arm64", "6.6.1-arm", arm},
		{"UKI", kerneltest.UKI(kerneltest.Amd64("6.1.0-1")), "UKI bzImage", "amd64", "6.1.0-1", kerneltest.Amd64("6.1.0-1")},
		{"UKI of a zboot", kerneltest.UKI(kerneltest.Zboot(gz(t, arm), "gzip")), "UKI zboot Image", "arm64", "6.6.1-arm", arm},
	} {
		t.Run(test.name, func(t *testing.T) {
			img, err := Inspect(test.data)
			if err != nil {
				t.Fatalf("Inspect() = %v", err)
			}
			if img.Format != test.format || img.Arch != test.arch || img.Release != test.release {
				t.Errorf("Inspect() = %s %s %s, want %s %s %s", img.Format, img.Arch, img.Release, test.format, test.arch, test.release)
			}
			if test.boot == nil {
				test.boot = test.data
			}
			if !bytes.Equal(img.Boot, test.boot) {
				t.Errorf("Inspect().Boot has %d bytes, want the %d bytes that GRUB can load", len(img.Boot), len(test.boot))
			}
		})
	}
}

func TestDamagedKernelFilesAreRefused(t *testing.T) {
	whole := kerneltest.BzImage("6.1.0-1", 1, make([]byte, 4096))
	if _, err := Inspect(whole[:len(whole)-100]); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("Inspect(bzImage without its last 100 bytes) = %v, want that it is cut short", err)
	}
	z := kerneltest.Zboot(gz(t, kerneltest.Arm64("6.1", "")), "gzip")
	if _, err := Inspect(z[:len(z)-20]); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("Inspect(zboot without its last 20 bytes) = %v, want that it is cut short", err)
	}
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "zeros": make([]byte, 4096), "ELF": kerneltest.Module("x=y"), "MZ alone": []byte("MZ"), "gzip of text": gz(t, []byte("hello"))} {
		if _, err := Inspect(data); !errors.Is(err, ErrNotKernel) {
			t.Errorf("Inspect(%s) = %v, want ErrNotKernel", name, err)
		}
	}
}

func FuzzInspectNeverPanics(f *testing.F) {
	arm := kerneltest.Arm64("6.1", "")
	for _, seed := range [][]byte{kerneltest.Amd64("6.1"), arm, kerneltest.Zboot(gz(f, arm), "gzip"), gz(f, arm), []byte("MZ"), kerneltest.Module("depends=a")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if img, err := Inspect(data); err == nil {
			embeddedConfig(img)
		}
		parseModinfo(data)
	})
}

func TestConfigurationIsReadOutOfTheKernel(t *testing.T) {
	ik := "IKCFG_ST" + string(gz(t, []byte("CONFIG_RD_ZSTD=y\nCONFIG_FAT_DEFAULT_CODEPAGE=437\n# CONFIG_RD_LZ4 is not set\n"))) + "IKCFG_ED"
	withPayload := func(p []byte) []byte { return kerneltest.BzImage(rel, 1, p) }
	for name, kernel := range map[string][]byte{
		"arm64 Image":           kerneltest.Arm64(rel, ik),
		"zboot":                 kerneltest.Zboot(gz(t, kerneltest.Arm64(rel, ik)), "gzip"),
		"bzImage packed by gz":  withPayload(gz(t, []byte("vmlinux"+ik))),
		"bzImage packed by zst": withPayload(append(zst(t, []byte("vmlinux"+ik)), 1, 2, 3, 4)),
		"bzImage packed by xz":  withPayload(append(xzed(t, []byte("vmlinux"+ik)), 1, 2, 3, 4)),
	} {
		k, err := Find(files{"usr/lib/modules/" + rel + "/vmlinuz": string(kernel)}.fs(), Options{})
		if err != nil {
			t.Errorf("%s: Find() = %v", name, err)
			continue
		}
		if !k.Config.Yes("RD_ZSTD") || k.Config.On("RD_LZ4") || k.Config["FAT_DEFAULT_CODEPAGE"] != "437" {
			t.Errorf("%s: Config = %v, want RD_ZSTD=y and code page 437", name, k.Config)
		}
	}
	k, err := Find(files{"usr/lib/modules/" + rel + "/vmlinuz": string(kerneltest.Amd64(rel))}.fs(), Options{})
	if err != nil || k.Config != nil {
		t.Errorf("Find(kernel without a configuration).Config = %v, %v, want nil: not known", k.Config, err)
	}
}

func TestReleasesSortAsPeopleCount(t *testing.T) {
	sorted := []string{"5.10.0-8-amd64", "5.10.0-10-amd64", "6.1.0-9", "6.1.0-09a", "6.1.0-9b", "6.10.0", "6.10.0-rc1"}
	for i := range sorted {
		for j := range sorted {
			got, want := compareReleases(sorted[i], sorted[j]), i-j
			if (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("compareReleases(%s, %s) = %d, want the sign of %d", sorted[i], sorted[j], got, want)
			}
		}
	}
}
