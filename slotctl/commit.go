package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// commitFlags are the flags of commit.
type commitFlags struct {
	whenHealthy bool
	checks      string // the folder with the health checks
	timeout     time.Duration
	restart     bool // a trial that is not healthy
}

func (a *app) commitCommand() *cobra.Command {
	var f commitFlags
	c := command("commit [--when-healthy [--reboot]]", "Keep the running slot: it is the default from now on", "slotctl commit --when-healthy", operands(),
		func(cmd *cobra.Command, _ []string) error {
			if f.restart && !f.whenHealthy {
				return usagef("--reboot goes with --when-healthy")
			}
			if f.restart {
				if err := a.mayReboot(); err != nil {
					return err
				}
			}
			if f.checks == "" {
				f.checks = filepath.Join(a.etc, "health.d")
			}
			return a.commit(cmd.Context(), f)
		})
	c.Long = "Keep the running slot: it is the default from now on. A trial that is not\ncommitted falls back when its boots are used up. With --when-healthy, only if\nevery program in /etc/slotboot/health.d ends with status 0."
	c.Flags().BoolVar(&f.whenHealthy, "when-healthy", false, "run the health checks first")
	c.Flags().BoolVar(&f.restart, "reboot", false, "reboot at once if a trial is not healthy")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "of each check")
	c.Flags().StringVar(&f.checks, "checks", "", "take the checks from `DIR`")
	return c
}

func (a *app) commit(ctx context.Context, f commitFlags) error {
	d, err := a.find(needs{env: true, running: true})
	if err != nil {
		return err
	}
	if f.whenHealthy {
		if err := d.whenHealthy(ctx, f); err != nil {
			return err
		}
	}
	before, after, err := d.commitRunning()
	if err != nil {
		return err
	}
	if d.boot != nil {
		if err := a.watchdog.stop(); err != nil {
			a.warn("%v", err)
		}
	}
	if before == after {
		a.say("slot %s was committed already", after.Default)
	} else {
		a.say("slot %s is committed", after.Default)
		d.recordAlone(event{Event: "commit", Slot: d.running})
	}
	if given := before.Default; !before.Verified && given != d.running && before.Bad != given {
		a.warn("this gives up the trial of slot %s%s, which %s", given, d.versionOf(given), waited(before))
		a.hint(fmt.Sprintf("slotctl rollback puts slot %s on trial again", given))
	}
	if err := d.raiseFloor(d.running); err != nil {
		if errors.Is(err, durable.ErrLocked) {
			a.warn("%v: the next commit does it", err)
			return nil
		}
		return fmt.Errorf("slot %s is committed, but %w", after.Default, err)
	}
	return nil
}

// commitRunning writes that the running slot is the committed default. It waits for no install, because it never touches
// what the block says of the slot that one writes; but where the block stands on the data partition, which a command
// makes writable and read-only again, only one may do so at a time.
func (d *device) commitRunning() (before, after slots.State, err error) {
	if d.boot != nil && d.boot.EnvDevice != "" && d.boot.EnvDevice == d.boot.DataDevice {
		lock, err := d.lock()
		if err != nil {
			return before, after, err
		}
		defer lock.Close()
	}
	after, err = d.updateEnv(func(s slots.State) (slots.State, error) {
		before = s
		return slots.Commit(s, d.running)
	})
	return before, after, err
}

// versionOf is the version that a slot holds, for a sentence.
func (d *device) versionOf(slot slots.Slot) string {
	if m := d.manifest(slot); m != nil {
		return ", " + m.Version
	}
	return ""
}

func waited(s slots.State) string {
	if s.Count == 0 {
		return "was to begin with the next boot"
	}
	return fmt.Sprintf("has had boot %d of %d", s.Count, s.Limit)
}

// whenHealthy returns nil if every check passes. If one does not, a trial is rebooted, if that was asked for: the boot
// count goes on, and the last trial boot ends in a fallback.
func (d *device) whenHealthy(ctx context.Context, f commitFlags) error {
	failed, err := d.runChecks(ctx, f.checks, f.timeout)
	if err != nil {
		return fmt.Errorf("%w (nothing committed)", err)
	}
	if failed == nil {
		return nil
	}
	err = fmt.Errorf("not healthy: %w (nothing committed)", failed)
	d.recordAlone(event{Event: "unhealthy", Slot: d.running, Cause: failed.Error()})
	if !f.restart {
		return err
	}
	content, envErr := d.readEnv()
	if envErr != nil {
		return errors.Join(err, envErr)
	}
	if s := content.State; s.Verified || s.Default != d.running {
		d.warn("slot %s is not on trial: no reboot", d.running)
		return err
	}
	return errors.Join(err, d.reboot())
}
