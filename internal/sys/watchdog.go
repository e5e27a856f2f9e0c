package sys

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoWatchdog says that the machine has no watchdog that could be armed and stopped again.
var ErrNoWatchdog = errors.New("no stoppable watchdog")

const watchdogDevice = "/dev/watchdog0"

type linuxWatchdog struct{ file *os.File }

// ArmWatchdog is part of Machine. A watchdog that its driver was told never to stop (nowayout) is left alone: once
// opened it would have to be fed for ever.
func (l *Linux) ArmWatchdog(timeout time.Duration) (Watchdog, error) {
	if text, err := os.ReadFile("/sys/class/watchdog/watchdog0/nowayout"); err != nil || strings.TrimSpace(string(text)) != "0" {
		return nil, ErrNoWatchdog
	}
	f, err := os.OpenFile(watchdogDevice, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("arm watchdog: %w", err)
	}
	w := linuxWatchdog{f}
	if _, err := w.Restart(timeout); err != nil {
		return nil, errors.Join(err, w.Disarm())
	}
	return w, nil
}

// Restart is part of Watchdog.
func (w linuxWatchdog) Restart(timeout time.Duration) (time.Duration, error) {
	fd := int(w.file.Fd())
	// Refused when beyond what the hardware can count: then it keeps its own timeout.
	unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, int(timeout/time.Second))
	seconds, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return 0, fmt.Errorf("read watchdog timeout: %w", err)
	}
	if _, err := w.file.WriteString("."); err != nil { // any byte but V begins the time again
		return 0, fmt.Errorf("restart watchdog: %w", err)
	}
	return time.Duration(seconds) * time.Second, nil
}

// Disarm is part of Watchdog. The letter V before the close is what lets a watchdog stop.
func (w linuxWatchdog) Disarm() error {
	_, err := w.file.WriteString("V")
	if err = errors.Join(err, w.file.Close()); err != nil {
		return fmt.Errorf("disarm watchdog: %w", err)
	}
	return nil
}
