package sys

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/overlay"
)

// ErrNotPID1 is the refusal of SwitchRoot and Reboot to do to a development machine what they do to a device.
var ErrNotPID1 = errors.New("not process 1")

// Linux is the machine this process runs on.
type Linux struct {
	events  int // netlink socket of device events; -1 before the first Wait
	console int // for Prompt and ReadLine; -1 before their first use
	typed   []byte
	level   string // the console log level to put back before the image's init runs; "" if untouched
}

// New returns the machine this process runs on.
func New() *Linux { return &Linux{events: -1, console: -1} }

var _ Machine = (*Linux)(nil)

// Path returns name.
func (l *Linux) Path(name string) string { return name }

// Mount is part of Machine.
func (l *Linux) Mount(m overlay.Mount) error {
	for _, dir := range append([]string{m.Target}, m.Make...) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("%v: %w", m, err)
		}
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, mountFlags(m.Flags), m.Data); err != nil {
		return fmt.Errorf("%v: %w", m, err)
	}
	return nil
}

func mountFlags(f overlay.Flags) uintptr {
	var flags uintptr
	for _, pair := range []struct {
		plan   overlay.Flags
		kernel uintptr
	}{
		{overlay.ReadOnly, unix.MS_RDONLY}, {overlay.NoSuid, unix.MS_NOSUID}, {overlay.NoDev, unix.MS_NODEV},
		{overlay.NoExec, unix.MS_NOEXEC}, {overlay.Move, unix.MS_MOVE}, {overlay.Remount, unix.MS_REMOUNT},
		{overlay.Bind, unix.MS_BIND}, {overlay.Private, unix.MS_PRIVATE | unix.MS_REC},
	} {
		if f&pair.plan != 0 {
			flags |= pair.kernel
		}
	}
	return flags
}

// Unmount is part of Machine.
func (l *Linux) Unmount(target string) error {
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// LoadModule is part of Machine.
func (l *Linux) LoadModule(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), params, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}

// Beside is part of Machine. The thread is of the class SCHED_IDLE: on one processor it runs while the caller waits for a
// disk, on several it has one to itself. Whoever waits for it leaves it all the time there is.
func (l *Linux) Beside(do func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its class
		unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		do()
	}()
	return func() { <-done }
}

// Wait is part of Machine. The first call opens the source of events and returns at once, because nothing was
// listening while the caller looked.
func (l *Linux) Wait(timeout time.Duration) {
	if l.events < 0 {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
		}
		if err != nil { // a kernel without CONFIG_NET: look again and again
			time.Sleep(min(timeout, 20*time.Millisecond))
			return
		}
		l.events = fd
		return
	}
	fds := []unix.PollFd{{Fd: int32(l.events), Events: unix.POLLIN}}
	unix.Poll(fds, int(timeout.Milliseconds()))
	for buf := make([]byte, 8192); ; {
		// ENOBUFS says that events were lost, which is an event too.
		if _, _, err := unix.Recvfrom(l.events, buf, 0); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
			return
		}
	}
}

// Uptime is part of Machine.
func (l *Linux) Uptime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// Clock is part of Machine.
func (l *Linux) Clock() time.Time { return time.Now() }

// Random is part of Machine.
func (l *Linux) Random(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Getrandom(b, 0)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("get random bytes: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}

// Reboot is part of Machine.
func (l *Linux) Reboot(how Ending) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%v: %w", how, ErrNotPID1)
	}
	unix.Sync()
	cmd := uint32(unix.LINUX_REBOOT_CMD_RESTART)
	switch how {
	case PowerOff:
		cmd = unix.LINUX_REBOOT_CMD_POWER_OFF
	case Halt:
		cmd = unix.LINUX_REBOOT_CMD_HALT
	case Kexec:
		unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC)
	}
	return fmt.Errorf("%v: %w", how, unix.Reboot(int(cmd)))
}

// quietLevel is the console log level up to which Say's messages (5, notice) are shown: the kernel prints what is
// below it, and "quiet" sets 4.
const quietLevel = 6

// Say is part of Machine. It goes through the kernel's log, which writes a line whole where other messages might cut
// into one written to the terminal, and which the journal keeps.
func (l *Linux) Say(line string) {
	const knob = "/proc/sys/kernel/printk"
	if text, err := os.ReadFile(knob); err == nil && l.level == "" {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
		if n, err := strconv.Atoi(first); err == nil && n < quietLevel {
			l.level = first
			os.WriteFile(knob, []byte(strconv.Itoa(quietLevel)), 0)
		}
	}
	l.log("<5>", line)
}

// Note is part of Machine.
func (l *Linux) Note(line string) { l.log("<6>", line) }

func (l *Linux) log(level, line string) {
	// Opened for each line, because the kernel drops lines beyond ten in five seconds of one opening.
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(level + line + "\n")
		f.Close()
	}
	if err != nil {
		l.Prompt(line + "\n")
	}
}

// quietAgain puts back the console log level that Say raised.
func (l *Linux) quietAgain() {
	if l.level != "" {
		os.WriteFile("/proc/sys/kernel/printk", []byte(l.level), 0)
		l.level = ""
	}
}
