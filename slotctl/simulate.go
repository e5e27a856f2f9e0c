package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/slots"
)

// maxBoots is far behind the point where every state repeats itself.
const maxBoots = 1000

// simulatedBoot is one element of simulate --json. Its keys are a promise.
type simulatedBoot struct {
	Slot slots.Slot        `json:"slot"`
	Why  slots.Why         `json:"why"`
	Env  map[string]string `json:"env"` // the whole block after this boot's decision
}

func (a *app) simulateCommand() *cobra.Command {
	var asJSON bool
	var n int
	c := command("simulate [--boots N] [--json]", "Show what the next boots do if nobody commits", "slotctl simulate --boots 6", operands(),
		func(*cobra.Command, []string) error { return a.simulate(n, asJSON) })
	c.Long = "Show what the next boots do if nobody commits. Nothing is written."
	c.Flags().IntVar(&n, "boots", 5, "how many `N` boots to show")
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}

func (a *app) simulate(n int, asJSON bool) error {
	if n < 1 || n > maxBoots {
		return usagef("--boots %d: want 1 to %d", n, maxBoots)
	}
	d, err := a.find(needs{env: true})
	if err != nil {
		return err
	}
	content, err := d.readEnv()
	if err != nil {
		return err
	}
	steps := slots.Simulate(content.State, n)
	if !asJSON {
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		for i, step := range steps {
			fmt.Fprintf(w, "boot %d\tslot %s\t%s\n", i+1, step.Slot, whyInWords(step.State, step.Why))
		}
		return w.Flush()
	}
	report := make([]simulatedBoot, 0, n)
	for _, step := range steps {
		env := make(map[string]string)
		for _, v := range content.Vars(step.State) {
			env[v.Name] = v.Value // of duplicates the last counts
		}
		report = append(report, simulatedBoot{step.Slot, step.Why, env})
	}
	return a.printJSON(report)
}
