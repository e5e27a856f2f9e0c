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
		g.effects.watchdog = watchdog{filepath.Join(dir, "cmdline"), filepath.Join(dir, "watchdog0"), filepath.Join(dir, "nowayout")}
		w := g.effects.watchdog
		put(t, w.cmdline, []byte(cmdline+"\n"))
		put(t, w.device, nil)
		put(t, w.nowayout, []byte("0\n"))
		g.must("commit")
		if got, err := os.ReadFile(w.device); err != nil || string(got) != want {
			t.Errorf("%s: the watchdog was told %q (%v), want %q", cmdline, got, err, want)
		}
	}
}

// Init arms only what it can stop. To open another one starts it, also on a boot that has long been committed, and nobody
// would feed it: the device would be reset for ever.
func TestCommitNeverStartsAWatchdogThatCannotBeStopped(t *testing.T) {
	for name, nowayout := range map[string]string{"never stops": "1\n", "not known": ""} {
		dir := t.TempDir()
		w := watchdog{filepath.Join(dir, "cmdline"), filepath.Join(dir, "watchdog0"), filepath.Join(dir, "nowayout")}
		put(t, w.cmdline, []byte("slotboot.watchdog=60\n"))
		put(t, w.device, nil)
		if nowayout != "" {
			put(t, w.nowayout, []byte(nowayout))
		}
		err := w.stop()
		if got, _ := os.ReadFile(w.device); err != nil || len(got) != 0 {
			t.Errorf("%s: the watchdog was told %q, %v, want nothing", name, got, err)
		}
	}
}
