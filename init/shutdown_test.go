package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/sys/systest"
	"github.com/slotboot/slotboot/overlay"
)

// atTheEnd is a machine as systemd leaves it to its shutdown program.
func atTheEnd(t *testing.T) *systest.Machine {
	m := systest.New(t)
	targets := []string{"/", "/dev", "/proc", "/sys", "/run", "/oldroot", "/oldroot/run", "/oldroot/run/slotboot/data", "/oldroot/run/slotboot/rootfs", "/oldroot/mnt\\040x"}
	var info strings.Builder
	for _, target := range targets {
		info.WriteString("22 1 0:20 / " + target + " rw - tmpfs tmpfs rw\n")
	}
	m.Write("/proc/self/mountinfo", info.String())
	for _, target := range targets {
		if err := m.Mount(overlay.Mount{Source: "tmpfs", Target: unescapeMount(target), Type: "tmpfs"}); err != nil {
			t.Fatal(err)
		}
	}
	m.Calls = nil
	return m
}

func TestTheShutdownMovesTheDataPartitionOutAndUnmountsFromTheDeepest(t *testing.T) {
	m := atTheEnd(t)
	seen := map[string]bool{}
	m.Fail = func(call string) error { // what is unmounted leaves the list
		if target, ok := strings.CutPrefix(call, "unmount "); ok {
			if seen[target] {
				return errors.New("not mounted")
			}
			seen[target] = true
			var info strings.Builder
			for line := range strings.Lines(m.Read("/proc/self/mountinfo")) {
				if unescapeMount(strings.Fields(line)[4]) != target {
					info.WriteString(line)
				}
			}
			m.Write("/proc/self/mountinfo", info.String())
		}
		if strings.HasPrefix(call, "move ") {
			m.Write("/proc/self/mountinfo", strings.Replace(m.Read("/proc/self/mountinfo"), "/oldroot/run/slotboot/data", "/data", 1))
		}
		return nil
	}
	if err := m.Mount(overlay.Mount{Source: "tmpfs", Target: "/data", Type: "tmpfs"}); err != nil {
		t.Fatal(err)
	}
	m.Calls = nil
	m.Run(func() { shutdown(m, []string{"poweroff", "--timeout=90000000us"}) })
	want := `make / private
move /oldroot/run/slotboot/data to /data
unmount /oldroot/mnt x
unmount /oldroot/run/slotboot/rootfs
unmount /data
unmount /oldroot/run
unmount /oldroot
poweroff`
	if got := strings.Join(m.Calls, "\n"); got != want {
		t.Errorf("calls:\n%s\nwant:\n%s", got, want)
	}
	if len(m.Said) != 1 || m.Said[0] != "slotboot: shutdown how=poweroff left=0" {
		t.Errorf("said %q", m.Said)
	}
}

func TestWhatCannotBeUnmountedBecomesReadOnlyAndTheMachineEndsAllTheSame(t *testing.T) {
	for arg, want := range map[string]string{"reboot": "reboot", "poweroff": "poweroff", "halt": "halt", "kexec": "kexec", "exit": "poweroff", "nonsense": "reboot", "": "reboot"} {
		m := atTheEnd(t)
		m.Fail = failing("unmount", errors.New("busy"))
		m.Run(func() { shutdown(m, strings.Fields(arg)) })
		if m.Last() != want {
			t.Errorf("shutdown %q ends with %q, want %q", arg, m.Last(), want)
		}
		if !m.Did("remount /oldroot/run/slotboot/data read-only") {
			t.Errorf("calls:\n%s", strings.Join(m.Calls, "\n"))
		}
	}
}
