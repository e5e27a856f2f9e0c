package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/slotboot/slotboot/slots"
)

// After a commit that was cut or failed anywhere, the floor is the old one or the new one, never unreadable, and the
// next commit, as each boot does it, completes it.
func TestFloorIsOldOrNewWhereverACommitIsCut(t *testing.T) {
	device := func() *fixture {
		f := newFixture(t)
		if err := writeSlotSet(f.data+"/slots/A", "1", []string{"size=5000", "sequence=600"}); err != nil {
			t.Fatal(err)
		}
		put(t, f.data+"/state/floor", []byte("5\n"))
		f.onTrial()
		return f
	}
	floor := func(f *fixture) string {
		text, _ := os.ReadFile(f.data + "/state/floor")
		return string(text)
	}
	whole, f := counting(), device()
	if code, stderr := f.run(t.Context(), whole, "commit"); code != 0 || floor(f) != "600\n" {
		t.Fatalf("commit: exit status %d, %s, floor %q", code, stderr, floor(f))
	}
	if again := counting(); true {
		code, _ := f.run(t.Context(), again, "commit")
		if changes := strings.Join(again.log, " "); code != 0 || strings.Contains(changes, "floor") || strings.Contains(changes, "write") {
			t.Errorf("commit again: exit status %d, calls %s, want nothing written", code, changes)
		}
	}
	points := 0
	for n := range whole.log {
		for name, set := range map[string]func(c *calls){
			"cut":         func(c *calls) { c.cutAt = n },
			"fails":       func(c *calls) { c.failAt, c.err = n, syscall.EIO },
			"short write": func(c *calls) { c.failAt, c.err, c.short = n, syscall.ENOSPC, true },
		} {
			points++
			f, files := device(), counting()
			set(files)
			code, stderr := f.run(t.Context(), files, "commit")
			if got := floor(f); got != "5\n" && got != "600\n" || code == 0 && got != "600\n" {
				t.Errorf("call %d, %s, %s: exit status %d, floor %q, want 5, or 600 and nothing else after status 0", n, whole.log[n], name, code, got)
			}
			if code != 0 && f.state().Verified && !strings.Contains(stderr, "is committed, but") && !strings.Contains(whole.log[n], "grubenv") {
				t.Errorf("call %d, %s, %s: the slot is committed, and the message hides it: %s", n, whole.log[n], name, stderr)
			}
			if code, stderr := f.run(t.Context(), counting(), "commit"); code != 0 || floor(f) != "600\n" || f.state() != (slots.State{Default: slots.A, Verified: true, Limit: 3}) {
				t.Errorf("call %d, %s, %s, then commit: exit status %d, %s, floor %q, %+v", n, whole.log[n], name, code, stderr, floor(f), f.state())
			}
		}
	}
	t.Logf("%d points", points)
}
