package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
	"github.com/slotboot/slotboot/slots"
)

var errNoData = errors.New("find data partition")

// boot is one boot, from the first mount to the image's init.
type boot struct {
	m     sys.Machine
	files durable.FS // through which everything durable is written
	args  []string   // the arguments and the environment that the kernel gave, for the image's init
	env   []string

	cfg     config
	mods    *modules
	devices devices
	found   found

	slot  slots.Slot
	why   slots.Why
	count int
	limit int
	saved bool // the environment block says what this boot does
	block slots.State
	read  bool // block is what the environment block said

	manifest manifest
	times    []string // "modules=12ms": how long each part took, for the log
	last     time.Duration
	mounted  []string // by this boot, for taking back
	moved    bool     // the mounts are in the new root
	watchdog sys.Watchdog
}

// lap notes how long a part of the boot has taken.
func (b *boot) lap(part string) {
	now := b.m.Uptime()
	b.times = append(b.times, part+"="+strconv.FormatInt((now-b.last).Milliseconds(), 10)+"ms")
	b.last = now
}

func newBoot(m sys.Machine, args, env []string) *boot {
	return &boot{m: m, files: durable.OS{}, args: args, env: env, devices: devices{m: m}}
}

// run boots. It returns only if the machine neither runs another program nor reboots.
func (b *boot) run() {
	err := b.try(b.prepare)
	if err == nil {
		err = b.try(b.enter)
	}
	if err := b.try(func() error { return b.failed(err) }); err != nil {
		b.m.Say("slotboot: reboot: " + err.Error())
	}
	b.m.Reboot(sys.Restart)
}

// try turns a panic of this program into an error: in process 1 it would stop the machine, where a failed boot falls
// back.
func (b *boot) try(step func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error: %v", r)
		}
	}()
	return step()
}

// prepare does what comes before any slot is looked at.
func (b *boot) prepare() error {
	b.last = b.m.Uptime()
	var errs []error
	for _, m := range overlay.Early() {
		if err := b.m.Mount(m); err != nil && !errors.Is(err, unix.EBUSY) { // mounted by the kernel
			errs = append(errs, err)
		}
	}
	if err := b.m.AdoptConsole(); err != nil {
		b.note(err.Error())
	}
	cmdline, err := os.ReadFile(b.m.Path("/proc/cmdline"))
	if err != nil {
		errs = append(errs, err)
	}
	b.cfg = parseCmdline(string(cmdline))
	for _, note := range b.cfg.notes {
		b.note(note)
	}
	b.limit = b.cfg.limit
	if b.limit == 0 {
		b.limit = slots.DefaultLimit
	}
	if b.cfg.handedOver {
		h := b.cfg.handover
		b.slot, b.why, b.count, b.saved = h.Slot, h.Why, h.Count, b.cfg.saved
	}
	b.mods = newModules(b.m, b.cfg, b.note)
	b.lap("start")
	b.mods.always()
	b.lap("modules")
	b.armWatchdog()
	return errors.Join(errs...)
}

// enter boots a slot: it ends in the image's init, or in an error.
func (b *boot) enter() error {
	needEnv := !b.cfg.handedOver || b.cfg.handover.Why != slots.WhyCommitted && b.cfg.handover.Why != slots.WhyLastResort
	b.found = b.devices.await(b.cfg, b.mods, needEnv, b.firstDrivers)
	b.lap("partitions")
	for _, doubt := range b.found.doubts {
		b.note(doubt)
	}
	b.growLast()
	if needEnv {
		if err := b.decide(); err != nil {
			b.note(b.blockAdvice(err)) // the slot boots all the same
		}
	}
	b.lap("block")
	b.armWatchdog()
	return b.bootSlot()
}

// firstDrivers says which drivers are loaded before there is a data partition to look for.
func (b *boot) firstDrivers(name string) bool {
	return quick(name) || watchdogs(name) && (b.why == slots.WhyTrial || !b.cfg.handedOver)
}

// bootSlot goes on with the slot that is decided.
func (b *boot) bootSlot() error {
	if b.found.data == nil {
		want := b.cfg.data
		if want.kind == "" {
			want = source{"LABEL", "slotboot"}
		}
		return fmt.Errorf("%w %v: nothing after %v: is the disk there, its driver in the initrd, slotboot.data= right?", errNoData, want, b.cfg.wait)
	}
	if err := b.mountRoot(); err != nil {
		b.unmountAll()
		return err
	}
	init, err := b.findInit()
	if err != nil {
		b.unmountAll()
		return err
	}
	b.lap("root")
	b.keepMachineID()
	if b.why != slots.WhyCommitted && b.why != slots.WhyLastResort { // the steady state writes nothing
		b.record("boot", "")
	}
	b.installShutdown()
	b.bringVfat()
	b.keepMounted()
	b.writeReport()
	b.mods.settle() // the program that init becomes must not wait for a thread of this one
	b.lap("report")
	b.m.Note("slotboot: times " + strings.Join(b.times, " "))
	b.m.Say(b.line())
	b.handWatchdogOver()
	if err := b.move(); err != nil {
		b.unmountAll()
		return err
	}
	b.startRecorder()
	return b.m.SwitchRoot(overlay.NewRoot, init, b.args, b.env)
}

// line is the one that says on the console what boots.
func (b *boot) line() string {
	saved := "n"
	if b.saved {
		saved = "y"
	}
	return "slotboot: boot slot=" + b.slot.String() + " why=" + string(b.why) + " count=" + strconv.Itoa(b.count) +
		" limit=" + strconv.Itoa(b.limit) + " saved=" + saved
}

// move takes /dev, /proc, /sys and /run along. If one does not go, those that went come back.
func (b *boot) move() error {
	moves := overlay.Moves()
	for i, m := range moves {
		err := b.m.Mount(m)
		if err == nil {
			continue
		}
		for ; i > 0; i-- {
			b.m.Mount(overlay.Mount{Source: moves[i-1].Target, Target: moves[i-1].Source, Flags: overlay.Move})
		}
		return err
	}
	b.moved = true
	return nil
}

// moveBack makes /dev and the others usable again after a switch_root that did not come about. If it came half about
// they are in place already, and the moves do nothing.
func (b *boot) moveBack() {
	if !b.moved {
		return
	}
	b.moved = false
	for _, m := range overlay.Moves() {
		b.m.Mount(overlay.Mount{Source: m.Target, Target: m.Source, Flags: overlay.Move})
	}
}

func (b *boot) mount(m overlay.Mount) error {
	if m.Type != "" {
		b.mods.filesystem(m.Type)
	}
	if err := b.m.Mount(m); err != nil {
		return err
	}
	b.mounted = append(b.mounted, m.Target)
	return nil
}

// unmountAll takes back what mount did, so that the file systems are clean when the machine reboots, or another slot can
// be tried.
func (b *boot) unmountAll() {
	for i := len(b.mounted) - 1; i >= 0; i-- {
		if err := b.m.Unmount(b.mounted[i]); err != nil {
			b.note(err.Error())
		}
	}
	b.mounted = nil
}

func (b *boot) note(text string) { b.m.Note("slotboot: note " + oneLine(text)) }

// oneLine keeps a message one line of the kernel's log, which cuts at about 1000 bytes.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > 600 {
		text = text[:600]
	}
	return text
}
