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
	Signed  string     `json:"signed_by,omitempty"` // the key's id, where there are keys
	Error   string     `json:"error,omitempty"`
}

func (a *app) verifyCommand() *cobra.Command {
	var asJSON bool
	var keys string
	c := command("verify [--json] [A|B]", "Compare a slot with its manifest, byte for byte", "slotctl verify B", operands("[A|B]"),
		func(cmd *cobra.Command, args []string) error {
			which := []slots.Slot{slots.A, slots.B}
			if len(args) == 1 {
				slot, err := slots.ParseSlot(args[0])
				if err != nil {
					return usageError{err}
				}
				which = []slots.Slot{slot}
			}
			return a.verify(cmd, which, keys, asJSON)
		})
	c.Long = "Compare a slot with its manifest, byte for byte; without a name, each slot that\nis not empty. Where there are keys, the manifest must be signed by one of them."
	c.Flags().StringVar(&keys, "keys", "", "off the device: the `DIR` with the public keys")
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}

func (a *app) verify(cmd *cobra.Command, which []slots.Slot, keysDir string, asJSON bool) error {
	d, err := a.find(needs{data: true})
	if err != nil {
		return err
	}
	keys, err := d.readKeys(keysDir)
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
		var signed string
		if err == nil {
			signed, err = d.checkSigned(slot, keys)
		}
		v := verifiedSlot{Slot: slot, OK: err == nil, Signed: signed}
		if m != nil {
			v.Version, v.Build = m.Version, m.Build
		}
		if err != nil {
			v.Error = err.Error()
			failed = errors.Join(failed, fmt.Errorf("slot %s: %w", slot, err))
		} else if !asJSON {
			a.say("slot %s: %s, build %s, is intact%s", slot, v.Version, short(v.Build), signedBy(signed))
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
	defer bar.Done()
	whole, err := bundle.Verify(interruptible{onDisk(d.slotDir(slot)), cmd.Context()}, bar.Add)
	if errors.Is(err, fs.ErrNotExist) {
		if d.inspect(slot).Size > 0 {
			return m, errHalf
		}
		return m, errEmpty
	}
	if err != nil {
		return m, err
	}
	return whole, nil
}

func signedBy(key string) string {
	if key == "" {
		return ""
	}
	return ", signed by key " + key
}
