package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version [flags]",
		Short:   "Print the version and the architectures init is embedded for",
		Example: "mkimage version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			archs := embeddedInits(embedded)
			if asJSON {
				return a.printJSON(map[string]any{"version": version, "go": runtime.Version(), "init": archs})
			}
			fmt.Fprintf(a.out, "mkimage %s\n", version)
			for _, arch := range archs {
				fmt.Fprintf(a.out, "init %s embedded\n", arch)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
