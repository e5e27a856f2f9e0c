// Command trim makes an init smaller: it takes out of a Go program what only a stack trace would show, the names of
// functions and the lines they come from. That is a sixth of the packed program, and every boot loads and unpacks it.
//
//	trim FILE
//
// The program does the same as before. If it dies of a fault of its own, the trace shows addresses, which the program as
// it was linked translates: build it again from the same sources, without trim.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: trim FILE")
		os.Exit(2)
	}
	if err := trimFile(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "trim: "+err.Error())
		os.Exit(1)
	}
}

func trimFile(name string) error {
	program, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := trim(program); err != nil {
		return fmt.Errorf("trim %s: %w", name, err)
	}
	return os.WriteFile(name, program, 0o755)
}
