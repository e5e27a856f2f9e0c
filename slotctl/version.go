package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/internal/built"
)

// versionReport is version --json. Its keys are a promise.
type versionReport struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Arch     string `json:"arch"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := command("version [--json]", "Print the version", "slotctl version", operands(), func(*cobra.Command, []string) error {
		if asJSON {
			return a.printJSON(versionReport{built.Version, built.Revision(), runtime.Version(), a.arch})
		}
		a.say("slotctl %s", built.Line())
		return nil
	})
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}
