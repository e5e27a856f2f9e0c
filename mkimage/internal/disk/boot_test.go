package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/mkimage/internal/fat"
	"github.com/slotboot/slotboot/mkimage/internal/vmrun"
)

// bootCfg does what slotboot's grub.cfg does, with what it is made of, and says how it went. It reboots, which ends
// QEMU. The file slot.cfg lies on the data partition, and vmlinuz is no kernel: that must not stop the script.
const bootCfg = `
if [ "$grub_platform" = pc ]; then
  serial --unit=0 --speed=115200
  terminal_output serial
fi
echo "START platform=$grub_platform root=$root prefix=$prefix"
load_env --skip-sig --file "$prefix/grubenv" BOOT_COUNT
echo "LOADED count=$BOOT_COUNT"
if [ "$BOOT_COUNT" = 1 ]; then set BOOT_COUNT=2; else set BOOT_COUNT=1; fi
if save_env --file "$prefix/grubenv" BOOT_COUNT; then echo SAVED; else echo NOT-SAVED; fi
search --no-floppy --set=data --fs-uuid %s
search --no-floppy --set=bylabel --label slotboot
echo "DATA $data $bylabel"
source "($data)/slots/A/slot.cfg"
echo "SOURCED args=$slotboot_args"
if linux "($data)/slots/A/vmlinuz"; then echo KERNEL; else echo NO-KERNEL; fi
if [ -d "($data)/slots/B" -a -d "($data)/state" ]; then echo FOLDERS; fi
if regexp '^h.*o$' hello; then echo REGEXP; fi
echo END
reboot
`

func TestGrubStartsFromUEFIReadsAndSaves(t *testing.T) {
	testBoot(t, UEFI, "amd64", "uefi", "platform=efi root=hd0,gpt1 prefix=(hd0,gpt1)/EFI/BOOT", "hd0,gpt2")
}

func TestGrubStartsFromBIOSReadsAndSaves(t *testing.T) {
	testBoot(t, BIOS, "amd64", "bios", "platform=pc root=hd0,gpt1 prefix=(hd0,gpt1)/EFI/BOOT", "hd0,gpt3")
}

func TestOneDiskStartsFromUEFIAndFromBIOS(t *testing.T) {
	testBoot(t, Both, "amd64", "uefi", "platform=efi root=hd0,gpt1 prefix=(hd0,gpt1)/EFI/BOOT", "hd0,gpt3")
	testBoot(t, Both, "amd64", "bios", "platform=pc root=hd0,gpt1 prefix=(hd0,gpt1)/EFI/BOOT", "hd0,gpt3")
}

func TestGrubStartsFromUEFIOnArm64(t *testing.T) {
	if grubModules("arm64") == "" {
		t.Skip("no GRUB for arm64: dpkg --add-architecture arm64; apt-get update; apt-get install grub-efi-arm64-bin:arm64")
	}
	testBoot(t, UEFI, "arm64", "uefi", "platform=efi root=hd0,gpt1 prefix=(hd0,gpt1)/EFI/BOOT", "hd0,gpt2")
}

// grubModules returns the folder with GRUB's modules for UEFI, "" if there is none. Those for another architecture
// are no package of this one, so they may also lie in the cache of large test inputs.
func grubModules(arch string) string {
	cache := os.Getenv("SLOTBOOT_CACHE")
	if home, err := os.UserHomeDir(); cache == "" && err == nil {
		cache = filepath.Join(home, ".cache/slotboot")
	}
	for _, dir := range []string{"/usr/lib/grub", filepath.Join(cache, "grub-"+arch, "usr/lib/grub")} {
		if _, err := os.Stat(filepath.Join(dir, efiFormats[arch], "kernel.img")); err == nil {
			return dir
		}
	}
	return ""
}

// testBoot boots a disk twice: the second time GRUB must find what it saved the first time.
func testBoot(t *testing.T, fw Firmware, arch, start, first, data string) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots QEMU")
	}
	needGRUB(t, fw, arch)
	needQEMU(t, arch, start)
	o := options(fw)
	o.Arch = arch
	o.Files = append(o.Files, text("slot.cfg", "set slotboot_args=\"console=ttyS0 quiet\"\n"))
	plan, err := Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	g := GRUB{Config: fmt.Appendf(nil, bootCfg, plan.Data.FSUUID), Env: environment("BOOT_COUNT=7\n"), Modules: grubModules(arch)}
	path := filepath.Join(t.TempDir(), "disk")
	if _, err := Write(context.Background(), path, o, g); err != nil {
		t.Fatal(err)
	}
	for i, count := range []string{"7", "1"} {
		out := boot(t, vmrun.Options{Disk: path, Arch: arch, Firmware: start, Memory: 256, NoReboot: true})
		for _, want := range []string{
			"START " + first, "LOADED count=" + count, "SAVED", "DATA " + data + " " + data,
			"SOURCED args=console=ttyS0 quiet", "NO-KERNEL", "FOLDERS", "REGEXP",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%v from %s, boot %d: want %q in\n%s", fw, start, i+1, want, out)
			}
		}
	}
	if env := bootFile(t, path, plan, "EFI/BOOT/grubenv"); !bytes.Contains(env, []byte("\nBOOT_COUNT=2\n")) || len(env) != 1024 {
		t.Errorf("environment block after two boots: %d bytes, %q", len(env), env)
	}
}

// boot returns what the machine wrote up to the line END. A loaded machine is slow: the limits are far above the
// 5 to 15 seconds that it takes.
func boot(t *testing.T, o vmrun.Options) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd, err := vmrun.Command(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintln(&all, strings.TrimRight(lines.Text(), "\r"))
		if strings.Contains(lines.Text(), "END") {
			break
		}
	}
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil || ctx.Err() != nil {
		t.Fatalf("QEMU: %v, %v\n%s\n%s", err, ctx.Err(), errs.String(), all.String())
	}
	return all.String()
}

// bootFile reads a file of the boot partition of the disk at path.
func bootFile(t *testing.T, path string, l Layout, name string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, _, err := fat.ReadFile(io.NewSectionReader(f, l.Boot.Start, l.Boot.Size), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func needGRUB(t *testing.T, fw Firmware, arch string) {
	t.Helper()
	need.Tool(t, "grub-mkimage", "grub-common")
	if fw != BIOS {
		format := efiFormats[arch]
		if grubModules(arch) == "" {
			need.File(t, "/usr/lib/grub/"+format+"/kernel.img", packages[format].name)
		}
	}
	if fw != UEFI {
		need.File(t, "/usr/lib/grub/i386-pc/kernel.img", "grub-pc-bin")
	}
}

func needQEMU(t *testing.T, arch, firmware string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte("QFI\xfb"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := vmrun.Command(context.Background(), vmrun.Options{Disk: path, Arch: arch, Firmware: firmware})
	if missing := new(vmrun.MissingError); errors.As(err, &missing) {
		need.Absent(t, "%v", missing)
	} else if err != nil {
		t.Fatal(err)
	}
}
