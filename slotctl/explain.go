package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/slots"
)

// explanation is explain --json. Its keys are a promise.
type explanation struct {
	Summary   string   `json:"summary"`
	FellBack  bool     `json:"fell_back"`
	Recorded  bool     `json:"recorded"`             // there is a record; else the summary is all that the block tells
	Events    []event  `json:"events"`               // the oldest first
	LastWords []string `json:"last_words,omitempty"` // of a kernel that crashed, where the firmware has kept them
}

func (a *app) explainCommand() *cobra.Command {
	var asJSON bool
	var last int
	c := command("explain [--json] [--last N]", "Say what happened in the last boots, and why it fell back", "slotctl explain", operands(),
		func(*cobra.Command, []string) error { return a.explain(last, asJSON) })
	c.Long = "Say what happened in the last boots, and why the device fell back if it did. Boots\nof a committed slot leave no trace: nothing is written then."
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	c.Flags().IntVar(&last, "last", 20, "how many `N` events to show")
	return c
}

func (a *app) explain(last int, asJSON bool) error {
	if last < 1 {
		return usagef("--last %d: want 1 or more", last)
	}
	d, err := a.find(needs{env: true, data: true})
	if err != nil {
		return err
	}
	content, err := d.readEnv()
	if err != nil {
		return err
	}
	events, err := d.readRecord()
	if err != nil {
		return err
	}
	x := explanation{Summary: summary(content.State, events), FellBack: content.State.FellBack, Recorded: len(events) > 0, Events: append([]event{}, events[max(0, len(events)-last):]...)}
	if d.boot != nil {
		x.LastWords = lastWords(d.pstore)
	}
	if asJSON {
		return a.printJSON(x)
	}
	a.say("%s", x.Summary)
	if len(x.Events) > 0 {
		a.say("")
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, e := range x.Events {
		fmt.Fprintf(w, "%s\tslot %s\t%s\t%s\n", e.when(), e.Slot, dash(e.Version), e.inWords())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for n, line := range x.LastWords {
		if n == 0 {
			a.say("\nThe last words of a kernel that crashed:")
		}
		a.say("  %s", line)
	}
	return nil
}

// clockSet is the time before which a device does not know the time.
var clockSet = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

func (e *event) when() string {
	if e.Time < clockSet {
		return "clock not set   "
	}
	return time.Unix(e.Time, 0).UTC().Format("2006-01-02 15:04")
}

func (e *event) inWords() string {
	switch e.Event {
	case "boot":
		switch e.Why {
		case slots.WhyTrial:
			return fmt.Sprintf("booted, on trial, boot %d of %d", e.Count, e.Limit)
		case slots.WhyOnce:
			return "booted, asked for once"
		case slots.WhyFallback:
			return "booted: fallback, the trial of slot " + e.Slot.Other().String() + " was over"
		}
		return "booted, " + string(e.Why)
	case "fail":
		return "could not be booted: " + e.Cause
	case "install":
		if e.Source != "" {
			return "installed from " + e.Source
		}
		return "installed"
	case "install-failed":
		return "not installed from " + e.Source + ": " + e.Cause
	case "commit":
		return "committed"
	case "rollback":
		return "returned to, by slotctl rollback, " + e.Cause
	case "mark-bad":
		return "marked bad"
	case "mark-good":
		return "marked good"
	case "boot-once":
		return "asked for once"
	case "unhealthy":
		return "not healthy: " + e.Cause
	}
	return strings.TrimSpace(e.Event + " " + e.Cause)
}

// summary says in one or two sentences how the device came to where it is.
func summary(s slots.State, events []event) string {
	if len(events) == 0 {
		return unrecorded(s)
	}
	if !s.FellBack {
		return "Default is " + defaultInWords(s) + "." + rolledBack(s, events)
	}
	bad := s.Default.Other()
	text := fmt.Sprintf("The device fell back from slot %s to slot %s", bad, s.Default)
	// The last trial of that slot: what follows its install, or else the last boots of it.
	start := 0
	for n, e := range events {
		if e.Slot == bad && (e.Event == "install" || e.Event == "boot" && e.Why == slots.WhyTrial && e.Count <= 1) {
			start = n
		}
	}
	boots, version := 0, ""
	var causes []string
	for _, e := range events[start:] {
		if e.Slot != bad {
			continue
		}
		if e.Version != "" {
			version = e.Version
		}
		switch e.Event {
		case "boot":
			boots++
		case "fail":
			causes = append(causes, "it could not be booted: "+e.Cause)
		case "unhealthy":
			causes = append(causes, "it was not healthy: "+e.Cause)
		}
	}
	if version != "" {
		text = strings.Replace(text, "slot "+bad.String()+" to", "slot "+bad.String()+", "+version+", to", 1)
	}
	switch {
	case len(causes) > 0:
		return text + ": " + causes[len(causes)-1] + "."
	case boots == 1:
		return text + ": init started it once, and nobody committed it."
	case boots > 1:
		return fmt.Sprintf("%s: init started it %d times, and nobody committed it.", text, boots)
	}
	return text + ": its kernel or its initrd never got as far as init."
}

// unrecorded is the summary of what the environment block alone tells.
func unrecorded(s slots.State) string {
	const none = " There is no record of boots: "
	if s.FellBack {
		return fmt.Sprintf("The device fell back from slot %s to slot %s, says the environment block.%swhy is not known.", s.Default.Other(), s.Default, none)
	}
	return "Default is " + defaultInWords(s) + "." + none + "nothing is known of those before, and those of a committed slot leave none."
}

// rolledBack is a sentence about the rollback that made the default slot what it is, if one did: "" if something else
// came behind it.
func rolledBack(s slots.State, events []event) string {
	for n := len(events) - 1; n >= 0; n-- {
		switch e := events[n]; e.Event {
		case "rollback":
			if e.Slot != s.Default {
				return ""
			}
			return " Somebody rolled back to it " + e.Cause + "."
		case "install", "mark-bad":
			return ""
		}
	}
	return ""
}

// lastWords returns the end of the newest kernel log that the firmware kept through a crash.
func lastWords(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "dmesg-*"))
	if len(names) == 0 {
		return nil
	}
	slices.SortFunc(names, func(a, b string) int { return int(modified(a) - modified(b)) })
	text, err := os.ReadFile(names[len(names)-1])
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return lines[max(0, len(lines)-10):]
}

func modified(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.ModTime().Unix()
}
