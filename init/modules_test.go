package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/sys/systest"
)

// busy is a device with a fast disk, a slow one and a watchdog, whose drivers are modules.
func busy(t *testing.T) *rig {
	r := newRig(t, committedA)
	const dir = "/lib/modules/6.1.0-test/"
	var dep, alias strings.Builder
	for name, device := range map[string]string{"libata": "", "ahci": "pci:ahci", "virtio_pci": "pci:virtio", "virtio_blk": "virtio:2",
		"i6300esb": "pci:dog", "vfat": "fs-vfat", "nls_cp437": "", "overlay": "fs-overlay", "squashfs": "fs-squashfs"} {
		r.Write(dir+name+".ko", "")
		dep.WriteString(name + ".ko:" + map[string]string{"ahci": " libata.ko"}[name] + "\n")
		if device != "" {
			alias.WriteString("alias " + device + " " + name + "\n")
		}
	}
	r.Write(dir+"modules.dep", dep.String())
	r.Write(dir+"modules.alias", alias.String())
	r.Write(dir+"modules.softdep", "softdep vfat pre: nls_cp437\n")
	r.Write("/etc/slotboot/modules", "squashfs.ko\noverlay.ko\n")
	r.Write("/proc/filesystems", "nodev\ttmpfs\n\text4\n")
	for _, device := range []string{"ahci", "virtio", "dog"} {
		r.Write("/sys/bus/pci/devices/"+device+"/modalias", "pci:"+device+"\n")
	}
	r.RemoveDisk("vda")
	r.modprobe("A")
	r.modprobe("B")
	return r
}

// modprobe lets a slot's image load modules by itself.
func (r *rig) modprobe(slot string) {
	root, _, _ := strings.Cut(mustRead(r.t, r.slot(slot)+"/rootfs.squashfs"), "\n")
	r.put(root+"/sbin/modprobe", "")
	os.Chmod(root+"/sbin/modprobe", 0o755)
	r.put(root+"/lib/modules/6.1.0-test/modules.dep", "")
}

func (r *rig) loaded() string {
	var names []string
	for _, call := range r.Calls {
		if name, ok := strings.CutPrefix(call, "load "); ok {
			names = append(names, strings.TrimSuffix(name, ".ko"))
		}
	}
	return strings.Join(names, " ")
}

// plugWhen lets devices appear when their drivers are loaded.
func (r *rig) plugWhen(driver string) {
	r.Fail = func(call string) error {
		switch call {
		case "load virtio_pci.ko":
			r.Write("/sys/bus/virtio/devices/virtio0/modalias", "virtio:2\n")
		case "load " + driver + ".ko":
			r.plug()
		}
		return nil
	}
}

func TestDriversOfQuickBusesComeFirstAndTheOthersOnlyIfTheDiskIsNotThere(t *testing.T) {
	const committed = "slotboot.slot=A slotboot.why=committed slotboot.saved=y"
	for _, tc := range []struct{ name, disk, cmdline, loads string }{
		{"on virtio", "virtio_blk", committed, "squashfs overlay virtio_pci virtio_blk"},
		{"on ahci", "ahci", committed, "squashfs overlay virtio_pci virtio_blk libata ahci i6300esb"},
		{"on virtio, a trial", "virtio_blk", "slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y",
			"squashfs overlay virtio_pci i6300esb virtio_blk nls_cp437 vfat"},
		{"nobody decided", "virtio_blk", "", "squashfs overlay virtio_pci i6300esb virtio_blk nls_cp437 vfat"},
	} {
		r := busy(t)
		r.plugWhen(tc.disk)
		r.boot(tc.cmdline + where)
		r.wantLast("exec /sbin/init")
		got := strings.Fields(r.loaded())
		want := strings.Fields(tc.loads)
		if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: loads %q, want %q", tc.name, got, want)
		}
		if i, j := slices.Index(got, "virtio_blk"), slices.Index(got, "ahci"); j >= 0 && i > j {
			t.Errorf("%s: loads %q, want virtio_blk before ahci", tc.name, got)
		}
		if tc.disk == "virtio_blk" && r.Uptime() > 0 {
			t.Errorf("%s: waits %v for a disk that is there", tc.name, r.Uptime())
		}
	}
}

func TestAnImageThatCannotLoadModulesGetsTheBootPartitionsFileSystem(t *testing.T) {
	for _, missing := range []string{"/sbin/modprobe", "/lib/modules/6.1.0-test/modules.dep"} {
		r := busy(t)
		root, _, _ := strings.Cut(mustRead(t, r.slot("A")+"/rootfs.squashfs"), "\n")
		os.Remove(root + missing)
		r.plugWhen("virtio_blk")
		r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
		r.wantLast("exec /sbin/init")
		if got, want := r.loaded(), "squashfs overlay virtio_pci virtio_blk nls_cp437 vfat"; got != want {
			t.Errorf("without %s loads %s, want %s", missing, got, want)
		}
	}
}

func TestAModuleLoadedBesideTheBootIsWaitedForWhenItIsNeeded(t *testing.T) {
	m := systest.New(t)
	for _, name := range []string{"a", "b"} {
		m.Write("/lib/modules/6.1.0-test/"+name+".ko", "")
	}
	m.Write("/lib/modules/6.1.0-test/modules.dep", "a.ko:\nb.ko: a.ko\n")
	m.Write("/etc/slotboot/modules", "a.ko\n")
	slow := late{Machine: m}
	mods := newModules(&slow, parseCmdline(""), func(text string) { t.Error(text) })
	mods.always()
	if len(m.Calls) > 0 {
		t.Fatalf("before anybody waits: %q", m.Calls)
	}
	mods.byName("b")
	mods.settle()
	if got, want := strings.Join(m.Calls, ", "), "load a.ko, load b.ko"; got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// late runs what is to run beside only when somebody waits for it.
type late struct{ *systest.Machine }

func (l *late) Beside(do func()) func() { return do }

func TestAHashForThisProcessorIsLoadedBeforeWhatItChecks(t *testing.T) {
	for device, want := range map[string]string{
		"cpu:type:x86,ven0000fam0006mod0055:feature:,0000,0089,0125\n": "sha squashfs overlay virtio_pci virtio_blk",
		"cpu:type:x86,ven0000fam0006mod0055:feature:,0000,0001\n":      "squashfs overlay virtio_pci virtio_blk",
		"": "squashfs overlay virtio_pci virtio_blk",
	} {
		r := busy(t)
		const dir = "/lib/modules/6.1.0-test/"
		r.Write(dir+"sha.ko", "")
		r.Write(dir+"modules.dep", r.Read(dir+"modules.dep")+"sha.ko:\n")
		r.Write(dir+"modules.alias", r.Read(dir+"modules.alias")+"alias crypto-sha256 sha\nalias cpu:type:x86,ven*fam*mod*:feature:*0089* sha\n"+
			"alias cpu:type:x86,ven*fam*mod*:feature:*0125* sha\n")
		if device != "" {
			r.Write("/sys/devices/system/cpu/modalias", device)
		}
		r.plugWhen("virtio_blk")
		r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
		r.wantLast("exec /sbin/init")
		if got := r.loaded(); got != want {
			t.Errorf("on %q loads %s, want %s", device, got, want)
		}
	}
}
