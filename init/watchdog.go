package main

import (
	"strconv"
	"time"

	"github.com/slotboot/slotboot/slots"
)

// initWatchdog is how long init itself may take on a trial, besides waiting for the partitions.
const initWatchdog = time.Minute

// armWatchdog arms the watchdog on a trial, so that a kernel or driver that hangs under init counts as a failed boot. Its
// driver may not be there yet. What happens afterwards is in handWatchdogOver.
func (b *boot) armWatchdog() error {
	if b.watchdog != nil || b.why != slots.WhyTrial {
		return nil
	}
	w, err := b.m.ArmWatchdog(b.cfg.wait + initWatchdog)
	if err == nil {
		b.watchdog = w
	}
	return err
}

// handWatchdogOver disarms the watchdog, unless slotboot.watchdog=SECONDS says that the image's userland knows of it:
// then it stays armed, and resets the machine after that time unless userland feeds it (systemd does so with
// RuntimeWatchdogSec=) or stops it (slotctl commit does). It is off by default, because most images do neither, and
// each healthy trial would be reset.
func (b *boot) handWatchdogOver() {
	if b.cfg.watchdog > 0 {
		if err := b.armWatchdog(); err != nil {
			b.note(err.Error())
		}
	}
	if b.watchdog == nil {
		return
	}
	if b.cfg.watchdog == 0 {
		b.disarmWatchdog()
		return
	}
	timeout, err := b.watchdog.Restart(b.cfg.watchdog)
	if err != nil {
		b.note(err.Error())
		return
	}
	b.m.Say("slotboot: watchdog timeout=" + strconv.Itoa(int(timeout/time.Second)))
}

func (b *boot) disarmWatchdog() {
	if b.watchdog != nil {
		if err := b.watchdog.Disarm(); err != nil {
			b.note(err.Error())
		}
		b.watchdog = nil
	}
}
