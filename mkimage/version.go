package main

import (
	"fmt"
	"runtime"

	"github.com/slotboot/slotboot/internal/built"
	"github.com/spf13/cobra"
)

// versionReport is what mkimage version --json prints. Its keys are a promise.
type versionReport struct {
	Version  string   `json:"version"`
	Revision string   `json:"revision,omitempty"`
	Go       string   `json:"go"`
	Arch     string   `json:"arch"`
	Init     []string `json:"init"`
}

// tool is what manifests record of the program that made them.
const tool = "mkimage " + built.Version

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version [flags]",
		Short:   "Print the version",
		Long:    "Print the version, and the architectures that init is embedded for.",
		Example: "mkimage version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			archs := embeddedInits(embedded)
			if asJSON {
				return a.printJSON(versionReport{built.Version, built.Revision(), runtime.Version(), runtime.GOARCH, archs})
			}
			fmt.Fprintf(a.out, "mkimage %s\n", built.Line())
			for _, arch := range archs {
				fmt.Fprintf(a.out, "init %s embedded\n", arch)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
