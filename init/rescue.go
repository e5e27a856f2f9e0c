package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
	"github.com/slotboot/slotboot/slots"
)

// failed is called when the slot cannot be used: it says so, makes the environment block name another slot, and
// reboots, so that the boot loader loads the other slot's kernel. When there is no other it asks at the console.
func (b *boot) failed(cause error) error {
	b.moveBack()
	b.m.Say("slotboot: fail slot=" + b.slot.String() + " cause=" + strconv.Quote(oneLine(cause.Error())))
	again := b.recordFailure()
	b.record("fail", cause.Error())
	b.unmountAll()
	switch {
	case again:
		return b.m.Reboot(sys.Restart)
	case b.cfg.rescue == 0:
		return b.restartElsewhere(b.slot)
	}
	return b.rescue(cause)
}

// recordFailure writes slots.Fail to the environment block and says whether the next boot will be another than this.
func (b *boot) recordFailure() bool {
	if b.found.env == nil { // the failure may be that the disk did not show up in time
		b.found.env = pick(b.devices.scan(), b.cfg).env
	}
	var before, after slots.State
	_, err := b.writeBlock(func(s slots.State) slots.State {
		if b.cfg.handedOver {
			s = slots.Agree(s, b.cfg.handover)
		}
		before, after = s, slots.Fail(s, b.slot)
		return after
	})
	if err != nil {
		b.note(err.Error())
		// The boot loader's own save makes the next boot another one: a trial counts on, and a once is over.
		return b.cfg.saved && (b.why == slots.WhyTrial || b.why == slots.WhyOnce)
	}
	// A slot that is not the default was asked for once, unless the boot loader could not load the default.
	return after != before || b.slot != before.Default && b.why != slots.WhyLastResort
}

// restartElsewhere restarts a machine that nobody is at. When failed, the slot that did not boot, is the default and the
// other one is bad, it asks for that one once: the same again would fail the same way for ever.
func (b *boot) restartElsewhere(failed slots.Slot) error {
	if next := b.elsewhere(failed); next != slots.None {
		_, err := b.writeBlock(func(s slots.State) slots.State { return slots.LastResort(s, failed) })
		if err == nil {
			b.m.Say("slotboot: restart slot=" + next.String() + " why=last-resort")
		} else {
			b.note(err.Error())
		}
		b.unmountAll()
	}
	return b.m.Reboot(sys.Restart)
}

// elsewhere returns the slot that slots.LastResort would ask for, if it holds what looks like a slot set; else None.
func (b *boot) elsewhere(failed slots.Slot) slots.Slot {
	defer b.unmountAll()
	b.found = pick(b.devices.scan(), b.cfg)
	state, err := b.readBlock()
	if err != nil || b.found.data == nil || b.mountData() != nil {
		return slots.None
	}
	if state = state.WithoutOnce(); slots.LastResort(state, failed) == state {
		return slots.None
	}
	other := failed.Other()
	for _, name := range []string{kernelName, initrdName, rootfsName} {
		info, err := os.Stat(b.m.Path(overlay.Data + "/slots/" + other.String() + "/" + name))
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return slots.None
		}
	}
	return other
}

const rescueHelp = `  status     what the environment block says, and the disks
  boot A|B   boot that slot once
  shell      a shell, if the initramfs or a slot has one
  reboot     the same again
  poweroff   switch this machine off
`

// rescue is the prompt when no slot is left. After a while without a command it restarts: whatever was missing may be
// back by then, and nobody may be near. Only a command that it knows begins the time again, so that noise on a serial
// line cannot keep the machine there; and no line of what it prints is one, for a line that echoes.
func (b *boot) rescue(cause error) error {
	b.disarmWatchdog()
	failed, seconds := b.slot, strconv.Itoa(int(b.cfg.rescue/time.Second))
	b.m.Say("slotboot: rescue seconds=" + seconds)
	b.m.Prompt("\nslotboot cannot boot: " + cause.Error() + "\n" + advice(cause) + b.outlook(failed, seconds) + rescueHelp)
	until := b.m.Uptime() + b.cfg.rescue
	for {
		b.m.Prompt("slotboot> ")
		line, ok := "", false
		if left := until - b.m.Uptime(); left > 0 {
			line, ok = b.m.ReadLine(left)
		}
		if !ok {
			b.m.Prompt("\n")
			return b.restartElsewhere(failed)
		}
		known := true
		var err error
		switch line {
		case "":
			known = false
		case "status":
			b.printStatus(cause)
		case "boot A", "boot a":
			err = b.bootAsked(slots.A)
		case "boot B", "boot b":
			err = b.bootAsked(slots.B)
		case "shell":
			err = b.shell()
		case "reboot":
			return b.m.Reboot(sys.Restart)
		case "poweroff":
			return b.m.Reboot(sys.PowerOff)
		default:
			b.m.Prompt(rescueHelp)
			known = false
		}
		if err != nil {
			b.m.Prompt(err.Error() + "\n")
		}
		if known {
			until = b.m.Uptime() + b.cfg.rescue
		}
	}
}

// outlook says what happens if nobody types a command.
func (b *boot) outlook(failed slots.Slot, seconds string) string {
	next, say := b.elsewhere(failed), ""
	if next != slots.None {
		say = " into slot " + next.String() + ", which is marked bad but may work"
	}
	return "No other good slot is left. After " + seconds + " seconds without a command this machine restarts" + say + ".\n"
}

// advice says what may be done about a cause that has the same few reasons everywhere, or nothing.
func advice(cause error) string {
	if errors.Is(cause, errNoData) {
		return "'status' lists the disks that there are. mkimage build --drivers and --module put drivers into the initrd;\n" +
			"slotboot.wait=SECONDS on the kernel command line waits longer for a slow disk.\n"
	}
	return ""
}

// bootAsked boots slot because a person says so. The kernel that runs belongs to the slot that the boot loader chose:
// that one is mounted here and now; the other is asked for with BOOT_ONCE, so that it gets its own kernel. If that
// cannot be written, it has to do with this kernel.
func (b *boot) bootAsked(slot slots.Slot) error {
	if b.cfg.handedOver && slot != b.cfg.handover.Slot {
		_, err := b.writeBlock(func(s slots.State) slots.State {
			s, _ = slots.BootOnce(s, slot, true) // forced, nothing refuses it
			return s
		})
		b.unmountAll()
		if err == nil {
			return b.m.Reboot(sys.Restart)
		}
		b.m.Prompt(err.Error() + "\nslotboot: trying slot " + slot.String() + " with this kernel\n")
	}
	b.slot, b.why, b.count, b.saved = slot, slots.WhyOnce, 0, false
	b.found = b.devices.await(b.cfg, b.mods, false, quick)
	err := b.bootSlot()
	b.moveBack()
	b.unmountAll()
	return err
}

// shell runs the shell of the initramfs, or else that of a slot in its root.
func (b *boot) shell() error {
	if err := b.m.Shell("/", "/bin/sh"); err == nil {
		return nil
	}
	defer b.unmountAll()
	b.found = b.devices.await(b.cfg, b.mods, false, quick)
	if b.found.data == nil {
		return errors.New("start shell: no data partition")
	}
	var errs []error
	for _, b.slot = range []slots.Slot{slots.A, slots.B} {
		err := b.mountRoot()
		for _, move := range overlay.Moves() {
			if err == nil {
				err = b.mount(overlay.Mount{Source: move.Source, Target: move.Target, Flags: overlay.Bind})
			}
		}
		if err == nil {
			err = b.m.Shell(overlay.NewRoot, "/bin/sh")
		}
		b.unmountAll()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (b *boot) printStatus(cause error) {
	var out strings.Builder
	out.WriteString("slot " + b.slot.String() + " (why=" + string(b.why) + "): " + cause.Error() + "\n")
	all := b.devices.scan()
	b.found = pick(all, b.cfg)
	state, err := b.readBlock()
	b.unmountAll()
	if err != nil {
		out.WriteString(err.Error() + "\n")
	} else {
		for _, v := range state.Env() {
			out.WriteString(v.Name + "=" + v.Value + "\n")
		}
	}
	for _, d := range all {
		out.WriteString(d.node + " type=" + d.fs.Type + " label=" + d.fs.Label + " uuid=" + d.fs.UUID + " partuuid=" + d.entry.UUID + "\n")
	}
	b.m.Prompt(out.String())
}
