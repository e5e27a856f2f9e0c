package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// modules are built into the GRUB core, which loads nothing else: what grub.cfg needs to decide, to save, and to load
// a kernel from the data partition, and gzio for kernels that come compressed.
const modules = "part_gpt fat ext2 normal loadenv test true echo linux gzio search search_label search_fs_uuid " +
	"search_fs_file probe regexp serial terminal configfile boot halt reboot sleep"

// efiModules also lets GRUB hand the firmware's screen on to the kernel, which else stays dark until a driver loads.
const efiModules = modules + " efi_gop"

const biosModules = modules + " biosdisk"

// The prefix is where GRUB looks for grub.cfg. Without a disk in front it is on the disk that GRUB was started from.
const (
	efiPrefix  = "/EFI/BOOT"
	biosPrefix = "(,gpt1)/EFI/BOOT"
)

var (
	efiNames   = map[string]string{"amd64": "BOOTX64.EFI", "arm64": "BOOTAA64.EFI"}
	efiFormats = map[string]string{"amd64": "x86_64-efi", "arm64": "arm64-efi"}
	packages   = map[string]debian{
		"x86_64-efi": {"grub-efi-amd64-bin", "amd64"}, "arm64-efi": {"grub-efi-arm64-bin", "arm64"},
		"i386-pc": {"grub-pc-bin", "amd64"},
	}
)

// debian is a package and the architecture that Debian has it for.
type debian struct{ name, arch string }

// String returns what apt-get install takes; another architecture has to be added to dpkg first.
func (d debian) String() string {
	if d.arch == runtime.GOARCH {
		return d.name
	}
	return d.name + ":" + d.arch + " (after dpkg --add-architecture " + d.arch + " and apt-get update)"
}

const biosFormat = "i386-pc"

// GRUB is the boot loader to install. Config is grub.cfg, Env its environment block of 1024 bytes. Modules is the
// folder that holds GRUB's modules in folders named after platforms, such as x86_64-efi ("" = /usr/lib/grub); they
// may come from the container image.
type GRUB struct {
	Config  []byte
	Env     []byte
	Modules string
}

// MissingError says that a part of GRUB is not on this machine.
type MissingError struct {
	What    string // a path or a program
	Package string // the Debian package that has it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing: apt-get install %s", e.What, e.Package)
}

// Is makes a MissingError fs.ErrNotExist.
func (e *MissingError) Is(target error) bool { return target == fs.ErrNotExist }

// cores is GRUB as the firmware starts it; parts for other firmware are nil.
type cores struct {
	version string // such as 2.06-13+deb12u2
	efi     []byte
	boot    []byte // sector 0 of a BIOS disk
	bios    []byte // what sector 0 loads
}

func (g GRUB) build(ctx context.Context, l Layout) (c cores, err error) {
	tool, err := findTool()
	if err != nil {
		return c, err
	}
	if c.version, err = toolVersion(ctx, tool); err != nil {
		return c, err
	}
	if l.Firmware != BIOS {
		if c.efi, err = g.image(ctx, tool, c.version, efiFormats[l.Arch]); err != nil {
			return c, err
		}
	}
	if l.Firmware != UEFI {
		if c.bios, err = g.image(ctx, tool, c.version, biosFormat); err != nil {
			return c, err
		}
		if c.boot, err = os.ReadFile(filepath.Join(g.dir(biosFormat), "boot.img")); err != nil {
			return c, fmt.Errorf("read GRUB's boot sector: %w", err)
		}
	}
	return c, nil
}

// findTool looks for grub-mkimage under the names that Debian and Fedora give it.
func findTool() (string, error) {
	for _, name := range []string{"grub-mkimage", "grub2-mkimage"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &MissingError{"grub-mkimage", "grub-common"}
}

func toolVersion(ctx context.Context, tool string) (string, error) {
	out, err := exec.CommandContext(ctx, tool, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", filepath.Base(tool), err)
	}
	// grub-mkimage (GRUB) 2.06-13+deb12u2
	words := strings.Fields(string(out))
	if len(words) < 3 {
		return "", fmt.Errorf("%s --version: got %q", filepath.Base(tool), out)
	}
	return words[2], nil
}

// sameVersion compares the modules in dir with the tool's version, which must agree in front of the distribution's
// part: grub-mkimage knows how the modules of its own release are linked, and builds an image that does not start
// from others.
func sameVersion(dir, version string) error {
	b, err := os.ReadFile(filepath.Join(dir, "modinfo.sh"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, after, found := strings.Cut(string(b), "\ngrub_version=")
	modules, _, _ := strings.Cut(after, "\n")
	modules = strings.Trim(modules, "\"'")
	if !found || upstream(modules) == upstream(version) {
		return nil
	}
	return fmt.Errorf("%s has modules of version %s, but grub-mkimage is %s", dir, modules, version)
}

func upstream(version string) string {
	version, _, _ = strings.Cut(version, "-")
	return version
}

func (g GRUB) dir(format string) string {
	if g.Modules == "" {
		return filepath.Join("/usr/lib/grub", format)
	}
	return filepath.Join(g.Modules, format)
}

// image has grub-mkimage build the core. Its output depends on the modules and on its own version.
func (g GRUB) image(ctx context.Context, tool, version, format string) ([]byte, error) {
	dir := g.dir(format)
	if _, err := os.Stat(filepath.Join(dir, "kernel.img")); errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{dir, packages[format].String()}
	} else if err != nil {
		return nil, err
	}
	if err := sameVersion(dir, version); err != nil {
		return nil, err
	}
	prefix, modules := efiPrefix, efiModules
	if format == biosFormat {
		prefix, modules = biosPrefix, biosModules
	}
	args := append([]string{"-d", dir, "-O", format, "-p", prefix}, strings.Fields(modules)...)
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// It syncs its output, which fails on a pipe. A file without a name leaves nothing behind.
	out, err := os.CreateTemp("", "slotboot-grub-*")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := os.Remove(out.Name()); err != nil {
		return nil, err
	}
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("grub-mkimage for %s: %w: %s", format, err, strings.TrimSpace(errs.String()))
	}
	st, err := out.Stat()
	if err != nil {
		return nil, err
	}
	core := make([]byte, st.Size())
	if _, err := out.ReadAt(core, 0); err != nil {
		return nil, fmt.Errorf("read core of %d bytes: %w", len(core), err)
	}
	return core, nil
}

const (
	// In sector 0: where the boot code ends and the partition table's data starts; the sector to load; and a jump
	// over a check that some BIOSes need: made into two no-ops, a drive number that is no hard disk's is corrected.
	bootCodeEnd    = 0x1b8
	bootSector     = 0x5c
	driveCheckJump = 0x66
	// In the first sector of the core: the next sector, and how many there are.
	coreNext  = 0x1f4
	coreCount = 0x1fc
)

// install puts the parts for BIOS in their places.
func (c cores) install(w io.WriterAt, l Layout) error {
	if c.bios == nil {
		return nil
	}
	if len(c.boot) != sector || len(c.bios) < 2*sector {
		return fmt.Errorf("install GRUB: boot.img of %d bytes, core of %d", len(c.boot), len(c.bios))
	}
	if int64(len(c.bios)) > l.BIOSBoot.Size {
		return fmt.Errorf("install GRUB: core of %d bytes, want at most %d", len(c.bios), l.BIOSBoot.Size)
	}
	le := binary.LittleEndian
	first := uint64(l.BIOSBoot.Start / sector)
	boot, core := bytes.Clone(c.boot), bytes.Clone(c.bios)
	le.PutUint64(boot[bootSector:], first)
	copy(boot[driveCheckJump:], []byte{0x90, 0x90})
	le.PutUint64(core[coreNext:], first+1)
	le.PutUint16(core[coreCount:], uint16((len(core)+sector-1)/sector-1))
	if _, err := w.WriteAt(boot[:bootCodeEnd], 0); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	if _, err := w.WriteAt(core, l.BIOSBoot.Start); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	return nil
}
