package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/slots"
)

func TestTheHandOverIsReadFromTheCommandLine(t *testing.T) {
	c := parseCmdline(`BOOT_IMAGE=(hd0,gpt2)/slots/B/vmlinuz console=ttyS0 slotboot.slot=B slotboot.count=2 slotboot.limit=5 ` +
		`slotboot.why=trial slotboot.saved=y slotboot.data=UUID=ABCD slotboot.env=LABEL=E:SP:/grub/env panic=10 quiet`)
	if want := (slots.Handover{Slot: slots.B, Why: slots.WhyTrial, Count: 2}); !c.handedOver || c.handover != want || !c.saved || c.limit != 5 {
		t.Errorf("handover = %+v saved %t limit %d, want %+v", c.handover, c.saved, c.limit, want)
	}
	if c.data != (source{"UUID", "abcd"}) || c.env != (source{"LABEL", "E:SP"}) || c.envPath != "/grub/env" {
		t.Errorf("data = %v, env = %v path %s", c.data, c.env, c.envPath)
	}
	if len(c.notes) > 0 {
		t.Errorf("notes %q", c.notes)
	}
}

func TestDoubledAndAbsurdArgumentsAreDefinedAndNeverStopABoot(t *testing.T) {
	for _, tc := range []struct {
		cmdline string
		got     func(config) any
		want    any
		noted   int
	}{
		{"slotboot.slot=A slotboot.why=trial slotboot.slot=B", func(c config) any { return c.handover.Slot }, slots.A, 1},
		{"slotboot.slot=A slotboot.why=trial slotboot.slot=C", func(c config) any { return c.handedOver }, true, 1},
		{"slotboot.why=trial slotboot.slot=A slotboot.why=committed", func(c config) any { return c.handover.Why }, slots.WhyTrial, 1},
		{"slotboot.slot=", func(c config) any { return c.handedOver }, false, 1},
		{"slotboot.slot", func(c config) any { return c.handedOver }, false, 1},
		{"slotboot.slot=B", func(c config) any { return c.handover.Why }, slots.WhyOnce, 1},
		{"slotboot.slot=B slotboot.why=whim", func(c config) any { return c.handover.Why }, slots.WhyOnce, 1},
		{"slotboot.slot=B slotboot.why=fallback", func(c config) any { return c.fellBack }, true, 0},
		{"slotboot.fellback", func(c config) any { return c.fellBack }, true, 0},
		{"slotboot.count=2 slotboot.count=99", func(c config) any { return c.handover.Count }, 2, 1},
		{"slotboot.count=-1", func(c config) any { return c.handover.Count }, 0, 1},
		{"slotboot.count=99999999999999999999", func(c config) any { return c.handover.Count }, 0, 1},
		{"slotboot.limit=0", func(c config) any { return c.limit }, 0, 1},
		{"slotboot.limit=11", func(c config) any { return c.limit }, 0, 1},
		{"slotboot.saved=maybe", func(c config) any { return c.saved }, false, 1},
		{"slotboot.wait=5 slotboot.wait=0", func(c config) any { return c.wait }, time.Duration(0), 0},
		{"slotboot.wait=1h", func(c config) any { return c.wait }, defaultWait, 1},
		{"slotboot.wait=999999999", func(c config) any { return c.wait }, defaultWait, 1},
		{"slotboot.rescue=-5", func(c config) any { return c.rescue }, defaultRescue, 1},
		{"slotboot.overlay=size=banana", func(c config) any { return c.overlay.Size }, "50%", 1},
		{"slotboot.data=", func(c config) any { return c.data }, source{}, 1},
		{"slotboot.data=/dev/", func(c config) any { return c.data }, source{}, 1},
		{"slotboot.data=vda2", func(c config) any { return c.data }, source{}, 1},
		{"slotboot.data=/dev/vda2", func(c config) any { return c.data }, source{"path", "/dev/vda2"}, 0},
		{"slotboot.env=/dev/vda1:/a/../../etc/x", func(c config) any { return c.envPath }, defaultEnvPath, 1},
		{"slotboot.env=PARTUUID=x", func(c config) any { return c.envPath }, defaultEnvPath, 0},
		{"slotboot.env=:/x", func(c config) any { return c.env }, source{}, 1},
		{`slotboot.data="LABEL=my data"`, func(c config) any { return c.data }, source{"LABEL", "my data"}, 0},
		{`"slotboot.data=LABEL=my data"`, func(c config) any { return c.data }, source{"LABEL", "my data"}, 0},
		{"slotboot.", func(c config) any { return c.handedOver }, false, 1},
		{"slotboot.colour=red", func(c config) any { return c.handedOver }, false, 1},
		{"-- slotboot.slot=B", func(c config) any { return c.handedOver }, false, 0},
		{"init=/bin/a init=/bin/b", func(c config) any { return c.init }, "/bin/b", 0},
		{"init=", func(c config) any { return c.init }, "", 0},
		{"virtio-blk.queues=2 virtio_blk.x", func(c config) any { return c.moduleParams["virtio_blk"] }, "queues=2 x", 0},
		{"modprobe.blacklist=a-b,c", func(c config) any { return fmt.Sprint(c.blacklist["a_b"], c.blacklist["c"]) }, "true true", 0},
	} {
		c := parseCmdline(tc.cmdline)
		if got := tc.got(c); got != tc.want {
			t.Errorf("parseCmdline(%q) gives %v, want %v", tc.cmdline, got, tc.want)
		}
		if len(c.notes) != tc.noted {
			t.Errorf("parseCmdline(%q) notes %q, want %d notes", tc.cmdline, c.notes, tc.noted)
		}
	}
}

func FuzzParseCmdline(f *testing.F) {
	f.Add(`a "b c" slotboot.slot=A slotboot.env=LABEL="x y":/z --`)
	f.Add("\"\"\"=\"= \x00 slotboot.count=\xff")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseCmdline(text)
		if c.handedOver != (c.handover.Slot != slots.None) || c.wait < 0 || c.wait > longest || c.handover.Count > slots.MaxLimit {
			t.Errorf("parseCmdline(%q) = %+v", text, c)
		}
		for _, note := range c.notes {
			if strings.ContainsAny(oneLine(note), "\n\r") || len(oneLine(note)) > 600 {
				t.Errorf("note %q is not one line", note)
			}
		}
	})
}
