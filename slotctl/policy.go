package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/slots"
)

// change updates the block by one transition of the policy. It does not go on during an install, where it could name a
// half-written slot.
func (a *app) change(n needs, edit func(d *device, s slots.State) (slots.State, error)) (d *device, before, after slots.State, err error) {
	d, err = a.find(n)
	if err != nil {
		return d, before, after, err
	}
	lock, err := d.lock()
	if err != nil {
		return d, before, after, err
	}
	defer lock.Close()
	after, err = d.updateEnv(func(s slots.State) (slots.State, error) {
		before = s
		return edit(d, s)
	})
	return d, before, after, err
}

func (a *app) rollbackCommand() *cobra.Command {
	var force bool
	c := command("rollback [--force]", "Return to the other slot with the next boot", "slotctl rollback && reboot", operands(), func(*cobra.Command, []string) error {
		d, before, after, err := a.change(needs{env: true, running: true}, func(d *device, s slots.State) (slots.State, error) {
			if s.Verified && d.running != s.Default { // it stays with the default, whatever the other slot holds
				return slots.Rollback(s, d.running, force)
			}
			if err := d.holds(s.Default.Other(), "there is nothing to roll back to", true); err != nil && !force {
				return s, err
			}
			return slots.Rollback(s, d.running, force)
		})
		if err != nil {
			return err
		}
		if before == after {
			a.say("nothing to do: the next boot is %s", nextInWords(after))
			return nil
		}
		a.say("the next boot is %s", nextInWords(after))
		left := event{Event: "rollback", Slot: after.Default, Cause: "from slot " + before.Default.String() + d.versionOf(before.Default)}
		if m := d.manifest(before.Default); m != nil {
			left.From = m.Build
		}
		d.recordAlone(left)
		return nil
	})
	c.Long = "Return to the other slot with the next boot. A trial is given up; a committed\nslot hands over to a trial of the other, older slot set."
	c.Flags().BoolVar(&force, "force", false, "also to a slot that is bad or empty")
	return c
}

// holds refuses a slot that has nothing to boot from. Off the device, without --data, it cannot know.
func (d *device) holds(slot slots.Slot, so string, forced bool) error {
	what := ""
	switch d.inspect(slot).State {
	case slotEmpty:
		what = "is empty"
	case slotPartial:
		what = "holds half a slot set"
	default:
		return nil
	}
	return &slots.Refused{Reason: fmt.Sprintf("slot %s %s: %s", slot, what, so), Hint: "slotctl install SRC fills it", Forced: forced}
}

// slotCommand is a command that takes one slot and says how things stand afterwards.
func (a *app) slotCommand(name, short, long string, edit func(d *device, s slots.State, slot slots.Slot) (slots.State, error), said string) *cobra.Command {
	c := command(name+" A|B", short, "slotctl "+name+" B", operands("A|B"), func(_ *cobra.Command, args []string) error {
		slot, err := slots.ParseSlot(args[0])
		if err != nil {
			return usageError{err}
		}
		d, before, after, err := a.change(needs{env: true}, func(d *device, s slots.State) (slots.State, error) { return edit(d, s, slot) })
		if err != nil {
			return err
		}
		a.say(said+"; the next boot is %s", slot, nextInWords(after))
		if before != after {
			d.recordAlone(event{Event: name, Slot: slot})
		}
		return nil
	})
	c.Long = long
	return c
}

func (a *app) markBadCommand() *cobra.Command {
	return a.slotCommand("mark-bad", "Never fall back to a slot",
		"Never fall back to a slot. From a default slot that is bad, the next boot falls\nback.",
		func(_ *device, s slots.State, slot slots.Slot) (slots.State, error) { return slots.MarkBad(s, slot) }, "slot %s is bad")
}

func (a *app) markGoodCommand() *cobra.Command {
	return a.slotCommand("mark-good", "Allow falling back to a slot again",
		"Allow falling back to a slot again. It does not commit it.",
		func(d *device, s slots.State, slot slots.Slot) (slots.State, error) {
			return slots.MarkGood(s, slot), d.holds(slot, "there is nothing to fall back to", false)
		}, "slot %s is not bad")
}

func (a *app) bootOnceCommand() *cobra.Command {
	return a.slotCommand("boot-once", "Boot a slot once, whatever the default is",
		"Boot a slot once, whatever the default is. slotctl commit, run from it, makes it\nthe default.",
		func(d *device, s slots.State, slot slots.Slot) (slots.State, error) {
			if err := d.holds(slot, "there is nothing to boot", false); err != nil {
				return s, err
			}
			return slots.BootOnce(s, slot, false)
		}, "slot %s boots once")
}

// stateOf says in a few words what an install left.
func stateOf(target slots.Slot, text string) string {
	return fmt.Sprintf("(slot %s %s, slot %s untouched)", target, text, target.Other())
}
