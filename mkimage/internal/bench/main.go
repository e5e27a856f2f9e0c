// Program bench measures mkimage against what a person uses instead to make a disk of a container image: umoci,
// mksquashfs, mkfs and mcopy. It prints a Markdown table.
//
// Both get the same image in one run, one after the other. Every step is a process: its processor time and peak memory
// are what the kernel says about it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	home, _ := os.UserHomeDir()
	cache := os.Getenv("SLOTBOOT_CACHE")
	if cache == "" {
		cache = filepath.Join(home, ".cache", "slotboot")
	}
	bin := flag.String("bin", "bin", "`DIR` with mkimage")
	only := flag.String("only", "", "measure only images whose name contains this `TEXT`")
	flag.Parse()
	if err := bench(*bin, cache, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
