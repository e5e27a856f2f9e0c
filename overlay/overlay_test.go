package overlay

import (
	"strings"
	"testing"
)

func TestThePlanPutsTheSquashfsBelowAndAMemoryLayerAbove(t *testing.T) {
	var got []string
	for _, m := range Plan("/dev/loop0", DefaultOptions()) {
		got = append(got, m.String()+" "+m.Data)
	}
	want := []string{
		"mount squashfs /dev/loop0 on /run/slotboot/rootfs ",
		"mount tmpfs tmpfs on /run/slotboot/overlay size=50%,mode=0755",
		"mount overlay overlay on /sysroot lowerdir=/run/slotboot/rootfs,upperdir=/run/slotboot/overlay/upper,workdir=/run/slotboot/overlay/work",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Plan(/dev/loop0) =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if Plan("/dev/loop0", DefaultOptions())[0].Flags&ReadOnly == 0 {
		t.Error("Plan mounts the squashfs read-write")
	}
}

func TestRunIsExecutableBecauseSystemdLooksForShutdownThere(t *testing.T) {
	for _, m := range Early() {
		if m.Target == "/run" && (m.Flags&NoExec != 0 || m.Data != "mode=0755") {
			t.Errorf("Early mounts /run with %+v", m)
		}
	}
}

func TestEveryEarlyMountMovesAlong(t *testing.T) {
	moved := map[string]string{}
	for _, m := range Moves() {
		if m.Flags != Move {
			t.Errorf("%v is no move", m)
		}
		moved[m.Source] = m.Target
	}
	for _, m := range Early() {
		if got, want := moved[m.Target], NewRoot+m.Target; got != want {
			t.Errorf("%s moves to %q, want %q", m.Target, got, want)
		}
	}
}

func TestNonsenseInOverlayOptionsKeepsTheDefaultAndIsNamed(t *testing.T) {
	for _, tc := range []struct{ text, want, named string }{
		{"", "size=50%,mode=0755", ""},
		{"size=25%", "size=25%,mode=0755", ""},
		{"size=200m,mode=0700,nr_inodes=100k", "size=200m,mode=0700,nr_inodes=100k", ""},
		{"size=1,size=2G", "size=2G,mode=0755", ""},
		{",,size=9%,", "size=9%,mode=0755", ""},
		{"mode=755", "size=50%,mode=755", ""},
		{"size=0", "size=50%,mode=0755", "size=0"},
		{"size=00%", "size=50%,mode=0755", "size=00%"},
		{"size=", "size=50%,mode=0755", "size="},
		{"size=%", "size=50%,mode=0755", "size=%"},
		{"size=-1", "size=50%,mode=0755", "size=-1"},
		{"size=1e9", "size=50%,mode=0755", "size=1e9"},
		{"size=99999999999999999999g", "size=50%,mode=0755", "size=99999999999999999999g"},
		{"mode=0899", "size=50%,mode=0755", "mode=0899"},
		{"mode=rwx", "size=50%,mode=0755", "mode=rwx"},
		{"nr_inodes=5%", "size=50%,mode=0755", "nr_inodes=5%"},
		{"off,mode=0711", "size=50%,mode=0711", "off"},
		{"uid=5,size=1m", "size=1m,mode=0755", "uid=5"},
	} {
		got, err := ParseOptions(tc.text)
		if got.String() != tc.want {
			t.Errorf("ParseOptions(%q) = %v, want %s", tc.text, got, tc.want)
		}
		if (err != nil) != (tc.named != "") || err != nil && !strings.HasSuffix(err.Error(), ": "+tc.named) {
			t.Errorf("ParseOptions(%q) error = %v, want it to name %q", tc.text, err, tc.named)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("size=50%,mode=0755")
	f.Add("size=,mode==,=")
	f.Fuzz(func(t *testing.T, text string) {
		o, _ := ParseOptions(text)
		if s := o.String(); strings.ContainsAny(s, " \n\x00") || !strings.HasPrefix(s, "size=") {
			t.Errorf("ParseOptions(%q) = %q", text, s)
		}
	})
}
