package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/slots"
)

// verifiedSlot is one element of verify --json. Its keys are a promise.
type verifiedSlot struct {
	Slot    slots.Slot `json:"slot"`
	Version string     `json:"version"`
	Build   string     `json:"build"`
	OK      bool       `json:"ok"`
	Error   string     `json:"error,omitempty"`
}

func (a *app) verifyCommand() *cobra.Command {
	var asJSON bool
	c := command("verify [--json] [A|B]", "Compare a slot with its manifest, byte for byte", "slotctl verify B", cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			which := []slots.Slot{slots.A, slots.B}
			if len(args) == 1 {
				slot, err := slots.ParseSlot(args[0])
				if err != nil {
					return usageError{err}
				}
				which = []slots.Slot{slot}
			}
			return a.verify(cmd, which, asJSON)
		})
	c.Long = "Compare a slot with its manifest, byte for byte; without a name, each slot that\nis not empty."
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}

func (a *app) verify(cmd *cobra.Command, which []slots.Slot, asJSON bool) error {
	d, err := a.find(needs{data: true})
	if err != nil {
		return err
	}
	report, failed := []verifiedSlot{}, error(nil)
	for _, slot := range which {
		if len(which) > 1 && d.inspect(slot).State == slotEmpty {
			continue
		}
		m, err := d.verifySlot(cmd, slot)
		if errors.Is(err, errInterrupted) {
			return err
		}
		v := verifiedSlot{Slot: slot, OK: err == nil}
		if m != nil {
			v.Version, v.Build = m.Version, m.Build
		}
		if err != nil {
			v.Error = err.Error()
			failed = errors.Join(failed, fmt.Errorf("slot %s: %w", slot, err))
		} else if !asJSON {
			a.say("slot %s: %s, build %s, is intact", slot, v.Version, short(v.Build))
		}
		report = append(report, v)
	}
	if asJSON {
		return errors.Join(a.printJSON(report), failed)
	}
	if len(report) == 0 {
		a.say("both slots are empty")
	}
	return failed
}

func (d *device) verifySlot(cmd *cobra.Command, slot slots.Slot) (*bundle.Manifest, error) {
	m := d.manifest(slot)
	var total int64 = 1
	if m != nil {
		total = m.Size()
	}
	bar := d.meter("slot "+slot.String(), total)
	defer bar.done()
	whole, err := bundle.Verify(interruptible{onDisk(d.slotDir(slot)), cmd.Context()}, bar.add)
	if errors.Is(err, fs.ErrNotExist) {
		if d.inspect(slot).Size > 0 {
			return m, errHalf
		}
		return m, errEmpty
	}
	if err != nil {
		return m, err
	}
	return whole, d.checkSigned(slot)
}
