package kernel

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/mkimage/internal/kernel/kerneltest"
)

// kernelOf returns a kernel with the modules folder f.
func kernelOf(t *testing.T, f files) *Kernel {
	t.Helper()
	k, err := Outside("vmlinuz", kerneltest.Amd64(rel), f.fs(), Options{})
	if err != nil {
		t.Fatalf("Outside() = %v", err)
	}
	return k
}

func selected(t *testing.T, k *Kernel, extra ...string) *Selection {
	t.Helper()
	sel, err := k.Select(Want{Modules: extra})
	if err != nil {
		t.Fatalf("Select(%v) = %v", extra, err)
	}
	return sel
}

func (s *Selection) names() string {
	var names []string
	for _, m := range s.Modules {
		names = append(names, m.Name)
	}
	return strings.Join(names, " ")
}

// tinyModules is a folder in which squashfs and its friends are modules, one of each compression.
func tinyModules(t *testing.T) files {
	return files{
		"modules.dep": "kernel/drivers/block/loop.ko:\nkernel/fs/squashfs/squashfs.ko.xz: kernel/lib/b.ko.zst kernel/lib/a.ko.gz\n" +
			"kernel/lib/b.ko.zst: kernel/lib/a.ko.gz\nkernel/lib/a.ko.gz:\nkernel/drivers/block/virtio_blk.ko:\nkernel/lib/crc.ko:\nkernel/lib/crc-fast.ko:\nkernel/x/unwanted.ko:\n",
		"modules.builtin":                    "kernel/fs/overlayfs/overlay.ko\nkernel/fs/ext4/ext4.ko\nkernel/fs/fat/vfat.ko\n",
		"modules.softdep":                    "softdep a crc32c\nsoftdep virtio_blk pre: nowhere post: unwanted2\n",
		"modules.alias":                      "alias crc32c crc\nalias crc32c crc_fast\nalias virtio:d00000002v* virtio_blk\nalias pci:v1 unwanted\n",
		"kernel/drivers/block/loop.ko":       string(kerneltest.Module("depends=")),
		"kernel/fs/squashfs/squashfs.ko.xz":  string(xzed(t, kerneltest.Module("depends=b,a"))),
		"kernel/lib/a.ko.gz":                 string(gz(t, kerneltest.Module("depends=", "softdep=crc32c"))),
		"kernel/lib/b.ko.zst":                string(zst(t, kerneltest.Module("depends=a"))),
		"kernel/drivers/block/virtio_blk.ko": string(kerneltest.Module("depends=", "alias=virtio:d00000002v*")),
		"kernel/lib/crc.ko":                  string(kerneltest.Module("depends=", "alias=crc32c")),
		"kernel/lib/crc-fast.ko":             string(kerneltest.Module("depends=", "alias=crc32c")),
		"kernel/x/unwanted.ko":               string(kerneltest.Module("depends=", "alias=pci:v1")),
	}
}

func without(f files, names ...string) files {
	g := files{}.with(f)
	for _, n := range names {
		delete(g, n)
	}
	return g
}

func TestModulesComeInLoadOrderAndUncompressed(t *testing.T) {
	f := tinyModules(t)
	sel := selected(t, kernelOf(t, f))
	want := []string{"kernel/drivers/block/loop.ko", "kernel/lib/crc.ko", "kernel/lib/crc-fast.ko", "kernel/lib/a.ko", "kernel/lib/b.ko", "kernel/fs/squashfs/squashfs.ko"}
	if d := cmp.Diff(want, sel.Always); d != "" {
		t.Errorf("Select().Always, -want +got:\n%s", d)
	}
	for _, m := range sel.Modules {
		if !bytes.HasPrefix(m.Data, []byte("\x7fELF")) || !strings.HasSuffix(m.Path, ".ko") {
			t.Errorf("%s starts with % x, want a plain module", m.Path, m.Data[:4])
		}
	}
	wantDep := "kernel/drivers/block/loop.ko:\nkernel/drivers/block/virtio_blk.ko:\nkernel/fs/squashfs/squashfs.ko: kernel/lib/b.ko kernel/lib/a.ko\n" +
		"kernel/lib/a.ko:\nkernel/lib/b.ko: kernel/lib/a.ko\nkernel/lib/crc-fast.ko:\nkernel/lib/crc.ko:\n"
	if d := cmp.Diff(wantDep, string(sel.Dep)); d != "" {
		t.Errorf("Select().Dep, -want +got:\n%s", d)
	}
	if got, want := string(sel.Alias), "alias virtio:d00000002v* virtio_blk\nalias crc32c crc_fast\nalias crc32c crc\n"; got != want {
		t.Errorf("Select().Alias = %q, want %q", got, want)
	}
	if got, want := string(sel.Softdep), "softdep a pre: crc crc_fast\n"; got != want {
		t.Errorf("Select().Softdep = %q, want %q: only what is in the initrd, aliases resolved", got, want)
	}
}

func TestAModuleThatIsAskedForAndNothingElseWouldLoadIsLoadedAlways(t *testing.T) {
	f := tinyModules(t).with(files{"kernel/drivers/softdog.ko": string(kerneltest.Module("depends=a"))})
	f["modules.dep"] += "kernel/drivers/softdog.ko: kernel/lib/a.ko.gz\n"
	sel, err := kernelOf(t, f).Select(Want{Modules: []string{"softdog", "unwanted"}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) int { return slices.Index(sel.Always, "kernel/"+name) }
	if at("drivers/softdog.ko") <= at("lib/a.ko") || at("lib/a.ko") < 0 || at("x/unwanted.ko") >= 0 {
		t.Errorf("loaded on every machine: %q, want softdog behind what it needs, and not what a device asks for", sel.Always)
	}
}

func TestModulesAreFoundWithoutDepmodsFiles(t *testing.T) {
	f := tinyModules(t)
	want := selected(t, kernelOf(t, f))
	got := selected(t, kernelOf(t, without(f, "modules.dep", "modules.alias", "modules.softdep")))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Select() without modules.dep, .alias, .softdep, -with +without:\n%s", d)
	}
}

func TestModuleNeededForTheRootMustBeThere(t *testing.T) {
	f := tinyModules(t)
	for name, broken := range map[string]files{
		"squashfs": without(f, "kernel/fs/squashfs/squashfs.ko.xz"),
		"loop":     without(f, "kernel/drivers/block/loop.ko"),
		"b":        without(f, "kernel/lib/b.ko.zst"), // squashfs needs it
		"overlay":  f.with(files{"modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/fs/fat/vfat.ko\n"}),
	} {
		var missing *MissingError
		if _, err := kernelOf(t, broken).Select(Want{}); !errors.As(err, &missing) || !slices.Equal(missing.Names, []string{name}) || missing.Hint() == "" {
			t.Errorf("Select() without %s = %v, want a *MissingError that names it", name, err)
		}
	}
	if _, err := kernelOf(t, files{}).Select(Want{}); err == nil {
		t.Error("Select() of a kernel without modules and without configuration = nil, want an error")
	}
	k := kernelOf(t, files{"config": "CONFIG_SQUASHFS_FS=y\nCONFIG_OVERLAY_FS=y\nCONFIG_BLK_DEV_LOOP=y\nCONFIG_EXT4_FS=y\nCONFIG_VFAT_FS=y\n"})
	if sel, err := k.Select(Want{}); err != nil || len(sel.Modules) != 0 {
		t.Errorf("Select() of a kernel with everything built in = %v, %v, want no modules", sel, err)
	}
}

func TestDriverThatIsNotThereIsPassedOver(t *testing.T) {
	f := without(tinyModules(t), "kernel/drivers/block/virtio_blk.ko")
	if got := selected(t, kernelOf(t, f)).names(); strings.Contains(got, "virtio_blk") {
		t.Errorf("Select() = %s, want no virtio_blk: modules.dep lists it, the image has lost it", got)
	}
}

func TestModuleAskedForMustBeThere(t *testing.T) {
	f := tinyModules(t)
	if got := selected(t, kernelOf(t, f), "unwanted", "overlay").names(); !strings.Contains(got, "unwanted") {
		t.Errorf("Select(unwanted, overlay) = %s, want unwanted in it", got)
	}
	var missing *MissingError
	if _, err := kernelOf(t, f).Select(Want{Modules: []string{"nonesuch"}}); !errors.As(err, &missing) || !missing.Asked {
		t.Errorf("Select(nonesuch) = %v, want a *MissingError: asked for", err)
	}
}

func TestVerityComesWithSomethingToHash(t *testing.T) {
	k := kernelOf(t, files{"modules.builtin": rootBuiltin, "modules.dep": "kernel/md/dm-verity.ko:\nkernel/crypto/sha256_generic.ko:\n",
		"modules.alias": "alias crypto-sha256 sha256_generic\n", "kernel/md/dm-verity.ko": string(kerneltest.Module()), "kernel/crypto/sha256_generic.ko": string(kerneltest.Module())})
	sel := selected(t, k)
	if got := sel.names(); got != "sha256_generic dm_verity" || len(sel.Always) != 0 {
		t.Errorf("Select() = %s, always %v, want the hash and dm_verity, neither always", got, sel.Always)
	}
	if got, want := string(sel.Softdep), "softdep dm_verity pre: sha256_generic\n"; got != want {
		t.Errorf("Select().Softdep = %q, want %q", got, want)
	}
}

func TestDriversCanBeFewer(t *testing.T) {
	dir, _ := debianKernel(t)
	k, err := Find(os.DirFS(dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	sel, err := k.Select(Want{Drivers: []string{"virtio"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := sel.names(); !strings.Contains(got, "virtio_blk") || !strings.Contains(got, "squashfs") || strings.Contains(got, "hv_") || strings.Contains(got, "ata") {
		t.Errorf("Select(virtio) = %s, want virtio_blk and squashfs, neither hv_ nor ata", got)
	}
	if _, err := k.Select(Want{Drivers: []string{"floppy"}}); err == nil || !strings.Contains(err.Error(), "virtio, virtio-blk, nvme") {
		t.Errorf("Select(floppy) = %v, want an error that lists the groups", err)
	}
}

func TestServersFindTheirRAIDController(t *testing.T) {
	module := func(fields ...string) string { return string(kerneltest.Module(fields...)) }
	k := kernelOf(t, files{"modules.builtin": rootBuiltin,
		"modules.dep": "kernel/drivers/scsi/megaraid/megaraid_sas.ko: kernel/drivers/scsi/scsi_mod.ko\nkernel/drivers/scsi/mpt3sas/mpt3sas.ko: kernel/drivers/scsi/scsi_transport_sas.ko kernel/drivers/scsi/scsi_mod.ko\n" +
			"kernel/drivers/scsi/sd_mod.ko: kernel/drivers/scsi/scsi_mod.ko\nkernel/drivers/scsi/scsi_mod.ko:\nkernel/drivers/scsi/scsi_transport_sas.ko: kernel/drivers/scsi/scsi_mod.ko\nkernel/drivers/scsi/lpfc.ko:\n",
		"modules.alias": "alias pci:v00001000d0000005Dsv*sd*bc*sc*i* megaraid_sas\nalias pci:v00001000d00000097sv*sd*bc*sc*i* mpt3sas\nalias scsi:t-0x00* sd_mod\n",
		"kernel/drivers/scsi/megaraid/megaraid_sas.ko": module("depends=scsi_mod"), "kernel/drivers/scsi/mpt3sas/mpt3sas.ko": module("depends=scsi_transport_sas,scsi_mod"),
		"kernel/drivers/scsi/sd_mod.ko": module("depends=scsi_mod"), "kernel/drivers/scsi/scsi_mod.ko": module(), "kernel/drivers/scsi/scsi_transport_sas.ko": module("depends=scsi_mod"), "kernel/drivers/scsi/lpfc.ko": module(),
	})
	sel := selected(t, k)
	for _, want := range []string{"megaraid_sas", "mpt3sas", "scsi_transport_sas", "sd_mod"} {
		if !slices.Contains(strings.Fields(sel.names()), want) {
			t.Errorf("Select() = %s, want %s in it", sel.names(), want)
		}
	}
	for _, want := range []string{"alias pci:v00001000d0000005Dsv*sd*bc*sc*i* megaraid_sas", "alias scsi:t-0x00* sd_mod"} {
		if !strings.Contains(string(sel.Alias), want) {
			t.Errorf("Select().Alias = %s, want %s: init finds the driver by it", sel.Alias, want)
		}
	}
	if len(sel.Always) != 0 || strings.Contains(sel.names(), "lpfc") {
		t.Errorf("Select() = %s, always %v, want drivers for the machines that have them, and no network storage", sel.names(), sel.Always)
	}
}

func TestNamesWithDashAndUnderscoreAreOne(t *testing.T) {
	k := kernelOf(t, files{"modules.dep": "kernel/fs/nls/nls_iso8859-1.ko:\n", "kernel/fs/nls/nls_iso8859-1.ko": string(kerneltest.Module()), "modules.builtin": rootBuiltin + "kernel/drivers/md/dm-verity.ko\n"})
	if !k.Modules.Has("nls-iso8859_1") || !k.Modules.Builtin("dm_verity") || !k.Modules.Builtin("dm-verity") {
		t.Error("Has(nls-iso8859_1), Builtin(dm_verity), Builtin(dm-verity): want all true")
	}
	if got := selected(t, k).names(); got != "nls_iso8859_1" {
		t.Errorf("Select() = %s, want nls_iso8859_1", got)
	}
}

func TestDamagedModuleIsAnError(t *testing.T) {
	f := tinyModules(t)
	whole := f["kernel/lib/b.ko.zst"]
	f["kernel/lib/b.ko.zst"] = whole[:len(whole)-5]
	if _, err := kernelOf(t, f).Select(Want{}); err == nil || !strings.Contains(err.Error(), "b.ko.zst") {
		t.Errorf("Select() with half a module = %v, want an error that names b.ko.zst", err)
	}
}

func TestCyclesInDependenciesEnd(t *testing.T) {
	f := files{"modules.builtin": rootBuiltin, "kernel/nvme.ko": string(kerneltest.Module("depends=vmd")), "kernel/vmd.ko": string(kerneltest.Module("depends=nvme", "softdep=pre: nvme"))}
	if got := selected(t, kernelOf(t, f)).names(); got != "nvme vmd" {
		t.Errorf("Select() of two modules that need each other = %s, want both", got)
	}
}

// modprobe, reading the files that depmod made, is the second opinion on what must be loaded before what.
func TestOrderIsThatOfModprobe(t *testing.T) {
	modprobe := need.Tool(t, "modprobe", "kmod")
	dir, release := depmodded(t)
	k, err := Find(os.DirFS(dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	sel := selected(t, k)
	for _, name := range []string{"squashfs", "overlay", "vfat", "dm_verity", "virtio_blk", "virtio_scsi", "hv_storvsc", "ata_piix"} {
		out, err := exec.Command(modprobe, "-d", dir, "-S", release, "--show-depends", "--ignore-install", name).Output()
		if err != nil {
			t.Fatalf("modprobe --show-depends %s: %v", name, err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); f[0] == "insmod" {
				_, rel, _ := strings.Cut(f[1], release+"/")
				want = append(want, rel)
			}
		}
		deps, err := k.Modules.hardDeps(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range append(deps, name) {
			got = append(got, plainPath(k.Modules.paths[d]))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("order of %s, -modprobe +ours:\n%s", name, d)
		}
	}
	checkOrder(t, sel)
}

// checkOrder makes sure that what a module needs stands in front of it.
func checkOrder(t *testing.T, sel *Selection) {
	t.Helper()
	for line := range strings.Lines(string(sel.Dep)) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		at := slices.Index(sel.Always, file)
		for _, dep := range strings.Fields(rest) {
			if i := slices.Index(sel.Always, dep); at >= 0 && (i < 0 || i > at) {
				t.Errorf("%s is number %d to load, what it needs, %s, is number %d", file, at, dep, i)
			}
		}
	}
}

// Debian's package as it is downloaded has none of depmod's files; installed, it has them. Both give the same initrd.
func TestDebiansModulesAreTheSameWithoutModulesDep(t *testing.T) {
	dir, release := depmodded(t)
	with, err := Find(os.DirFS(dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	bare, _ := debianKernel(t)
	without, err := Find(os.DirFS(bare), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if with.Modules.deps == nil || without.Modules.deps != nil {
		t.Fatalf("modules.dep read: %v and %v, want true and false", with.Modules.deps != nil, without.Modules.deps != nil)
	}
	a, b := selected(t, with), selected(t, without)
	for _, s := range []*Selection{a, b} {
		checkOrder(t, s)
		for _, name := range []string{"loop", "squashfs", "overlay", "vfat", "nls_cp437", "nls_ascii", "dm_verity", "virtio_blk", "hv_storvsc", "xen_blkfront", "vmw_pvscsi"} {
			if !slices.ContainsFunc(s.Modules, func(m Module) bool { return m.Name == name }) {
				t.Errorf("Select() of %s lacks %s", release, name)
			}
		}
		if always := strings.Join(s.Always, " "); strings.Contains(always, "dm-") || strings.Contains(always, "virtio") {
			t.Errorf("loaded on every machine: %s, want no dm-verity and no drivers", always)
		}
	}
	if d := cmp.Diff(a.names(), b.names()); d != "" {
		t.Errorf("modules, -with +without:\n%s", d)
	}
	if d := cmp.Diff(sortedLines(a.Alias), sortedLines(b.Alias)); d != "" {
		t.Errorf("modules.alias, -with +without:\n%s", d)
	}
}

func sortedLines(text []byte) []string {
	return slices.Sorted(strings.Lines(string(text)))
}

func TestFirmwareComesOutPlain(t *testing.T) {
	root := fstest.MapFS{
		"usr/lib/firmware/a/plain.bin":  {Data: []byte("plain")},
		"usr/lib/firmware/packed.fw.xz": {Data: xzed(t, []byte("packed"))},
		"lib/firmware/old.zst":          {Data: zst(t, []byte("old"))},
	}
	for name, want := range map[string]string{"a/plain.bin": "plain", "packed.fw": "packed", "old": "old"} {
		if got, err := ReadFirmware(root, name); err != nil || string(got) != want {
			t.Errorf("ReadFirmware(%s) = %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := ReadFirmware(root, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFirmware(none) = %v, want fs.ErrNotExist", err)
	}
}
