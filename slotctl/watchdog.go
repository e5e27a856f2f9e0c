package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// watchdog is the one that init arms.
type watchdog struct{ cmdline, device string }

// stop stops the watchdog if init left it armed for userland (slotboot.watchdog=) and nobody feeds it, as systemd may.
func (w watchdog) stop() error {
	text, err := os.ReadFile(w.cmdline)
	if err != nil || !strings.Contains(" "+string(text), " slotboot.watchdog=") {
		return nil
	}
	f, err := os.OpenFile(w.device, os.O_WRONLY, 0)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = f.WriteString("V") // in front of the close, it stops
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("stop the watchdog: %w", err)
	}
	return nil
}
