package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// check writes an executable health check.
func check(t *testing.T, dir, name, script string) {
	t.Helper()
	put(t, filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"))
	if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) onTrial() slots.State {
	f.t.Helper()
	s := slots.State{Default: slots.A, Count: 1, Limit: 3}
	block, err := bootenv.New(s)
	if err != nil {
		f.t.Fatal(err)
	}
	put(f.t, f.grubenv, block)
	return s
}

// output returns what slotctl prints, with slot A running.
func (f *fixture) output(args ...string) string {
	f.t.Helper()
	var out, stderr bytes.Buffer
	args = append([]string{"--grubenv", f.grubenv, "--data", f.data, "--running", "A"}, args...)
	if code := run(f.t.Context(), args, stdio{&out, &stderr}, machine()); code != 0 {
		f.t.Errorf("slotctl %v: exit status %d, %s", args, code, &stderr)
	}
	return out.String()
}

func TestCommitWhenHealthyCommitsOnlyIfEveryCheckPasses(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	ran := filepath.Join(t.TempDir(), "ran")
	put(t, dir+"/.hidden", nil)
	put(t, dir+"/backup~", nil)
	check(t, dir, "10-good", `echo "$SLOTBOOT_SLOT" >>`+ran)
	commit := func(want int, text string, args ...string) {
		t.Helper()
		before := f.onTrial()
		code, stderr := f.run(t.Context(), durable.OS{}, append([]string{"commit", "--when-healthy", "--checks", dir}, args...)...)
		if code != want || !strings.Contains(stderr, text) {
			t.Errorf("commit %v: exit status %d, %s, want %d and %q", args, code, stderr, want, text)
		}
		if s := f.state(); s.Verified != (want == 0) || want != 0 && s != before {
			t.Errorf("commit %v: the block says %+v after exit status %d", args, s, want)
		}
	}
	commit(0, "")
	check(t, dir, "20-bad", "echo what is wrong >&2; exit 3")
	check(t, dir, "30-good", "echo later >>"+ran)
	commit(1, "commit: not healthy: 20-bad: exit status 3 (nothing committed)")
	check(t, dir, "20-bad", "kill -9 $$")
	commit(1, "20-bad: signal: killed")
	check(t, dir, "20-bad", "sleep 600 & wait")
	start := time.Now()
	commit(1, "20-bad: no end after 200ms", "--timeout", "200ms")
	if took := time.Since(start); took > time.Minute {
		t.Errorf("a check with a limit of 200ms took %v", took)
	}
	check(t, dir, "20-bad", "yes | head -c 1000000; exit 1")
	commit(1, "20-bad: exit status 1")
	put(t, dir+"/20-bad", []byte("no program"))
	os.Chmod(dir+"/20-bad", 0o644)
	commit(1, "20-bad: ")
	check(t, dir, "20-bad", "exit 0")
	commit(0, "")
	if text, _ := os.ReadFile(ran); string(text) != strings.Repeat("A\n", 1)+strings.Repeat("A\nlater\n", 6) {
		t.Errorf("the checks that pass have run like this: %q", text)
	}
	dir = filepath.Join(dir, "none")
	commit(0, "warning: there is no check in "+dir)
	f.onTrial()
	if code, _ := f.run(t.Context(), durable.OS{}, "commit", "--reboot"); code != 2 {
		t.Errorf("commit --reboot: exit status %d, want 2", code)
	}
}

func TestUnhealthyTrialRebootsIfAskedToAndExplainTells(t *testing.T) {
	g := newGuest(t, false)
	g.policy(nil)
	check(t, g.effects.etc+"/health.d", "10-bad", "exit 7")
	if code, _, stderr := g.run("commit", "--when-healthy", "--reboot"); code != 1 || g.reboots != 0 || !strings.Contains(stderr, "not on trial: no reboot") {
		t.Errorf("commit of a committed slot that is not healthy: exit status %d, %d reboots, %s", code, g.reboots, stderr)
	}
	g.must("install", set(t, "2"))
	report, _ := os.ReadFile(g.base + "/boot.json")
	put(t, g.base+"/boot.json", []byte(strings.Replace(string(report), `"slot":"A"`, `"slot":"B"`, 1)))
	if code, _, _ := g.run("commit", "--when-healthy", "--reboot"); code != 1 || g.reboots != 1 {
		t.Errorf("commit of a trial that is not healthy: exit status %d, %d reboots, want 1, 1", code, g.reboots)
	}
	g.tidy()
	out := g.must("explain")
	for _, want := range []string{"Default is slot B on trial, not booted yet", "slot B  2  installed from /", "slot B  2  not healthy: 10-bad: exit status 7\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("explain says\n%s\nwant %q in it", out, want)
		}
	}
	var x explanation
	if err := json.Unmarshal([]byte(g.must("explain", "--json", "--last", "1")), &x); err != nil || len(x.Events) != 1 || x.Events[0].Event != "unhealthy" || x.Events[0].BootID == "" {
		t.Errorf("explain --json --last 1 = %+v, %v", x, err)
	}
}

func TestExplainTellsWhoRolledBackAndWhatWasInstalledFromWhere(t *testing.T) {
	g := newGuest(t, false)
	g.policy(nil)
	sets := set(t, "2")
	g.must("install", sets)
	g.boots("B")
	g.must("rollback")
	g.boots("A")
	g.tidy()
	out := g.must("explain")
	for _, want := range []string{
		"Default is slot A, committed. Somebody rolled back to it from slot B, 2.\n",
		"slot B  2  installed from " + sets + "\n", "slot A  1  returned to, by slotctl rollback, from slot B, 2\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("explain says\n%s\nwant %q in it", out, want)
		}
	}
	for src, want := range map[string]string{"https://me:secret@host/x.bundle?token=secret#y": "https://host/x.bundle", "docker://host/kiosk:2": "docker://host/kiosk:2", "/a/b": "/a/b"} {
		if got := sourceName(src); got != want {
			t.Errorf("sourceName(%q) = %q, want %q", src, got, want)
		}
	}
}

func TestAnInstallThatFailedIsOnTheRecord(t *testing.T) {
	g := newGuest(t, false)
	g.policy(nil)
	sets := set(t, "2")
	flipAt(t, sets+"/"+bundle.RootfsName, 9)
	if code, _, _ := g.run("install", sets); code != exitInvalid {
		t.Fatalf("install: exit status %d, want %d", code, exitInvalid)
	}
	g.tidy()
	if out, want := g.must("explain"), "slot B  2  not installed from "+sets+": rootfs.squashfs: sha256"; !strings.Contains(out, want) {
		t.Errorf("explain says\n%s\nwant %q in it", out, want)
	}
}

func TestExplainTellsWhyTheDeviceFellBack(t *testing.T) {
	boot := func(slot, why string, count int) string {
		return fmt.Sprintf(`{"time":1795000000,"boot_id":"x","event":"boot","slot":%q,"why":%q,"count":%d,"limit":2,"saved":true,"version":"2.0","build":"b"}`, slot, why, count)
	}
	const fail = `{"time":7,"boot_id":"y","event":"fail","slot":"B","why":"trial","count":1,"limit":2,"saved":true,"version":"2.0","build":"b","cause":"mount squashfs: input/output error"}`
	const unhealthy = `{"time":1795000000,"boot_id":"x","event":"unhealthy","slot":"B","cause":"10-net: exit status 1"}`
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"nobody committed":          {[]string{fail, boot("B", "trial", 1), boot("B", "trial", 2), boot("A", "fallback", 0)}, "from slot B, 2.0, to slot A: init started it 2 times, and nobody committed it."},
		"init could not boot it":    {[]string{boot("B", "trial", 1), fail, boot("A", "fallback", 0)}, "it could not be booted: mount squashfs: input/output error."},
		"it was not healthy":        {[]string{boot("B", "trial", 1), unhealthy, boot("B", "trial", 2), unhealthy}, "it was not healthy: 10-net: exit status 1."},
		"its kernel never ran init": {[]string{boot("A", "fallback", 0)}, "never got as far as init."},
		"lines that are none":       {[]string{"", "rubbish", `{"event":5}`, boot("B", "trial", 1), boot("B", "trial", 2)[:40]}, "init started it once"},
	} {
		f := newFixture(t)
		block, err := bootenv.New(slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		put(t, f.grubenv, block)
		put(t, f.data+"/state/boots.jsonl", []byte(strings.Join(test.lines, "\n")+"\n"))
		got := f.output("explain")
		if !strings.HasPrefix(got, "The device fell back from slot B") || !strings.Contains(got, test.want) {
			t.Errorf("%s: explain says\n%s\nwant %q", name, got, test.want)
		}
	}
}

func TestExplainShowsTheLastWordsOfAKernel(t *testing.T) {
	g := newGuest(t, false)
	g.policy(nil)
	g.effects.pstore = t.TempDir()
	put(t, g.effects.pstore+"/dmesg-efi-1", []byte("Panic#1\n<0>[   12.3] Kernel panic - not syncing: test\n"))
	if out := g.must("explain"); !strings.Contains(out, "Kernel panic - not syncing: test") {
		t.Errorf("explain says\n%s", out)
	}
}
