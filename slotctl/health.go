package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxOutput is how much of what a check prints is kept, in bytes: its end.
const maxOutput = 4096

// runChecks runs the programs in dir, in the order of their names, all of them, and says which failed: nil if none did.
// Names that begin with a dot or end with a tilde do not count. A file that cannot be executed is a check that fails: it
// was meant to say something.
func (d *device) runChecks(ctx context.Context, dir string, timeout time.Duration) (failed, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ran := 0
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || entry.IsDir() {
			continue
		}
		ran++
		start := time.Now()
		output, err := d.runCheck(ctx, filepath.Join(dir, name), timeout)
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		took := time.Since(start).Round(100 * time.Millisecond)
		if err == nil {
			d.say("health  %s: ok, %v", name, took)
			continue
		}
		d.say("health  %s: %v, %v", name, err, took)
		for line := range strings.Lines(output) {
			d.say("health    %s", strings.TrimRight(line, "\n"))
		}
		names = append(names, fmt.Sprintf("%s: %v", name, err))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir == filepath.Join(d.etc, "health.d"):
		d.say("health  nothing to check: there is no %s", dir)
	case ran == 0:
		d.warn("there is no check in %s", dir)
	}
	if len(names) > 0 {
		return errors.New(strings.Join(names, "; ")), nil
	}
	return nil, nil
}

// runCheck runs one program, and everything that it starts, for no longer than timeout.
func (d *device) runCheck(ctx context.Context, path string, timeout time.Duration) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, path)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "SLOTBOOT_SLOT="+d.running.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for a child that has left the group and keeps the pipe open
	err := cmd.Run()
	if limited.Err() != nil && ctx.Err() == nil {
		return out.String(), fmt.Errorf("no end after %v", timeout)
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well, and left something running
		err = nil
	}
	return out.String(), err
}

// tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	n, err := t.Buffer.Write(p)
	if over := t.Len() - maxOutput; over > 0 {
		t.Next(over)
	}
	return n, err
}
