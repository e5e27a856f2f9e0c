// Command slotctl runs on the device: it shows, installs, commits and rolls back slots.
//
// docs/slotctl.md lists its commands, exit statuses and JSON.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A lost terminal ends an install as Ctrl-C does: cleanly.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status := run(ctx, os.Args[1:], stdio{os.Stdout, os.Stderr}, machine())
	stop()
	os.Exit(status)
}
