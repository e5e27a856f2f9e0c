package grub

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/qemu-tests/vm"
	"github.com/slotboot/slotboot/slots"
)

// printKernel is a Linux kernel as far as GRUB can tell. It prints its command line and the first line of its initrd
// on the serial port, and restarts the machine. In the source of the GNU assembler, entered in 32-bit protected mode
// with the boot parameters at %esi:
//
//	movw $0x3f8,%dx; movl 0x228(%esi),%ebx
//	1: movb (%ebx),%al; testb %al,%al; jz 2f; outb %al,%dx; incl %ebx; jmp 1b     # the command line
//	2: movb $' ',%al; outb %al,%dx; movl 0x218(%esi),%ebx
//	3: movb (%ebx),%al; outb %al,%dx; incl %ebx; cmpb $'\n',%al; jne 3b           # the initrd
//	movb $0xfe,%al; outb %al,$0x64                                                # the reset line
//	4: hlt; jmp 4b
func printKernel() string {
	const code = "\x66\xba\xf8\x03\x8b\x9e\x28\x02\x00\x00" +
		"\x8a\x03\x84\xc0\x74\x04\xee\x43\xeb\xf6" +
		"\xb0\x20\xee\x8b\x9e\x18\x02\x00\x00" +
		"\x8a\x03\xee\x43\x3c\x0a\x75\xf8" +
		"\xb0\xfe\xe6\x64" +
		"\xf4\xeb\xfd"
	le := binary.LittleEndian
	image := make([]byte, 2048)
	image[0x1f1] = 1                        // sectors of the real-mode part behind the first
	le.PutUint32(image[0x1f4:], 1024/16)    // size of the rest
	le.PutUint16(image[0x1fe:], 0xaa55)     // boot flag
	copy(image[0x202:], "HdrS")             // the boot protocol,
	le.PutUint16(image[0x206:], 0x20a)      // version 2.10
	image[0x211] = 1                        // loaded high
	le.PutUint32(image[0x214:], 0x100000)   // where to
	le.PutUint32(image[0x22c:], 0x37ffffff) // highest address of the initrd
	le.PutUint32(image[0x230:], 0x100000)   // alignment
	le.PutUint32(image[0x238:], 2047)       // longest command line
	le.PutUint64(image[0x258:], 0x100000)   // preferred address
	le.PutUint32(image[0x260:], 1<<16)      // memory it needs
	copy(image[1024:], code)
	return string(image)
}

const (
	dataUUID  = "0b1f7c36-9a52-4e0b-8e4b-0b7d7a1c9f10"
	espOffset = 1 << 20
	datOffset = 17 << 20
	folder    = "\x00folder" // as the content of a file: it is a folder
)

// goodData is a data partition with two slots, as path -> content.
func goodData() map[string]string {
	return map[string]string{
		"slots/A/vmlinuz": printKernel(), "slots/A/initrd": "initrd-of-A\n", "slots/A/slot.cfg": "set slotboot_args=\"console=ttyS0 quiet\"\n",
		"slots/B/vmlinuz": printKernel(), "slots/B/initrd": "initrd-of-B\n",
	}
}

// bootDisk makes a disk: boot partition 1 with grub.cfg and the block env (nil: none), data partition 3 with the files
// of data (nil: not formatted).
func bootDisk(t *testing.T, env []byte, data map[string]string) string {
	t.Helper()
	notShort(t)
	dir := t.TempDir()
	disk, tree := filepath.Join(dir, "disk.img"), filepath.Join(dir, "tree")
	write(t, disk, nil)
	if err := os.Truncate(disk, 40<<20); err != nil {
		t.Fatal(err)
	}
	command(t, "sgdisk", "gdisk", "-n", "1:1M:+12M", "-t", "1:ef00", "-n", "3:17M:+16M", disk)
	command(t, "mkfs.vfat", "dosfstools", "-F", "16", "-s", "1", "--offset", fmt.Sprint(espOffset/512), disk, fmt.Sprint(12<<10))
	esp := fmt.Sprintf("%s@@%d", disk, espOffset)
	command(t, "mmd", "mtools", "-i", esp, "::EFI", "::EFI/BOOT")
	for name, content := range map[string][]byte{"grub.cfg": []byte(config(t, usual())), "grubenv": env} {
		if content != nil {
			write(t, filepath.Join(dir, name), content)
			command(t, "mcopy", "mtools", "-i", esp, filepath.Join(dir, name), "::EFI/BOOT/"+name)
		}
	}
	if data == nil {
		return disk
	}
	for name, content := range data {
		path := filepath.Join(tree, name)
		if content == folder {
			path, content = filepath.Join(path, "file"), ""
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte(content))
	}
	command(t, "mke2fs", "e2fsprogs", "-q", "-t", "ext4", "-L", "slotboot", "-U", dataUUID, "-d", tree,
		"-E", fmt.Sprintf("offset=%d", datOffset), disk, "16384k")
	return disk
}

func command(t *testing.T, name, pkg string, args ...string) {
	t.Helper()
	if out, err := exec.Command(need.Tool(t, name, pkg), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// start boots GRUB, with the prefix that it finds by itself on the first of disks.
func start(t *testing.T, disks ...string) *vm.Machine {
	t.Helper()
	return startFrom(t, "", disks...)
}

// startFrom boots a GRUB that begins with the commands in early.
func startFrom(t *testing.T, early string, disks ...string) *vm.Machine {
	t.Helper()
	c := vm.Config{Firmware: vm.Kernel, Kernel: grubKernel(t, early), MemoryMB: 128, Limit: 2 * time.Minute}
	for _, disk := range disks {
		c.Disks = append(c.Disks, vm.Disk{Path: disk})
	}
	return vm.Start(t, c)
}

// booted waits for the next kernel and returns what it printed.
func booted(m *vm.Machine) string { return m.WaitLine(`BOOT_IMAGE=.*$`)[0] }

// words returns the words of ours on a command line, and the name of the initrd.
func words(line string) string {
	var ours []string
	for _, word := range strings.Fields(line) {
		switch name, value, _ := strings.Cut(strings.TrimPrefix(word, "slotboot."), "="); name {
		case "slot", "why", "fellback":
			ours = append(ours, name+value)
		case "count", "saved":
			ours = append(ours, name+"="+value)
		}
	}
	return strings.Join(ours, " ") + " " + line[strings.LastIndex(line, " ")+1:]
}

func say(s slots.State) []byte { return block(s, '#') }

// stateOn returns what the block of a disk says.
func stateOn(t *testing.T, disk string) slots.State {
	t.Helper()
	b, err := grubenv.Parse(vm.ReadEnv(t, disk))
	if err != nil {
		t.Fatal(err)
	}
	return slots.FromEnv(b.Get, slots.DefaultLimit)
}

func TestTheWholeCommandLineIsHandedOver(t *testing.T) {
	t.Parallel()
	m := start(t, bootDisk(t, say(slots.State{Default: slots.A, Count: 1, Limit: 5}), goodData()))
	want := "BOOT_IMAGE=(hd0,gpt3)/slots/A/vmlinuz slotboot.slot=A slotboot.count=2 slotboot.limit=5 slotboot.why=trial" +
		" slotboot.saved=y slotboot.data=" + usual().Data + " slotboot.env=" + usual().Env + " panic=10 console=ttyS0 quiet initrd-of-A"
	if got := booted(m); got != want {
		t.Errorf("the kernel got\n%s\nwant\n%s", got, want)
	}
}

func TestATrialThatAlwaysDiesGetsItsBootsAndFallsBackForEver(t *testing.T) {
	t.Parallel()
	disk := bootDisk(t, say(slots.State{Default: slots.B, Limit: 3}), goodData())
	m := start(t, disk)
	for i, want := range []string{
		"slotB count=1 whytrial saved=y initrd-of-B",
		"slotB count=2 whytrial saved=y initrd-of-B",
		"slotB count=3 whytrial saved=y initrd-of-B",
		"slotA count=0 whyfallback saved=y fellback initrd-of-A",
		"slotA count=0 whycommitted saved=y initrd-of-A",
		"slotA count=0 whycommitted saved=y initrd-of-A",
	} {
		if got := words(booted(m)); got != want {
			t.Fatalf("boot %d: %s, want %s", i+1, got, want)
		}
	}
	m.PowerCut()
	want := slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 3}
	if got := stateOn(t, disk); got != want {
		t.Errorf("the block says %+v, want %+v", got, want)
	}
}

func TestASlotThatCannotBeLoadedHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	committed := slots.State{Default: slots.A, Verified: true, Limit: 3}
	fell := slots.State{Default: slots.B, Verified: true, FellBack: true, Bad: slots.A, Limit: 3}
	const toB = "slotB count=0 whyfallback saved=y fellback initrd-of-B"
	for name, c := range map[string]struct {
		change map[string]string // path -> content, "" for absent
		before slots.State
		boot   string
		after  slots.State
	}{
		"kernel missing":         {map[string]string{"slots/A/vmlinuz": ""}, committed, toB, fell},
		"kernel empty":           {map[string]string{"slots/A/vmlinuz": "\n"}, committed, toB, fell},
		"kernel cut short":       {map[string]string{"slots/A/vmlinuz": printKernel()[:600]}, committed, toB, fell},
		"kernel is rubbish":      {map[string]string{"slots/A/vmlinuz": strings.Repeat("rubbish ", 9999)}, committed, toB, fell},
		"kernel is a folder":     {map[string]string{"slots/A/vmlinuz": folder}, committed, toB, fell},
		"initrd missing":         {map[string]string{"slots/A/initrd": ""}, committed, toB, fell},
		"initrd is a folder":     {map[string]string{"slots/A/initrd": folder}, committed, toB, fell},
		"slot missing":           {map[string]string{"slots/A/vmlinuz": "", "slots/A/initrd": "", "slots/A/slot.cfg": ""}, committed, toB, fell},
		"on trial, kernel wrong": {map[string]string{"slots/A/vmlinuz": "x"}, slots.State{Default: slots.A, Limit: 3}, toB, fell},
		"once, kernel missing": {map[string]string{"slots/B/vmlinuz": ""},
			slots.State{Default: slots.A, Verified: true, Once: slots.B, Limit: 3}, "slotA count=0 whycommitted saved=y initrd-of-A",
			slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}},
		"fallen back to, kernel missing": {map[string]string{"slots/B/initrd": ""},
			slots.State{Default: slots.A, Count: 3, Limit: 3}, "slotA count=0 whylast-resort saved=y initrd-of-A", fell},
		"the other is bad": {map[string]string{"slots/A/initrd": ""},
			slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}, "slotB count=0 whylast-resort saved=y initrd-of-B",
			slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := goodData()
			maps.Copy(data, c.change)
			maps.DeleteFunc(data, func(_, content string) bool { return content == "" })
			disk := bootDisk(t, say(c.before), data)
			m := start(t, disk)
			if got := words(booted(m)); got != c.boot {
				t.Errorf("booted %s, want %s", got, c.boot)
			}
			m.PowerCut()
			if got := stateOn(t, disk); got != c.after {
				t.Errorf("the block says %+v, want %+v", got, c.after)
			}
		})
	}
}

// cut makes a file of the data partition unreadable: its only extent begins far behind the end of the disk.
func cut(t *testing.T, disk, file string) {
	t.Helper()
	command(t, "debugfs", "e2fsprogs", "-w", "-R", "set_inode_field "+file+" block[5] 99999999", fmt.Sprintf("%s?offset=%d", disk, datOffset))
}

func TestAnInitrdThatCannotBeReadRestartsIntoTheOtherSlot(t *testing.T) {
	t.Parallel()
	committed := slots.State{Default: slots.A, Verified: true, Limit: 3}
	badB := slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}
	for name, c := range map[string]struct {
		before slots.State
		boot   string
		after  slots.State
	}{
		"the other is good": {committed, "slotB count=0 whycommitted saved=y initrd-of-B",
			slots.State{Default: slots.B, Verified: true, FellBack: true, Bad: slots.A, Limit: 3}},
		"the other is bad": {badB, "slotB count=0 whyonce saved=y initrd-of-B", badB},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := bootDisk(t, say(c.before), goodData())
			cut(t, disk, "slots/A/initrd")
			m := start(t, disk)
			m.WaitLine(`slotboot: slot A cannot be loaded`)
			m.WaitLine(`slotboot: nothing could be loaded`)
			if got := words(booted(m)); got != c.boot {
				t.Errorf("booted %s, want %s", got, c.boot)
			}
			m.PowerCut()
			if got := stateOn(t, disk); got != c.after {
				t.Errorf("the block says %+v, want %+v", got, c.after)
			}
		})
	}
}

func TestAKernelThatCannotBeReadTriesTheBadSlotAtOnce(t *testing.T) {
	t.Parallel()
	bad := slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}
	disk := bootDisk(t, say(bad), goodData())
	cut(t, disk, "slots/A/vmlinuz")
	m := start(t, disk)
	const want = "slotB count=0 whylast-resort saved=y initrd-of-B"
	if got := words(booted(m)); got != want {
		t.Errorf("booted %s, want %s", got, want)
	}
	m.PowerCut()
	if got := stateOn(t, disk); got != bad {
		t.Errorf("the block says %+v, want %+v", got, bad)
	}
}

func TestNothingToLoadRestartsWithoutAKey(t *testing.T) {
	t.Parallel()
	trial := slots.State{Default: slots.A, Limit: 3}
	for name, data := range map[string]map[string]string{
		"no data partition": nil,
		"no kernels":        {"slots/readme": "no slots here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := bootDisk(t, say(trial), data)
			m := start(t, disk)
			for range 2 {
				m.WaitLine(`slotboot: nothing could be loaded, restarting in 10 seconds`)
				begun := time.Now()
				m.WaitLine(`vm: QMP event: RESET`)
				if waited := time.Since(begun); waited < 5*time.Second {
					t.Errorf("restarted after %v, want about 10 s", waited)
				}
			}
			m.PowerCut()
			if got := stateOn(t, disk); data == nil && got != trial {
				t.Errorf("no slot's fault, but the block says %+v, want %+v", got, trial)
			}
		})
	}
}

func TestABlockThatCannotBeReadBootsSlotA(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]byte{
		"missing": nil, "empty": {}, "zeroed": make([]byte, envSize), "cut short": []byte("# GRUB Env"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const want = "slotA count=0 whycommitted saved=n initrd-of-A"
			if got := words(booted(start(t, bootDisk(t, env, goodData())))); got != want {
				t.Errorf("booted %s, want %s", got, want)
			}
		})
	}
}

func TestAVariableThatStandsTwiceIsNoSave(t *testing.T) {
	t.Parallel()
	// GRUB reads the last and changes the first. The slot asked for once would boot for ever.
	env := pad([]byte("# GRUB Environment Block\nBOOT_ONCE=B\nBOOT_ONCE=B\n"), envSize, '#')
	const want = "slotA count=0 whycommitted saved=n initrd-of-A"
	if got := words(booted(start(t, bootDisk(t, env, goodData())))); got != want {
		t.Errorf("booted %s, want %s", got, want)
	}
}

func TestSlotCfgGivesArgumentsAndNothingElse(t *testing.T) {
	t.Parallel()
	// B on trial and unloadable: after its slot.cfg ran, the rules still fall back to A with the right state.
	const fallback = "slotA count=0 whyfallback saved=y fellback initrd-of-A"
	for name, cfg := range map[string]string{
		"sets the state": "set BOOT_VERSION=B\nset BOOT_VERIFIED=true\nset BOOT_COUNT=0\nset BOOT_BAD=A\nset BOOT_ONCE=B\nset BOOT_FELL_BACK=no\n",
		"sets our own":   "set slotboot_slot=A\nset slotboot_why=committed\nset slotboot_saved=n\nset slotboot_flag=x\nset slotboot_data=hd9\nset slotboot_dir=(hd9)\nset slotboot_env=(hd9)/x\nset slotboot_handover=x\nset slotboot_default_args=x\nset slotboot_spent=y\nset slotboot_limit=9\nset BOOT_LIMIT=9\nset slotboot_other=B\nset slotboot_failed=A\n",
		"moves GRUB":     "set root=hd9\nset prefix=(hd9)/x\nset timeout=-1\nset default=1\n",
		"does not parse": "set slotboot_args=\"never closed\nif [ a = b; then\nfi fi }\n",
		"is binary":      strings.Repeat("\x00\xff\x01\"${`\n", 500),
		"has a menu":     "menuentry one { echo one }\nmenuentry two { echo two }\nset timeout=-1\n",
		"is a folder":    folder,
		"fails":          "no_such_command\nlinux /nothing\nsource /nothing\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := goodData()
			data["slots/B/slot.cfg"] = cfg
			delete(data, "slots/B/vmlinuz")
			disk := bootDisk(t, say(slots.State{Default: slots.B, Count: 1, Limit: 3}), data)
			m := start(t, disk)
			line := booted(m)
			if got := words(line); got != fallback || !strings.HasSuffix(line, " panic=10 console=ttyS0 quiet initrd-of-A") {
				t.Errorf("booted %s, want %s and the arguments of A", line, fallback)
			}
			m.PowerCut()
			want := slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 3}
			if got := stateOn(t, disk); got != want {
				t.Errorf("the block says %+v, want %+v", got, want)
			}
		})
	}
}

// TestTheDecisionStaysWhateverSlotCfgSets has a slot.cfg that contradicts it in each variable of the script.
func TestTheDecisionStaysWhateverSlotCfgSets(t *testing.T) {
	t.Parallel()
	data := goodData()
	data["slots/B/slot.cfg"] = ""
	for _, name := range []string{"slot", "why", "saved", "flag", "data", "dir", "env", "limit", "boots", "handover", "default_args", "spent", "count", "other", "failed", "n", "disk"} {
		data["slots/B/slot.cfg"] += "set slotboot_" + name + "=A\n"
	}
	data["slots/B/slot.cfg"] += "set BOOT_LIMIT=9\nset prefix=(hd9)\nset root=hd9\nset slotboot_args=\"of slot B\"\n"
	m := start(t, bootDisk(t, say(slots.State{Default: slots.B, Count: 1, Limit: 5}), data))
	want := "BOOT_IMAGE=(hd0,gpt3)/slots/B/vmlinuz slotboot.slot=B slotboot.count=2 slotboot.limit=5 slotboot.why=trial" +
		" slotboot.saved=y slotboot.data=" + usual().Data + " slotboot.env=" + usual().Env + " panic=10 of slot B initrd-of-B"
	if got := booted(m); got != want {
		t.Errorf("the kernel got\n%s\nwant\n%s", got, want)
	}
}

func TestTheDataPartitionOfTheBootDiskWins(t *testing.T) {
	t.Parallel()
	state := say(slots.Fresh())
	other := goodData()
	other["slots/A/initrd"] = "initrd-of-another-disk\n"
	boot, clone := bootDisk(t, state, goodData()), bootDisk(t, state, other)
	// The clone comes first, where a search would find it first.
	m := startFrom(t, "set root=hd1,gpt1\nset prefix=(hd1,gpt1)/EFI/BOOT\nnormal (hd1,gpt1)/EFI/BOOT/grub.cfg\n", clone, boot)
	if got := booted(m); !strings.HasSuffix(got, "initrd-of-A") {
		t.Errorf("with a clone beside the boot disk: %s", got)
	}
	m.PowerCut()
	boot = bootDisk(t, state, nil)
	if got := booted(start(t, boot, clone)); !strings.HasSuffix(got, "initrd-of-another-disk") {
		t.Errorf("with the data on another disk: %s", got)
	}
}
