package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/sys/systest"
)

func newModuleRig(t *testing.T, tables map[string]string, files ...string) (*systest.Machine, *modules, *[]string) {
	m := systest.New(t)
	for name, text := range tables {
		m.Write("/lib/modules/6.1.0-test/"+name, text)
	}
	for _, file := range files {
		m.Write("/lib/modules/6.1.0-test/"+file, "")
	}
	notes := new([]string)
	return m, newModules(m, parseCmdline("loop.max_loop=8 modprobe.blacklist=evil"), func(n string) { *notes = append(*notes, n) }), notes
}

func loaded(m *systest.Machine) string {
	return strings.ReplaceAll(strings.Join(m.Calls, " "), "load ", "")
}

func TestModulesLoadInTheListedOrderAndAMissingOneIsOnlyNoted(t *testing.T) {
	m, mods, notes := newModuleRig(t, nil, "kernel/b.ko", "kernel/loop.ko")
	m.Write(alwaysFile, "# first\nkernel/b.ko\n\nkernel/gone.ko\n  kernel/loop.ko  \nkernel/b.ko")
	mods.always()
	mods.settle()
	if got := loaded(m); got != "b.ko gone.ko loop.ko max_loop=8" || len(*notes) != 1 {
		t.Errorf("loaded %q, noted %q", got, *notes)
	}
}

func TestDependenciesAndSoftDependenciesLoadFirst(t *testing.T) {
	tables := map[string]string{
		"modules.dep":     "kernel/top.ko: kernel/mid-dle.ko kernel/low.ko\nkernel/mid-dle.ko: kernel/low.ko\nkernel/low.ko:\nkernel/soft.ko:\nkernel/bare.ko:\nkernel/after.ko:\n",
		"modules.softdep": "# soft\nsoftdep top pre: soft post: after\nsoftdep low bare\nsoftdep soft pre: top\n",
		"modules.alias":   "alias pci:v1* top\nalias pci:v2* evil\nalias fs-xfs soft\nshort line\n",
	}
	m, mods, notes := newModuleRig(t, tables, "kernel/top.ko", "kernel/mid-dle.ko", "kernel/low.ko", "kernel/soft.ko", "kernel/bare.ko", "kernel/after.ko")
	m.Write("/sys/bus/pci/devices/a/modalias", "pci:v1d5\n")
	m.Write("/sys/bus/pci/devices/b/modalias", "pci:v2d5\n")
	mods.coldplug(anyDriver)
	mods.coldplug(anyDriver)
	if got, want := loaded(m), "soft.ko bare.ko low.ko mid-dle.ko top.ko"; got != want || len(*notes) > 0 {
		t.Errorf("loaded %q, want %q, noted %q", got, want, *notes)
	}
}

func TestAFileSystemThatTheKernelLacksIsLoadedByItsAlias(t *testing.T) {
	m, mods, _ := newModuleRig(t, map[string]string{
		"modules.dep":   "kernel/xfs.ko:\nkernel/f2fs.ko:\n",
		"modules.alias": "alias fs-xfs xfs\n",
	}, "kernel/xfs.ko", "kernel/f2fs.ko")
	mods.filesystem("ext4") // the kernel has it
	mods.filesystem("xfs")
	mods.filesystem("f2fs") // no alias: by its name
	if got := loaded(m); got != "xfs.ko f2fs.ko" {
		t.Errorf("loaded %q", got)
	}
}

func TestSoftDependenciesThatGoInACircleEnd(t *testing.T) {
	m, mods, _ := newModuleRig(t, map[string]string{
		"modules.dep":     "kernel/a.ko:\nkernel/b.ko:\n",
		"modules.softdep": "softdep a pre: b\nsoftdep b pre: a\n",
	}, "kernel/a.ko", "kernel/b.ko")
	mods.byName("a")
	if got := loaded(m); strings.Count(got, "a.ko") != 1 || strings.Count(got, "b.ko") != 1 {
		t.Errorf("loaded %q", got)
	}
}

func TestAliasesMatchAsFnmatchDoes(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"virtio:d00000002v*", "virtio:d00000002v00001AF4", true},
		{"virtio:d00000002v*", "virtio:d00000001v00001AF4", false},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i02", false},
		{"usb:v0781p55[7-9]1d*", "usb:v0781p5581d0100", true},
		{"usb:v0781p55[7-9]1d*", "usb:v0781p55A1d0100", false},
		{"of:N*T*Cbrcm,bcm2711/x", "of:Na/bTc/dCbrcm,bcm2711/x", true},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"*", "", true}, {"", "", true}, {"", "a", false},
		{"[", "[", false}, {"a[b", "ab", false}, {"***x", "yyx", true}, {"[ab]", "", false},
	} {
		if got := matchAlias(tc.pattern, tc.name); got != tc.want {
			t.Errorf("matchAlias(%q, %q) = %t, want %t", tc.pattern, tc.name, got, tc.want)
		}
	}
}

func TestADuplicateOnAnotherDiskLosesToThePairOnOneDisk(t *testing.T) {
	esp := systest.Partition{PartUUID: espGUID, ESP: true, Type: "vfat", UUID: "abcd1234"}
	data := systest.Partition{PartUUID: dataGUID, Type: "ext4", Label: "slotboot"}
	m := systest.New(t)
	m.AddDisk("sda", data)
	m.AddDisk("sdb", esp, data)
	m.AddDisk("sdc", esp)
	m.Write("/sys/class/block/sr0/size", "8\n")
	for _, cmdline := range []string{where, ""} {
		f := pick((&devices{m: m}).scan(), parseCmdline(cmdline))
		if f.data == nil || f.env == nil || f.data.node != "/dev/sdb2" || f.env.node != "/dev/sdb1" {
			t.Errorf("pick(%q) = data %v, env %v, want sdb2 and sdb1", cmdline, f.data, f.env)
		}
		if len(f.doubts) == 0 {
			t.Errorf("pick(%q) has no doubts", cmdline)
		}
	}
}

func TestAPartitionIsFoundByEveryNameItHas(t *testing.T) {
	m := systest.New(t)
	m.AddDisk("nvme0n1", systest.Partition{PartUUID: espGUID, ESP: true, Type: "vfat", UUID: "abcd1234", Label: "ESP"},
		systest.Partition{PartUUID: dataGUID, Type: "ext4", UUID: "33333333-3333-3333-3333-333333333333", Label: "My Data"})
	all := (&devices{m: m}).scan()
	for arg, want := range map[string]string{
		"PARTUUID=" + strings.ToUpper(dataGUID):     "/dev/nvme0n12",
		"UUID=33333333-3333-3333-3333-333333333333": "/dev/nvme0n12",
		"UUID=ABCD-1234":      "/dev/nvme0n11",
		`"LABEL=My Data"`:     "/dev/nvme0n12",
		"LABEL=ESP":           "/dev/nvme0n11",
		"/dev/nvme0n12":       "/dev/nvme0n12",
		"LABEL=my data":       "",
		"PARTUUID=1234abcd-1": "",
	} {
		arg = strings.Replace(`slotboot.data=`+arg, `="`, `=`, 1)
		if strings.Contains(arg, " ") {
			arg = `"` + strings.TrimSuffix(arg, `"`) + `"`
		}
		got := ""
		if f := pick(all, parseCmdline(arg)); f.data != nil {
			got = f.data.node
		}
		if got != want {
			t.Errorf("%s finds %q, want %q", arg, got, want)
		}
	}
}

func TestTheManifestIsReadAsEncodingJSONReadsIt(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, ` [1, -2.5e+3 , "x" ] `, `{"a":{"b":[{},[],null,true,false]}}`, `"\u00e9\ud83d\ude00\\\"\/\b\f\n\r\t"`, `"é😀"`,
		``, `{`, `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `"`, `"\x"`, `"\u12"`, "\"\n\"", `nul`, `truefalse`, `1 2`, `[1 2]`, `{"a":1 "b":2}`, `{,}`, `[,]`,
	} {
		var want any
		wantErr := json.Unmarshal([]byte(text), &want)
		got, err := parseJSON([]byte(text))
		if (err != nil) != (wantErr != nil) {
			t.Errorf("parseJSON(%q) error = %v, encoding/json says %v", text, err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(plain(got), want) {
			t.Errorf("parseJSON(%q) = %v, want %v", text, got, want)
		}
	}
	if _, err := parseJSON([]byte(strings.Repeat("[", 100000))); err == nil {
		t.Error("parseJSON takes 100,000 brackets")
	}
	if _, err := parseJSON([]byte(`{"a":1,"a":2}`)); err == nil {
		t.Error("parseJSON takes one name twice")
	}
}

// plain turns numbers into what encoding/json has.
func plain(value any) any {
	switch v := value.(type) {
	case number:
		var f float64
		json.Unmarshal([]byte(v), &f)
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return value
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(manifestText("A", 5, `,"verity":{"root_hash":"`+strings.Repeat("0", 64)+`","data_blocks":1}`)))
	f.Add([]byte(`{"format":1,"payloads":[{"name":"rootfs.squashfs","size":-1,"verity":[]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err == nil && !json.Valid(text) && !strings.ContainsAny(string(text), "0123456789") { // numbers are not checked in full
			t.Errorf("parseManifest(%q) = %+v", text, m)
		}
		var back string
		if quoted := quoteJSON(m.version); json.Unmarshal([]byte(quoted), &back) != nil || back != strings.ToValidUTF8(m.version, "\ufffd") && len(back) == 0 {
			t.Errorf("quoteJSON(%q) = %s", m.version, quoted)
		}
	})
}

func TestTheMachineIDIsKeptAndMadeOnTheFirstBoot(t *testing.T) {
	kept, made := strings.Repeat("7", 32), "000102030405460788090a0b0c0d0e0f"
	for _, tc := range []struct {
		name, state, image string // - is no file
		want               string
		writes             bool
	}{
		{"kept", kept + "\n", "", kept, false},
		{"kept, image without the file", kept + "\n", "-", kept, false},
		{"kept, image uninitialized", kept + "\n", "uninitialized\n", kept, false},
		{"image has its own", kept + "\n", "imageid\n", "imageid", false},
		{"first boot", "-", "", made, true},
		{"damaged", "123\n", "", made, true},
		{"all zero", strings.Repeat("0", 32), "", made, true},
	} {
		r := newRig(t, committedA)
		root, _, _ := strings.Cut(mustRead(t, r.slot("A")+"/rootfs.squashfs"), "\n")
		for path, text := range map[string]string{r.data + "/state/machine-id": tc.state, root + "/etc/machine-id": tc.image} {
			r.put(path, text)
			if text == "-" {
				os.Remove(path)
			}
		}
		r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
		r.wantLast("exec /sbin/init")
		if got := strings.TrimSpace(mustRead(t, root+"/etc/machine-id")); got != tc.want {
			t.Errorf("%s: the image's id is %q, want %q", tc.name, got, tc.want)
		}
		if r.Did("remount /run/slotboot/data read-write") != tc.writes {
			t.Errorf("%s: calls:\n%s", tc.name, strings.Join(r.Calls, "\n"))
		}
		if got := strings.TrimSpace(mustRead(t, r.data+"/state/machine-id")); tc.writes && got != tc.want {
			t.Errorf("%s: kept id %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestAMachineIDThatCannotBeKeptLastsForTheBoot(t *testing.T) {
	r := newRig(t, committedA)
	os.RemoveAll(r.data + "/state")
	r.Fail = failing("remount", os.ErrPermission)
	r.boot("slotboot.slot=A slotboot.why=committed slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
	root, _, _ := strings.Cut(mustRead(t, r.slot("A")+"/rootfs.squashfs"), "\n")
	if got := strings.TrimSpace(mustRead(t, root+"/etc/machine-id")); !isMachineID(got) {
		t.Errorf("id %q", got)
	}
	if !strings.Contains(strings.Join(r.Noted, "\n"), "keep machine id") {
		t.Errorf("noted %q", r.Noted)
	}
}
