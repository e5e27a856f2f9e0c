package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// watchdog is the one that init arms. nowayout is where the kernel says whether it can be stopped.
type watchdog struct{ cmdline, device, nowayout string }

// stop stops the watchdog if init left it armed for userland (slotboot.watchdog=) and nobody feeds it, as systemd may. To
// open one that cannot be stopped would arm it: init has left that alone, too.
func (w watchdog) stop() error {
	text, err := os.ReadFile(w.cmdline)
	if err != nil || !strings.Contains(" "+string(text), " slotboot.watchdog=") {
		return nil
	}
	if text, err := os.ReadFile(w.nowayout); err != nil || strings.TrimSpace(string(text)) != "0" {
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
