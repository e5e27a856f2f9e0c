// Command init is PID 1 of a slotboot initramfs: it mounts the slot that the boot loader chose and runs the image's own
// init in it. If it cannot, it tells the environment block so and reboots into the other slot.
//
// The decisions are plain functions: parseCmdline reads the kernel command line, package slots applies the policy,
// package overlay plans the mounts. All effects go through sys.Machine, so that the tests run whole boots on a recorded
// one. Called by the name "shutdown" it is what systemd runs when everything else has stopped: it unmounts the root and
// reboots.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/slotboot/slotboot/internal/sys"
)

func main() {
	if os.Args[0] == recorderName {
		os.Exit(recordOrder(os.Args[1:]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: not process 1: this program runs in an initramfs only")
		os.Exit(2)
	}
	m := sys.New()
	if filepath.Base(os.Args[0]) == "shutdown" {
		shutdown(m, os.Args[1:])
	} else {
		newBoot(m, os.Args[1:], os.Environ()).run()
	}
	// Process 1 must not end: the kernel would panic. Neither call above returns if reboot(2) works.
	select {}
}
