package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// TestTheUpdateUnitsAreGoodAndRunWhatSlotctlUnderstands lets systemd read them, and slotctl the flags.
func TestTheUpdateUnitsAreGoodAndRunWhatSlotctlUnderstands(t *testing.T) {
	analyze := need.Tool(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	unit, err := os.ReadFile("../contrib/slotboot-update.service")
	if err != nil {
		t.Fatal(err)
	}
	timer, err := os.ReadFile("../contrib/slotboot-update.timer")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(unit), "\nExecStart=slotctl ")
	command, _, _ = strings.Cut(command, "\n")
	if !ok || !strings.HasSuffix(command, " $ARGS ${URL}") {
		t.Fatalf("the unit runs %q", command)
	}
	put(t, dir+"/slotboot-update.service", []byte(strings.Replace(string(unit), "ExecStart=slotctl", "ExecStart=/bin/true", 1)))
	put(t, dir+"/slotboot-update.timer", timer)
	cmd := exec.Command(analyze, "verify", "--man=no", dir+"/slotboot-update.service", dir+"/slotboot-update.timer")
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":/lib/systemd/system")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "slotboot-update") {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}

	g := newGuest(t, false)
	g.policy(nil)
	args := strings.Fields(strings.TrimSuffix(command, " $ARGS ${URL}"))
	if out := g.must(append(args, set(t, "1"))...); !strings.Contains(out, "already: nothing to do") || g.reboots != 0 {
		t.Errorf("slotctl %s of what runs says %s and reboots %d times", command, out, g.reboots)
	}
	if g.must(append(args, set(t, "2"))...); g.reboots != 1 {
		t.Errorf("slotctl %s of an update reboots %d times, want 1", command, g.reboots)
	}
	g.tidy()
}

// TestTheCommitUnitWaitsForChecksThatWaitForTheSystem lets systemd build the boot: with a health check that runs behind
// multi-user.target, a commit unit with default dependencies makes a cycle, and systemd drops a job to break it.
func TestTheCommitUnitWaitsForChecksThatWaitForTheSystem(t *testing.T) {
	analyze := need.Tool(t, "systemd-analyze", "systemd")
	need.File(t, "/lib/systemd/system/boot-complete.target", "systemd")
	unit, err := os.ReadFile("../contrib/slotboot-commit.service")
	if err != nil {
		t.Fatal(err)
	}
	verify := func(unit string) string {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "slotboot-commit.service"), []byte(strings.Replace(unit, "ExecStart=slotctl commit --when-healthy", "ExecStart=/bin/true", 1)))
		put(t, filepath.Join(dir, "check.service"), []byte("[Unit]\nAfter=multi-user.target\nBefore=boot-complete.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n"))
		for link, target := range map[string]string{"boot-complete.target.requires/check.service": "../check.service", "multi-user.target.wants/slotboot-commit.service": "../slotboot-commit.service"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(analyze, "verify", "--man=no", "multi-user.target", "slotboot-commit.service")
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":/lib/systemd/system")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("systemd-analyze: %v", err)
		}
		return string(out)
	}
	if out := verify(string(unit)); strings.Contains(out, "cycle") || strings.Contains(out, "slotboot-commit.service:") {
		t.Errorf("systemd says\n%s", out)
	}
	if out := verify(strings.Replace(string(unit), "DefaultDependencies=no", "", 1)); !strings.Contains(out, "cycle") {
		t.Errorf("systemd finds no cycle with default dependencies: this test shows nothing\n%s", out)
	}
	if !strings.Contains(string(unit), "\nExecStart=slotctl commit --when-healthy\n") {
		t.Error("the unit does not run slotctl commit --when-healthy")
	}
}
