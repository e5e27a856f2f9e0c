package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/slots"
)

// statusReport is status --json. Its keys are a promise.
type statusReport struct {
	Running slots.Slot `json:"running"` // "" if not known
	slots.State
	Damage string              `json:"damage,omitempty"` // why GRUB cannot read the block
	Slots  map[string]slotInfo `json:"slots"`
}

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	c := command("status [--json]", "Show what runs, what boots next and what each slot holds", "slotctl status --json", operands(),
		func(*cobra.Command, []string) error { return a.status(asJSON) })
	c.Long = "Show what runs, what boots next and what each slot holds.\n\nExit status 10: the device fell back, and no install has answered that yet."
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}

func (a *app) status(asJSON bool) error {
	d, err := a.find(needs{env: true})
	if err != nil {
		return err
	}
	content, err := d.readEnv()
	if err != nil {
		return err
	}
	r := statusReport{Running: d.running, State: content.State, Slots: make(map[string]slotInfo)}
	for _, slot := range []slots.Slot{slots.A, slots.B} {
		r.Slots[slot.String()] = d.inspect(slot)
	}
	if content.Damage != nil {
		r.Damage = content.Damage.Error()
	}
	if asJSON {
		err = a.printJSON(r)
	} else {
		err = a.printStatus(r)
	}
	if err == nil && r.FellBack {
		return errFellBack
	}
	return err
}

func (a *app) printStatus(r statusReport) error {
	a.say("running    %s", slotName(r.Running))
	a.say("default    %s", defaultInWords(r.State))
	a.say("next boot  %s", nextInWords(r.State))
	if r.FellBack {
		a.say("fell back  from slot %s; install a new slot set to answer it", r.Default.Other())
	}
	if r.Damage != "" {
		a.say("damaged    %s; GRUB takes it for an empty one, and the next change repairs it", r.Damage)
	}
	a.say("")
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SLOT\tSTATE\tVERSION\tBUILD\tCREATED\tSIZE")
	for _, slot := range []slots.Slot{slots.A, slots.B} {
		info := r.Slots[slot.String()]
		state := info.State
		if slot == r.Bad && state != slotEmpty { // nobody falls back to an empty slot anyway
			state += ", bad"
		}
		created := info.Created
		if t, err := time.Parse(time.RFC3339, created); err == nil {
			created = t.Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", slot, state, dash(info.Version), dash(short(info.Build)), dash(created), screen.Size(info.Size))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, slot := range []slots.Slot{slots.A, slots.B} {
		if info := r.Slots[slot.String()]; info.State == slotPartial && info.Version != "" && info.Build == "" {
			a.say("\nAn install of %s into slot %s was cut: the same install goes on where it was.", info.Version, slot)
		}
	}
	return nil
}

func slotName(slot slots.Slot) string {
	if slot == slots.None {
		return "not known"
	}
	return "slot " + slot.String()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// defaultInWords says what stands behind the default slot.
func defaultInWords(s slots.State) string {
	name, other := slotName(s.Default), slotName(s.Default.Other())
	switch {
	case s.Verified:
		return name + ", committed"
	case s.Bad == s.Default && s.Bad != slots.None:
		return name + ", marked bad; the next boot falls back to " + other
	case s.Bad == s.Default.Other():
		return fmt.Sprintf("%s on trial, boot %d of %d; nothing to fall back to, %s is bad", name, s.Count, s.Limit, other)
	case s.Count == 0:
		return fmt.Sprintf("%s on trial, not booted yet, %s; falls back to %s unless committed", name, boots(s.Limit), other)
	}
	return fmt.Sprintf("%s on trial, boot %d of %d; falls back to %s unless committed", name, s.Count, s.Limit, other)
}

// nextInWords says what the next boot does if nothing else happens before it.
func nextInWords(s slots.State) string {
	next, slot, why := slots.Boot(s)
	return slotName(slot) + ", " + whyInWords(next, why)
}

func whyInWords(after slots.State, why slots.Why) string {
	switch why {
	case slots.WhyOnce:
		return "asked for once"
	case slots.WhyTrial:
		return fmt.Sprintf("on trial, boot %d of %d", after.Count, after.Limit)
	case slots.WhyFallback:
		return "fallback: the trial of slot " + after.Bad.String() + " is over"
	case slots.WhyLastResort:
		return "last resort: the trial is over, and slot " + after.Bad.String() + " is bad"
	}
	return string(why)
}

func boots(n int) string {
	if n == 1 {
		return "1 boot"
	}
	return fmt.Sprintf("%d boots", n)
}
