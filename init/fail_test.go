package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/sys/systest"
	"github.com/slotboot/slotboot/slots"
)

// breakages are the ways in which slot B can be unusable, each with a piece of the cause that the console names.
var breakages = []struct {
	name, cause string
	do          func(*rig)
}{
	{"no data partition", "find data partition PARTUUID=" + dataGUID, func(r *rig) {
		r.AddDisk("vda", systest.Partition{PartUUID: espGUID, ESP: true, Type: "vfat", UUID: "abcd1234", Content: r.esp})
		r.RemoveDisk("vda2")
	}},
	{"data partition is no file system", "mount data partition /dev/vda2: unknown format", func(r *rig) {
		r.AddDisk("vda", systest.Partition{PartUUID: espGUID, ESP: true, Type: "vfat", UUID: "abcd1234", Content: r.esp},
			systest.Partition{PartUUID: dataGUID})
	}},
	{"data partition cannot be read", "input/output error", func(r *rig) { r.Fail = failing("mount ext4", syscall.EIO) }},
	{"slot is empty", "no such file", func(r *rig) { os.RemoveAll(r.slot("B")) }},
	{"no squashfs", "rootfs.squashfs: no such file", func(r *rig) { os.Remove(r.slot("B") + "/rootfs.squashfs") }},
	{"squashfs cut short", "bytes, its manifest says", func(r *rig) { r.put(r.slot("B")+"/rootfs.squashfs", "x") }},
	{"no squashfs in the file", "invalid argument", func(r *rig) {
		os.Remove(r.slot("B") + "/manifest.json")
		r.put(r.slot("B")+"/rootfs.squashfs", "/nowhere\n")
	}},
	{"manifest cut short", "not valid JSON", func(r *rig) { r.put(r.slot("B")+"/manifest.json", `{"format":1,`) }},
	{"no loop device", "no such device", func(r *rig) { r.Fail = failing("loop", syscall.ENODEV) }},
	{"squashfs cannot be read", "input/output error", func(r *rig) { r.Fail = failing("mount squashfs", syscall.EIO) }},
	{"no memory for the overlay", "cannot allocate memory", func(r *rig) { r.Fail = failing("mount tmpfs tmpfs on /run/slotboot/overlay", syscall.ENOMEM) }},
	{"no overlay in the kernel", "no such device", func(r *rig) { r.Fail = failing("mount overlay", syscall.ENODEV) }},
	{"no init in the image", "find init: slot B has none of", func(r *rig) {
		root, _, _ := strings.Cut(mustRead(r.t, r.slot("B")+"/rootfs.squashfs"), "\n")
		os.Remove(root + "/sbin/init")
	}},
	{"moving fails", "invalid argument", func(r *rig) { r.Fail = failing("move /sys to /sysroot", syscall.EINVAL) }},
	{"init does not execute", "exec format error", func(r *rig) { r.Fail = failing("exec", syscall.ENOEXEC) }},
}

func TestWhateverBreaksSlotBTheDeviceFallsBackToSlotAAtOnce(t *testing.T) {
	for _, tc := range breakages {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, trialB(1))
			tc.do(r)
			r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
			r.wantLast("reboot")
			r.wantState(slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 3})
			line := r.Said[len(r.Said)-1]
			if !strings.HasPrefix(line, `slotboot: fail slot=B cause="`) || !strings.Contains(line, tc.cause) {
				t.Errorf("said %q, want a fail line with %q", r.Said, tc.cause)
			}
			if left := r.Mounted(); len(left) > 4 {
				t.Errorf("still mounted at the reboot: %v", left[4:])
			}
		})
	}
}

// TestWhateverBreaksTheLastSlotTheDeviceTriesTheBadOneWhenNobodyIsThere boots the other slot once, if the data partition
// can be read at all: what is marked bad may work, and what has just failed fails again.
func TestWhateverBreaksTheLastSlotTheDeviceTriesTheBadOneWhenNobodyIsThere(t *testing.T) {
	for _, tc := range breakages {
		for _, rescue := range []string{"60", "0"} {
			t.Run(tc.name+" "+rescue, func(t *testing.T) {
				s := slots.State{Default: slots.B, Verified: true, Bad: slots.A, Limit: 3}
				r := newRig(t, s)
				tc.do(r)
				r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.wait=5 slotboot.rescue=" + rescue + where)
				r.wantLast("reboot")
				end := "slotboot: rescue seconds=60"
				if !strings.Contains(tc.name, "data partition") {
					s.Once = slots.A
					end = "slotboot: restart slot=A why=last-resort"
				} else if rescue == "0" {
					end = r.Said[0]
				}
				r.wantState(s)
				if len(r.Said) == 0 || r.Said[len(r.Said)-1] != end {
					t.Errorf("said %q, want %q last", r.Said, end)
				}
				switch shown := r.Shown.String(); {
				case rescue == "0" && shown != "":
					t.Errorf("prompts: %s", shown)
				case rescue == "60" && (!strings.Contains(shown, "After 60 seconds without a command") || r.Uptime() < time.Minute):
					t.Errorf("shown at %v: %s", r.Uptime(), shown)
				case rescue == "60" && s.Once == slots.A != strings.Contains(shown, "restarts into slot A, which is marked bad"):
					t.Errorf("shown: %s", shown)
				}
			})
		}
	}
}

func TestWithBothSlotsBrokenTheDeviceGoesToAndFro(t *testing.T) {
	s := slots.State{Default: slots.B, Verified: true, Bad: slots.A, Limit: 3}
	cmdline := "slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.rescue=0"
	for i := range 4 {
		r := newRig(t, s)
		for _, slot := range []string{"A", "B"} {
			r.put(r.slot(slot)+"/manifest.json", "broken")
		}
		r.boot(cmdline + where)
		r.wantLast("reboot")
		next, slot, why := slots.Boot(r.state())
		if want := []slots.Slot{slots.A, slots.B}[i%2]; slot != want {
			t.Fatalf("boot %d is of slot %v, want %v", i+2, slot, want)
		}
		s, cmdline = next, "slotboot.slot="+slot.String()+" slotboot.why="+string(why)+" slotboot.saved=y slotboot.rescue=0"
	}
}

func TestABadSlotThatIsEmptyOrHalfIsNotTried(t *testing.T) {
	for _, name := range []string{"vmlinuz", "initrd", "rootfs.squashfs"} {
		for _, how := range []string{"missing", "empty", "a folder"} {
			s := slots.State{Default: slots.B, Verified: true, Bad: slots.A, Limit: 3}
			r := newRig(t, s)
			os.RemoveAll(r.slot("B"))
			os.Remove(r.slot("A") + "/" + name)
			switch how {
			case "empty":
				r.put(r.slot("A")+"/"+name, "")
			case "a folder":
				os.Mkdir(r.slot("A")+"/"+name, 0o755)
			}
			r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.rescue=60" + where)
			r.wantLast("reboot")
			r.wantState(s)
			if strings.Contains(r.Shown.String(), "into slot A") {
				t.Errorf("%s %s: shown %s", name, how, r.Shown.String())
			}
		}
	}
}

func TestNoiseOnTheConsoleDoesNotKeepThePromptForEver(t *testing.T) {
	r := rescued(t)
	for range 1000 { // the prompt's own lines come back, as from a line that echoes
		r.Typed = append(r.Typed, "", "\x00\x7f", "slotboot>", "poweroff   switch this machine off", "reboot     the same again")
	}
	r.Typing = time.Second
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.rescue=60" + where)
	r.wantLast("reboot")
	if r.Uptime() < time.Minute || r.Uptime() > 61*time.Second {
		t.Errorf("restarts after %v, want 1m0s", r.Uptime())
	}
	for line := range strings.Lines(r.Shown.String()) {
		switch line = strings.TrimSpace(line); line {
		case "status", "boot A", "boot B", "boot a", "boot b", "shell", "reboot", "poweroff":
			t.Errorf("prints %q, which is a command where the line echoes", line)
		}
	}
}

func TestACommandGivesThePersonAtThePromptMoreTime(t *testing.T) {
	r := rescued(t, "status", "status", "status")
	r.Typing = 50 * time.Second
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.rescue=60" + where)
	r.wantLast("reboot")
	if want := 210 * time.Second; r.Uptime() != want {
		t.Errorf("restarts after %v, want %v", r.Uptime(), want)
	}
}

// TestTheLastResortOfTheBootLoaderFailsAtThePromptToo is the device whose default kernel does not load, so that GRUB
// tries the bad slot: the next boot would be the same one again.
func TestTheLastResortOfTheBootLoaderFailsAtThePromptToo(t *testing.T) {
	s := slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}
	r := newRig(t, s)
	os.RemoveAll(r.slot("B"))
	r.boot("slotboot.slot=B slotboot.why=last-resort slotboot.saved=y slotboot.rescue=60" + where)
	r.wantLast("reboot")
	r.wantState(s)
	if r.Shown.Len() == 0 || r.Uptime() < time.Minute {
		t.Errorf("said %q and ends after %v, want the prompt for 1m0s", r.Said, r.Uptime())
	}
}

func TestADiskThatNeverAppearsEndsInTheDeadline(t *testing.T) {
	for _, tc := range []struct {
		cmdline string
		prompt  bool
	}{
		{"slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y slotboot.wait=12", false}, // the boot loader counts on
		{"slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=n slotboot.wait=12", true},
		{"slotboot.slot=A slotboot.why=committed slotboot.saved=y slotboot.wait=12", true},
		{"slotboot.wait=12", true},
	} {
		r := newRig(t, trialB(1))
		r.RemoveDisk("vda")
		r.boot(tc.cmdline + where)
		r.wantLast("reboot")
		if prompt := r.Shown.Len() > 0; prompt != tc.prompt {
			t.Errorf("boot %q: prompt %t, want %t", tc.cmdline, prompt, tc.prompt)
		}
		if got, want := r.Uptime() >= 12*time.Second, true; got != want || !tc.prompt && r.Uptime() > 13*time.Second {
			t.Errorf("boot %q ends after %v", tc.cmdline, r.Uptime())
		}
		if !strings.Contains(strings.Join(r.Said, "\n"), "nothing after 12s") {
			t.Errorf("boot %q: said %q", tc.cmdline, r.Said)
		}
	}
}

func TestASlotBootedOnceThatFailsIsBadAndTheDefaultBootsNext(t *testing.T) {
	for _, bad := range []slots.Slot{slots.None, slots.B} { // a forced once of a bad slot changes nothing but still reboots
		r := newRig(t, slots.State{Default: slots.A, Verified: true, Bad: bad, Limit: 3})
		os.RemoveAll(r.slot("B"))
		r.boot("slotboot.slot=B slotboot.why=once slotboot.saved=y" + where)
		r.wantLast("reboot")
		r.wantState(slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3})
		if r.Shown.Len() > 0 {
			t.Errorf("bad=%v: prompts: %s", bad, r.Shown.String())
		}
	}
}

func TestAFailureThatCannotBeWrittenDuringATrialStillCounts(t *testing.T) {
	r := newRig(t, trialB(1))
	os.RemoveAll(r.slot("B"))
	r.fail = func(op, path string) error { return syscall.EIO }
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	r.wantLast("reboot")
	r.wantState(trialB(1))
	if r.Shown.Len() > 0 {
		t.Errorf("prompts: %s", r.Shown.String())
	}
}

func TestAMissingBlockIsMadeWhenAFailureMustBeWritten(t *testing.T) {
	r := newRig(t, committedA)
	os.RemoveAll(r.slot("A"))
	os.RemoveAll(r.esp + "/EFI")
	r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("reboot")
	r.wantState(slots.State{Default: slots.B, Verified: true, FellBack: true, Bad: slots.A, Limit: 3})
}

func TestABlockOnTheDataPartitionIsWrittenToo(t *testing.T) {
	r := newRig(t, trialB(1))
	r.put(r.data+"/grubenv", mustRead(t, r.esp+"/EFI/BOOT/grubenv"))
	os.RemoveAll(r.slot("B"))
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y slotboot.data=LABEL=slotboot slotboot.env=LABEL=slotboot:/grubenv")
	r.wantLast("reboot")
	if text := mustRead(t, r.data+"/grubenv"); !strings.Contains(text, "BOOT_VERSION=A\nBOOT_VERIFIED=true\n") {
		t.Errorf("block on the data partition: %q", text)
	}
	if !r.Did("remount /run/slotboot/data read-write") || !r.Did("remount /run/slotboot/data read-only") {
		t.Errorf("calls:\n%s", strings.Join(r.Calls, "\n"))
	}
}

func rescued(t *testing.T, typed ...string) *rig {
	t.Helper()
	r := newRig(t, slots.State{Default: slots.B, Verified: true, Bad: slots.A, Limit: 3})
	os.Rename(r.slot("B")+"/rootfs.squashfs", r.slot("B")+"/away")
	r.Typed = typed
	return r
}

func TestThePromptBootsTheOtherSlotThroughTheBootLoader(t *testing.T) {
	r := rescued(t, "", "what", "boot A")
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("reboot")
	r.wantState(slots.State{Default: slots.B, Verified: true, Bad: slots.A, Once: slots.A, Limit: 3})
}

func TestThePromptBootsWithThisKernelWhenTheBlockCannotBeWritten(t *testing.T) {
	r := rescued(t, "boot A")
	r.fail = func(op, path string) error { return syscall.EIO }
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
	r.wantSaid(r.Said[0], "slotboot: rescue seconds=300", "slotboot: boot slot=A why=once count=0 limit=3 saved=n")
}

func TestThePromptTriesTheSameSlotAgain(t *testing.T) {
	r := rescued(t, "boot B", "boot B")
	tries := 0
	r.Fail = func(call string) error {
		if call == "mount ext4 /dev/vda2 on /run/slotboot/data ro" {
			if tries++; tries == 3 { // somebody has repaired it
				os.Rename(r.slot("B")+"/away", r.slot("B")+"/rootfs.squashfs")
			}
		}
		return nil
	}
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
}

func TestThePromptShowsTheStateAndTheDisks(t *testing.T) {
	r := rescued(t, "status", "poweroff")
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("poweroff")
	for _, want := range []string{"BOOT_VERSION=B\n", "BOOT_BAD=A\n", "/dev/vda2 type=ext4 label=slotboot", "partuuid=" + espGUID} {
		if !strings.Contains(r.Shown.String(), want) {
			t.Errorf("status does not show %q:\n%s", want, r.Shown.String())
		}
	}
}

func TestThePromptRunsTheShellOfASlotWhenTheInitramfsHasNone(t *testing.T) {
	r := rescued(t, "shell", "reboot")
	root, _, _ := strings.Cut(mustRead(t, r.slot("A")+"/rootfs.squashfs"), "\n")
	r.put(root+"/bin/sh", "")
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("reboot")
	if !r.Did("shell /sysroot /bin/sh") {
		t.Errorf("calls:\n%s\nshown: %s", strings.Join(r.Calls, "\n"), r.Shown.String())
	}
	if left := r.Mounted(); len(left) != 4 {
		t.Errorf("still mounted: %v", left)
	}
}

func TestWithoutARescueTimeThereIsNoPrompt(t *testing.T) {
	r := rescued(t, "shell")
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.rescue=0" + where)
	r.wantLast("reboot")
	if r.Shown.Len() > 0 {
		t.Errorf("prompts: %s", r.Shown.String())
	}
}

func TestNoWatchdogResetsTheMachineAtThePrompt(t *testing.T) {
	r := newRig(t, slots.State{Default: slots.B, Count: 1, Bad: slots.A, Limit: 3})
	os.Remove(r.slot("B") + "/rootfs.squashfs")
	r.Stopper, r.Typed = true, []string{"status"}
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	if !r.Did("arm watchdog") || r.Armed || r.Shown.Len() == 0 {
		t.Errorf("armed at the prompt: %t; calls:\n%s", r.Armed, strings.Join(r.Calls, "\n"))
	}
}

func TestAPanicOfInitIsAFailedBootNotAKernelPanic(t *testing.T) {
	r := newRig(t, trialB(1))
	r.Fail = func(call string) error {
		if strings.HasPrefix(call, "loop") {
			panic("index out of range")
		}
		return nil
	}
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	r.wantLast("reboot")
	r.wantSaid(`slotboot: fail slot=B cause="internal error: index out of range"`)
	r.wantState(slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 3})
}
