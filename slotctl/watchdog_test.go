package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCommitStopsTheWatchdogThatInitLeftArmed(t *testing.T) {
	for cmdline, want := range map[string]string{
		"quiet slotboot.watchdog=60 slotboot.slot=B": "V",
		"slotboot.watchdog=60":                       "V",
		"quiet other.slotboot.watchdog=60":           "",
	} {
		g := newGuest(t, false)
		dir := t.TempDir()
		g.effects.watchdog = watchdog{filepath.Join(dir, "cmdline"), filepath.Join(dir, "watchdog0")}
		w := g.effects.watchdog
		put(t, w.cmdline, []byte(cmdline+"\n"))
		put(t, w.device, nil)
		g.must("commit")
		if got, err := os.ReadFile(w.device); err != nil || string(got) != want {
			t.Errorf("%s: the watchdog was told %q (%v), want %q", cmdline, got, err, want)
		}
	}
}
