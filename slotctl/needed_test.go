package main

import (
	"path/filepath"
	"testing"
)

// A device falls back from one build, and the install of the next is cut when all of it is written: that one must not pass
// for the one that failed, or a timer never installs it.
func TestABuildThatWasWrittenButNeverActivatedIsStillNeeded(t *testing.T) {
	const installed = `{"event":"install","slot":"B","build":"bad"}` + "\n" + `{"event":"boot","slot":"A","why":"fallback","build":"good"}` + "\n"
	for name, c := range map[string]struct {
		record, build string
		want          bool
	}{
		"fell back from it":        {installed, "bad", true},
		"written, never activated": {installed, "next", false},
		"its write went wrong":     {installed + `{"event":"install-failed","slot":"B","build":"next"}` + "\n", "next", false},
		"booted, install unknown":  {`{"event":"boot","slot":"B","why":"trial","build":"bad"}` + "\n", "bad", true},
		"no record":                {"", "next", true},
	} {
		d := &device{data: t.TempDir(), boot: new(bootReport)}
		if c.record != "" {
			put(t, filepath.Join(d.data, recordFile), []byte(c.record))
		}
		if got := d.tried(c.build); got != c.want {
			t.Errorf("%s: tried = %v, want %v", name, got, c.want)
		}
	}
	if d := (&device{data: t.TempDir()}); !d.tried("next") {
		t.Error("off the device, where no record is kept: not tried")
	}
}

// A timer must not bring back tomorrow what a person left today, until a person wants it again or there is a new release.
func TestABuildThatWasRolledBackFromIsNotNeeded(t *testing.T) {
	g := newGuest(t, false)
	two, three := set(t, "2"), set(t, "3")
	needed := func(set string, want int) {
		t.Helper()
		if code, _, stderr := g.run("install", "--needed", set); code != want {
			t.Fatalf("install --needed %s: exit status %d, want %d: %s", filepath.Base(set), code, want, stderr)
		}
	}
	needed(two, 0)
	g.boots("B")
	g.must("commit")
	g.must("rollback")
	g.boots("A")
	g.must("commit")
	needed(two, 3)
	g.must("install", two)
	g.must("rollback", "--force") // to slot A, which runs: the trial is given up before it began
	needed(three, 0)
}
