package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

// version is that of mkimage, too.
const version = "0.1.0"

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := command("version [--json]", "Print the version", "slotctl version", operands(), func(*cobra.Command, []string) error {
		if asJSON {
			return a.printJSON(map[string]string{"version": version, "go": runtime.Version(), "arch": a.arch})
		}
		a.say("slotctl %s", version)
		return nil
	})
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}
