package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/sys/systest"
	"github.com/slotboot/slotboot/slots"
)

const (
	espGUID  = "11111111-1111-1111-1111-111111111111"
	dataGUID = "22222222-2222-2222-2222-222222222222"
	where    = " slotboot.data=PARTUUID=" + dataGUID + " slotboot.env=PARTUUID=" + espGUID
)

// rig is a device with a disk and two slots.
type rig struct {
	*systest.Machine
	t    *testing.T
	esp  string // folders that stand for what is on the partitions
	data string
	fail func(op, path string) error // of writes to files
}

// newRig returns a device whose environment block says s; both slots are whole.
func newRig(t *testing.T, s slots.State) *rig {
	t.Helper()
	r := &rig{Machine: systest.New(t), t: t, esp: t.TempDir(), data: t.TempDir()}
	block, err := bootenv.New(s)
	if err != nil {
		t.Fatal(err)
	}
	r.put(r.esp+"/EFI/BOOT/grubenv", string(block))
	for _, slot := range []string{"A", "B"} {
		root := t.TempDir()
		r.put(root+"/sbin/init", "slot "+slot)
		if err := os.Chmod(root+"/sbin/init", 0o755); err != nil {
			t.Fatal(err)
		}
		r.put(root+"/etc/machine-id", "")
		r.put(r.slot(slot)+"/vmlinuz", "kernel")
		r.put(r.slot(slot)+"/initrd", "initrd")
		r.put(r.slot(slot)+"/rootfs.squashfs", root+"\n")
		r.put(r.slot(slot)+"/manifest.json", manifestText(slot, len(root)+1, ""))
	}
	r.put(r.data+"/state/machine-id", strings.Repeat("7", 32)+"\n")
	r.plug()
	return r
}

func manifestText(slot string, size int, more string) string {
	return fmt.Sprintf(`{"format":1,"version":"1.%s","build":"b%s","payloads":[{"name":"vmlinuz","size":1},{"name":"rootfs.squashfs","size":%d%s}]}`, slot, slot, size, more)
}

func (r *rig) slot(slot string) string { return r.data + "/slots/" + slot }

func (r *rig) plug(more ...systest.Partition) {
	r.AddDisk("vda", append([]systest.Partition{
		{PartUUID: espGUID, ESP: true, Type: "vfat", UUID: "abcd1234", Label: "ESP", Content: r.esp},
		{PartUUID: dataGUID, Type: "ext4", UUID: "33333333-3333-3333-3333-333333333333", Label: "slotboot", Content: r.data}}, more...)...)
}

func (r *rig) put(path, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) boot(cmdline string, args ...string) {
	r.t.Helper()
	r.Write("/proc/cmdline", cmdline+"\n")
	b := newBoot(r, args, []string{"HOME=/", "TERM=linux"})
	b.files = guarded{r: r}
	r.Run(b.run)
}

func (r *rig) state() slots.State {
	r.t.Helper()
	content, err := bootenv.Read(r.esp+"/EFI/BOOT/grubenv", 3)
	if err != nil {
		r.t.Fatal(err)
	}
	return content.State
}

func (r *rig) wantLast(want string) {
	r.t.Helper()
	if got := r.Last(); got != want {
		r.t.Errorf("the boot ends with %q, want %q\ncalls:\n%s\nsaid: %q\nnoted: %q", got, want, strings.Join(r.Calls, "\n"), r.Said, r.Noted)
	}
}

func (r *rig) wantSaid(want ...string) {
	r.t.Helper()
	if got := strings.Join(r.Said, "\n"); got != strings.Join(want, "\n") {
		r.t.Errorf("said:\n%s\nwant:\n%s\nnoted: %q", got, strings.Join(want, "\n"), r.Noted)
	}
}

func (r *rig) wantState(want slots.State) {
	r.t.Helper()
	if got := r.state(); got != want {
		r.t.Errorf("the environment block says %+v, want %+v", got, want)
	}
}

// guarded lets nothing be written where nothing is mounted read-write.
type guarded struct {
	durable.OS
	r *rig
}

func (g guarded) check(op, path string) error {
	if !g.r.Writable(path) {
		return &os.PathError{Op: op, Path: path, Err: syscall.EROFS}
	}
	if g.r.fail != nil {
		return g.r.fail(op, path)
	}
	return nil
}

func (g guarded) Edit(path string) (durable.File, error) {
	if err := g.check("edit", path); err != nil {
		return nil, err
	}
	return g.OS.Edit(path)
}

func (g guarded) Create(path string) (durable.File, error) {
	if err := g.check("create", path); err != nil {
		return nil, err
	}
	return g.OS.Create(path)
}

func (g guarded) Mkdir(path string) error {
	if err := g.check("mkdir", path); err != nil {
		return err
	}
	return g.OS.Mkdir(path)
}

func (g guarded) Remove(path string) error {
	if err := g.check("remove", path); err != nil {
		return err
	}
	return g.OS.Remove(path)
}

func trialB(count int) slots.State { return slots.State{Default: slots.B, Count: count, Limit: 3} }

var committedA = slots.State{Default: slots.A, Verified: true, Limit: 3}

func TestACommittedBootWritesNothingAndDoesNotTouchTheBootPartition(t *testing.T) {
	r := newRig(t, committedA)
	r.boot("quiet slotboot.slot=A slotboot.why=committed slotboot.count=0 slotboot.limit=3 slotboot.saved=y"+where, "single", "-x")
	r.wantLast("exec /sbin/init single -x")
	r.wantSaid("slotboot: boot slot=A why=committed count=0 limit=3 saved=y")
	for _, call := range r.Calls {
		if strings.Contains(call, "vda1") || strings.Contains(call, "read-write") || strings.HasPrefix(call, "mount ext4") && !strings.HasSuffix(call, " ro") {
			t.Errorf("a committed boot does %q", call)
		}
	}
	if got := strings.Join(r.Env, " "); got != "HOME=/ TERM=linux" {
		t.Errorf("init gets the environment %q", got)
	}
}

func TestTheMountsComeInOrderAndTheLoopDeviceIsReleasedAfterThem(t *testing.T) {
	r := newRig(t, committedA)
	r.boot("slotboot.slot=B slotboot.why=committed slotboot.saved=y slotboot.overlay=size=25%" + where)
	want := `mount devtmpfs devtmpfs on /dev mode=0755
mount proc proc on /proc
mount sysfs sysfs on /sys
mount tmpfs tmpfs on /run mode=0755
mount ext4 /dev/vda2 on /run/slotboot/data ro
loop /run/slotboot/data/slots/B/rootfs.squashfs
mount squashfs /dev/loop0 on /run/slotboot/rootfs ro
mount tmpfs tmpfs on /run/slotboot/overlay size=25%,mode=0755
mount overlay overlay on /sysroot lowerdir=/run/slotboot/rootfs,upperdir=/run/slotboot/overlay/upper,workdir=/run/slotboot/overlay/work
release /dev/loop0
move /dev to /sysroot/dev
move /proc to /sysroot/proc
move /sys to /sysroot/sys
move /run to /sysroot/run
exec /sbin/init`
	if got := strings.Join(r.Calls, "\n"); got != want {
		t.Errorf("calls:\n%s\nwant:\n%s", got, want)
	}
	if got := r.Read("/run/initramfs/shutdown"); got != "this program" {
		t.Errorf("/run/initramfs/shutdown holds %q", got)
	}
}

func TestTheBootedSystemIsToldWhatBooted(t *testing.T) {
	r := newRig(t, trialB(2))
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.limit=3 slotboot.saved=y" + where)
	want := `{"slot":"B","count":2,"limit":3,"why":"trial","saved":true,"fell_back":false,"version":"1.B","build":"bB",` +
		`"data_device":"/dev/vda2","env_device":"/dev/vda1","env_path":"/EFI/BOOT/grubenv"}` + "\n"
	if got := r.Read("/run/slotboot/boot.json"); got != want {
		t.Errorf("boot.json = %s, want %s", got, want)
	}
	for _, unit := range []string{"data", "rootfs", "overlay"} {
		if got := r.Read("/run/systemd/system/run-slotboot-" + unit + ".mount.d/slotboot.conf"); got != "[Unit]\nDefaultDependencies=no\n" {
			t.Errorf("systemd is told about %s: %q", unit, got)
		}
	}
}

func TestASaveThatTheBootLoaderLostIsRepairedAndNothingCountsTwice(t *testing.T) {
	for _, tc := range []struct {
		block   slots.State
		cmdline string
		want    slots.State
		line    string
	}{
		{trialB(1), "slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=n", trialB(2), "slot=B why=trial count=2 limit=3 saved=y"},
		{trialB(2), "slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=y", trialB(2), "slot=B why=trial count=2 limit=3 saved=y"},
		{trialB(3), "slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=y", trialB(3), "slot=B why=trial count=3 limit=3 saved=y"},
		{trialB(3), "slotboot.slot=A slotboot.why=fallback slotboot.fellback slotboot.saved=n",
			slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 3}, "slot=A why=fallback count=0 limit=3 saved=y"},
		{slots.State{Default: slots.A, Verified: true, Once: slots.B, Limit: 3}, "slotboot.slot=B slotboot.why=once slotboot.saved=y",
			committedA, "slot=B why=once count=0 limit=3 saved=y"},
	} {
		r := newRig(t, tc.block)
		r.boot(tc.cmdline + where)
		r.wantLast("exec /sbin/init")
		r.wantSaid("slotboot: boot " + tc.line)
		r.wantState(tc.want)
		if len(r.Mounted()) == 0 || strings.Contains(strings.Join(r.Mounted(), " "), "/run/slotboot/env") {
			t.Errorf("%s: mounted afterwards: %v", tc.cmdline, r.Mounted())
		}
	}
}

func TestWithoutABootLoaderThatDecidesInitAppliesThePolicy(t *testing.T) {
	r := newRig(t, trialB(0))
	for i, want := range []string{
		"slot=B why=trial count=1 limit=3 saved=y", "slot=B why=trial count=2 limit=3 saved=y", "slot=B why=trial count=3 limit=3 saved=y",
		"slot=A why=fallback count=0 limit=3 saved=y", "slot=A why=committed count=0 limit=3 saved=y",
	} {
		next := newRig(t, r.state())
		next.boot("console=ttyS0")
		next.wantSaid("slotboot: boot " + want)
		next.wantLast("exec /sbin/init")
		r = next
		if fell := strings.Contains(r.Read("/run/slotboot/boot.json"), `"fell_back":true`); fell != (i == 3) {
			t.Errorf("boot %d: boot.json says fell_back %t", i+1, fell)
		}
	}
}

func TestAOnceThatCannotBeClearedIsNotBooted(t *testing.T) {
	r := newRig(t, slots.State{Default: slots.A, Verified: true, Once: slots.B, Limit: 3})
	r.fail = func(op, path string) error { return syscall.EIO }
	r.boot("")
	r.wantSaid("slotboot: boot slot=A why=committed count=0 limit=3 saved=n")
	r.wantLast("exec /sbin/init")
}

func TestWithoutAnEnvironmentBlockTheDeviceStillBoots(t *testing.T) {
	whole := trialB(1)
	for name, damage := range map[string]func(*rig){
		"missing":            func(r *rig) { os.Remove(r.esp + "/EFI/BOOT/grubenv") },
		"empty":              func(r *rig) { r.put(r.esp+"/EFI/BOOT/grubenv", "") },
		"zeroed":             func(r *rig) { r.put(r.esp+"/EFI/BOOT/grubenv", strings.Repeat("\x00", 1024)) },
		"a folder":           func(r *rig) { os.Remove(r.esp + "/EFI/BOOT/grubenv"); os.Mkdir(r.esp+"/EFI/BOOT/grubenv", 0o755) },
		"boot partition bad": func(r *rig) { r.Fail = failing("mount vfat", syscall.EIO) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, whole)
			damage(r)
			r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=y slotboot.limit=3" + where)
			r.wantLast("exec /sbin/init")
			if len(r.Said) != 1 || !strings.HasPrefix(r.Said[0], "slotboot: boot slot=B why=trial count=2 limit=3 saved=") {
				t.Errorf("said %q", r.Said)
			}
			if len(r.Noted) == 0 {
				t.Error("nobody is told")
			}
			if noted := strings.Join(r.Noted, "\n"); name == "missing" && !strings.Contains(noted, "mount /dev/vda1 and run slotctl env create on /EFI/BOOT/grubenv there") {
				t.Errorf("noted %s, want what to do", noted)
			}
			r = newRig(t, whole)
			damage(r)
			r.boot(strings.TrimSpace(where))
			r.wantLast("exec /sbin/init")
			if len(r.Said) != 1 || !strings.HasPrefix(r.Said[0], "slotboot: boot slot=A why=committed count=0 limit=3 saved=") {
				t.Errorf("said %q", r.Said)
			}
		})
	}
}

func failing(prefix string, err error) func(string) error {
	return func(call string) error {
		if strings.HasPrefix(call, prefix) {
			return err
		}
		return nil
	}
}

func TestAPartitionThatAppearsLateIsWaitedForAndItsDriverLoaded(t *testing.T) {
	r := newRig(t, committedA)
	r.RemoveDisk("vda")
	r.Write("/lib/modules/6.1.0-test/modules.dep", "kernel/usb-storage.ko: kernel/scsi.ko kernel/usb.ko\nkernel/scsi.ko:\nkernel/usb.ko:\n")
	r.Write("/lib/modules/6.1.0-test/modules.alias", "# Aliases\nalias usb:v*p*ic08* usb_storage\n")
	for _, name := range []string{"usb-storage", "scsi", "usb"} {
		r.Write("/lib/modules/6.1.0-test/kernel/"+name+".ko", "")
	}
	r.OnWait = func(now time.Duration) {
		switch now {
		case 5 * time.Second:
			r.Write("/sys/bus/usb/devices/usb1/modalias", "usb:v1p2ic08\n")
		case 7 * time.Second:
			r.plug()
		}
	}
	r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y usb_storage.quirks=1:2:u" + where)
	r.wantLast("exec /sbin/init")
	if got := strings.Join(r.Calls, "\n"); !strings.Contains(got, "load usb.ko\nload scsi.ko\nload usb-storage.ko quirks=1:2:u\n") {
		t.Errorf("calls:\n%s", got)
	}
	if r.Uptime() != 7*time.Second {
		t.Errorf("waited %v, want 7s", r.Uptime())
	}
}

func TestTheWatchdogGuardsInitOnATrialAndStaysArmedOnlyWhenAskedTo(t *testing.T) {
	for _, tc := range []struct {
		cmdline string
		did     bool
		armed   bool
	}{
		{"slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=y", true, false},
		{"slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=y slotboot.watchdog=600", true, true},
		{"slotboot.slot=A slotboot.why=committed slotboot.saved=y slotboot.watchdog=600", false, false},
		{"", true, false},
	} {
		r := newRig(t, trialB(2))
		r.Stopper = true
		r.boot(tc.cmdline + where)
		if tc.armed != r.Did("restart watchdog 10m0s") {
			t.Errorf("boot %q: calls:\n%s", tc.cmdline, strings.Join(r.Calls, "\n"))
		}
		if !strings.HasPrefix(r.Last(), "exec") || r.Did("arm watchdog") != tc.did || r.Armed != tc.armed {
			t.Errorf("boot %q: armed once %t, armed at the end %t, want %t, %t; ends %q", tc.cmdline, r.Did("arm watchdog"), r.Armed, tc.did, tc.armed, r.Last())
		}
	}
}

func TestVerityIsOpenedWhenTheManifestHasARootHash(t *testing.T) {
	r := newRig(t, committedA)
	hash := strings.Repeat("ab", 32)
	size := len(mustRead(t, r.slot("A")+"/rootfs.squashfs"))
	r.put(r.slot("A")+"/manifest.json", manifestText("A", size, `,"verity":{"root_hash":"`+hash+`","data_blocks":7}`))
	r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
	if !r.Did("verity /dev/loop0 7 "+hash) || !r.Did("mount squashfs /dev/dm-0 on") || !r.Did("release /dev/dm-0") {
		t.Errorf("calls:\n%s", strings.Join(r.Calls, "\n"))
	}
}

func TestWhatARottenBlockDoesIsChosenOnTheCommandLineAndDoneWithoutByOldKernels(t *testing.T) {
	for arg, want := range map[string]string{"eio": "", "restart": " restart_on_corruption", "panic": " panic_on_corruption", "explode": ""} {
		for _, old := range []bool{false, true} {
			r := newRig(t, committedA)
			size := len(mustRead(t, r.slot("A")+"/rootfs.squashfs"))
			hash := strings.Repeat("ab", 32)
			r.put(r.slot("A")+"/manifest.json", manifestText("A", size, `,"verity":{"root_hash":"`+hash+`","data_blocks":7}`))
			if old && want != "" {
				r.Fail = failing("verity /dev/loop0 7 "+hash+want, syscall.EINVAL)
			}
			r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y slotboot.verity=" + arg + where)
			r.wantLast("exec /sbin/init")
			if !r.Did("verity /dev/loop0 7 "+hash+want) || old && want != "" && !slices.Contains(r.Calls, "verity /dev/loop0 7 "+hash) {
				t.Errorf("slotboot.verity=%s, old kernel %t: calls:\n%s", arg, old, strings.Join(r.Calls, "\n"))
			}
		}
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheImagesInitIsTheFirstThatIsThereWithLinksFollowedInsideTheImage(t *testing.T) {
	for _, tc := range []struct {
		name, cmdline, want string
		links               map[string]string // link -> target; "x" is an executable file
	}{
		{"the usual", "", "/sbin/init", nil},
		{"asked for", "init=/opt/mine", "/opt/mine", map[string]string{"/opt/mine": "x"}},
		{"none but a shell", "", "/bin/sh", map[string]string{"/sbin/init": "", "/bin/sh": "x"}},
		{"absolute link", "", "/sbin/init", map[string]string{"/sbin/init": "/lib/systemd/systemd", "/lib/systemd/systemd": "x"}},
		{"link out of the image", "", "/bin/sh", map[string]string{"/sbin/init": "../../../../../../../bin/true", "/bin/sh": "x"}},
		{"link to nothing", "", "/etc/init", map[string]string{"/sbin/init": "/gone", "/etc/init": "x"}},
	} {
		r := newRig(t, committedA)
		root, _, _ := strings.Cut(mustRead(t, r.slot("A")+"/rootfs.squashfs"), "\n")
		for link, target := range tc.links {
			os.Remove(root + link)
			switch target {
			case "":
			case "x":
				r.put(root+link, "")
				os.Chmod(root+link, 0o755)
			default:
				os.MkdirAll(filepath.Dir(root+link), 0o755)
				os.Symlink(target, root+link)
			}
		}
		r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y " + tc.cmdline + where)
		if !r.Did("exec " + tc.want) {
			t.Errorf("%s: ends with %q, want exec %s; said %q", tc.name, r.Last(), tc.want, r.Said)
		}
	}
}

func TestADataPartitionWhoseJournalIsBrokenStillBoots(t *testing.T) {
	r := newRig(t, committedA)
	r.Fail = func(call string) error {
		if call == "mount ext4 /dev/vda2 on /run/slotboot/data ro" {
			return syscall.EUCLEAN
		}
		return nil
	}
	r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
	if got := strings.Join(r.Noted, "\n"); !strings.Contains(got, "run e2fsck on /dev/vda2") {
		t.Errorf("noted %q", got)
	}
}
