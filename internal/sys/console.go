package sys

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// AdoptConsole is part of Machine.
func (l *Linux) AdoptConsole() error {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open /dev/console: %w", err)
	}
	for std := range 3 {
		if err := unix.Dup3(fd, std, 0); err != nil && fd != std {
			return fmt.Errorf("adopt /dev/console: %w", err)
		}
	}
	if fd > 2 {
		unix.Close(fd)
	}
	return nil
}

func (l *Linux) openConsole() bool {
	if l.console < 0 {
		fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		l.console = fd
	}
	return true
}

// Prompt is part of Machine.
func (l *Linux) Prompt(text string) {
	if l.openConsole() {
		unix.Write(l.console, []byte(text))
	}
}

// ReadLine is part of Machine.
func (l *Linux) ReadLine(timeout time.Duration) (string, bool) {
	for deadline := l.Uptime() + timeout; ; {
		if i := bytes.IndexAny(l.typed, "\r\n"); i >= 0 {
			line := strings.Map(printable, string(l.typed[:i]))
			l.typed = l.typed[i+1:]
			return strings.TrimSpace(line), true
		}
		left := deadline - l.Uptime()
		if left <= 0 {
			return "", false
		}
		if !l.openConsole() {
			time.Sleep(left)
			return "", false
		}
		fds := []unix.PollFd{{Fd: int32(l.console), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(left.Milliseconds())+1); n <= 0 || err != nil {
			continue
		}
		buf := make([]byte, 256)
		n, err := unix.Read(l.console, buf)
		if n <= 0 || err != nil { // hung up, or a console that nobody can type at
			time.Sleep(min(left, time.Second))
			continue
		}
		if len(l.typed) > maxTyped { // noise: no command is so long
			l.typed = nil
		}
		l.typed = append(l.typed, buf[:n]...)
	}
}

// maxTyped is how much of a line ReadLine keeps, in bytes.
const maxTyped = 4096

// printable drops what a serial line makes of noise: a NUL in front of a word must not make it another word.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// Shell is part of Machine.
func (l *Linux) Shell(root, path string) error {
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{"HOME=/", "TERM=linux", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Chroot: root, Setsid: true, Setctty: true},
	}
	p, err := os.StartProcess(path, []string{path}, attr)
	if err != nil { // some consoles cannot be a controlling terminal: do without job control
		attr.Sys = &syscall.SysProcAttr{Chroot: root}
		p, err = os.StartProcess(path, []string{path}, attr)
	}
	if err != nil {
		return fmt.Errorf("start shell: %w", err)
	}
	_, err = p.Wait()
	return err
}
