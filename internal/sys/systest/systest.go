// Package systest has a machine that records what is asked of it, so that a test can run a whole boot.
//
// Its files are real ones below a temporary folder: a test reads and writes /proc/cmdline there, or a disk's partition
// table. Mounting a device shows the folder that stands for what is on it. Time passes only in Wait and ReadLine.
package systest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
)

// Machine is a recorded machine. Its zero value is of no use: see New.
type Machine struct {
	// Calls are the effects in order, as text: "mount ext4 /dev/vda2 on /run/slotboot/data ro", "load virtio_blk.ko",
	// "exec /sbin/init a b", "reboot".
	Calls []string
	Said  []string // lines for every console
	Noted []string // lines for the kernel's log
	Shown strings.Builder

	Fail    func(call string) error // asked before each effect; an error makes it fail
	OnWait  func(now time.Duration) // called when time has passed in Wait
	Typed   []string                // lines that a person types at the console
	Typing  time.Duration           // that each of them takes
	Stopper bool                    // there is a watchdog
	Armed   bool                    // and it is armed
	Env     []string                // that the image's init got

	root    string
	media   map[string]string // device -> folder that stands for its content
	mounts  []mount
	now     time.Duration
	devices int
}

type mount struct {
	target, saved string // saved: the folder that the mount covers
	readOnly      bool
}

var _ sys.Machine = (*Machine)(nil)

// New returns a machine without disks that has just been switched on.
func New(t testing.TB) *Machine {
	m := &Machine{root: t.TempDir(), media: map[string]string{}}
	for _, dir := range []string{"/dev", "/proc/sys/kernel", "/proc/self", "/sys/class/block", "/sys/devices", "/run", "/etc/slotboot"} {
		m.must(os.MkdirAll(m.Path(dir), 0o755))
	}
	m.Write("/proc/self/exe", "this program")
	m.Write("/proc/sys/kernel/osrelease", "6.1.0-test\n")
	m.Write("/proc/filesystems", "nodev\ttmpfs\n\text4\n\tvfat\n\tsquashfs\nnodev\toverlay\n")
	m.Write("/proc/cmdline", "")
	return m
}

// must panics: the callers are tests, and what they ask for always works on a disk that is not full.
func (m *Machine) must(err error) {
	if err != nil {
		panic(err)
	}
}

// Write puts a file on the machine.
func (m *Machine) Write(name, text string) {
	m.must(os.MkdirAll(filepath.Dir(m.Path(name)), 0o755))
	m.must(os.WriteFile(m.Path(name), []byte(text), 0o644))
}

// Read returns a file of the machine, or "" if there is none.
func (m *Machine) Read(name string) string {
	text, _ := os.ReadFile(m.Path(name))
	return string(text)
}

// Run calls f, which boots the machine, until f returns or the machine runs another program or reboots.
func (m *Machine) Run(f func()) {
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	if r := <-done; r != nil {
		panic(r)
	}
}

// Last returns the last call: how the boot ended.
func (m *Machine) Last() string {
	if len(m.Calls) == 0 {
		return ""
	}
	return m.Calls[len(m.Calls)-1]
}

// Did says whether a call was made that begins with prefix.
func (m *Machine) Did(prefix string) bool {
	for _, call := range m.Calls {
		if strings.HasPrefix(call, prefix) {
			return true
		}
	}
	return false
}

// Mounted returns the places where something is mounted.
func (m *Machine) Mounted() []string {
	var targets []string
	for _, mt := range m.mounts {
		targets = append(targets, mt.target)
	}
	return targets
}

// Writable says whether the file at path, as Path returned it, is on a file system mounted read-write.
func (m *Machine) Writable(path string) bool {
	for i := len(m.mounts) - 1; i >= 0; i-- {
		if strings.HasPrefix(path, m.Path(m.mounts[i].target)+"/") {
			return !m.mounts[i].readOnly
		}
	}
	return true
}

// do records a call and returns the error that the test wants of it.
func (m *Machine) do(call string) error {
	m.Calls = append(m.Calls, call)
	if m.Fail == nil {
		return nil
	}
	return m.Fail(call)
}

// Path is part of sys.Machine.
func (m *Machine) Path(name string) string { return filepath.Join(m.root, name) }

// Mount is part of sys.Machine.
func (m *Machine) Mount(p overlay.Mount) error {
	call := p.String()
	if p.Flags&(overlay.ReadOnly|overlay.Remount) == overlay.ReadOnly {
		call += " ro"
	}
	if p.Data != "" {
		call += " " + p.Data
	}
	if err := m.do(call); err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	if p.Flags&overlay.Remount != 0 {
		for i := range m.mounts {
			if m.mounts[i].target == p.Target {
				m.mounts[i].readOnly = p.Flags&overlay.ReadOnly != 0
				return nil
			}
		}
		return fmt.Errorf("%v: %w", p, unix.EINVAL)
	}
	if p.Flags&(overlay.Move|overlay.Private) != 0 {
		return nil
	}
	for _, dir := range append([]string{p.Target}, p.Make...) {
		if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
			return err
		}
	}
	m.mounts = append(m.mounts, mount{target: p.Target, readOnly: p.Flags&overlay.ReadOnly != 0})
	content, isDevice := m.media[p.Source]
	if p.Type == "overlay" {
		content, isDevice = m.Path(overlay.Rootfs), true
	}
	switch {
	case isDevice && content != "":
		return m.show(content, p.Target)
	case isDevice || strings.HasPrefix(p.Source, "/dev/") && p.Flags&overlay.Bind == 0:
		m.mounts = m.mounts[:len(m.mounts)-1]
		return fmt.Errorf("%v: %w", p, unix.EINVAL)
	}
	return nil
}

// show lets target be the folder content.
func (m *Machine) show(content, target string) error {
	content, err := filepath.EvalSymlinks(content)
	if err != nil {
		return err
	}
	covered := m.Path(target) + ".covered"
	m.mounts[len(m.mounts)-1].saved = covered
	return errors.Join(os.Rename(m.Path(target), covered), os.Symlink(content, m.Path(target)))
}

// Unmount is part of sys.Machine.
func (m *Machine) Unmount(target string) error {
	if err := m.do("unmount " + target); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	for i := len(m.mounts) - 1; i >= 0; i-- {
		if mt := m.mounts[i]; mt.target == target {
			m.mounts = append(m.mounts[:i], m.mounts[i+1:]...)
			if mt.saved != "" {
				return errors.Join(os.Remove(m.Path(target)), os.Rename(mt.saved, m.Path(target)))
			}
			return nil
		}
	}
	return fmt.Errorf("unmount %s: %w", target, unix.EINVAL)
}

// LoadModule is part of sys.Machine.
func (m *Machine) LoadModule(file, params string) error {
	if err := m.do(strings.TrimSpace("load " + filepath.Base(file) + " " + params)); err != nil {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	_, err := os.Stat(file)
	return err
}

// Beside is part of sys.Machine: it runs do at once.
func (m *Machine) Beside(do func()) (wait func()) {
	do()
	return func() {}
}

// AttachLoop is part of sys.Machine. A file stands for the folder that it names in its first line.
func (m *Machine) AttachLoop(file string) (string, func(), error) {
	name, _ := filepath.Rel(m.root, file)
	if err := m.do("loop /" + name); err != nil {
		return "", nil, fmt.Errorf("attach loop device: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	device := fmt.Sprintf("/dev/loop%d", m.devices)
	m.devices++
	folder, _, _ := strings.Cut(string(text), "\n")
	if _, err := os.Stat(folder); err != nil {
		folder = "" // no file system: mounting it fails
	}
	m.media[device] = folder
	return device, func() { m.do("release " + device) }, nil
}

// OpenVerity is part of sys.Machine.
func (m *Machine) OpenVerity(name, device string, v sys.Verity) (string, func(), error) {
	if err := m.do(strings.TrimSpace(fmt.Sprintf("verity %s %d %s %s", device, v.DataBlocks, v.RootHash, v.OnCorruption))); err != nil {
		return "", nil, fmt.Errorf("open dm-verity on %s: %w", device, err)
	}
	m.media["/dev/dm-0"] = m.media[device]
	return "/dev/dm-0", func() { m.do("release /dev/dm-0") }, nil
}

// ResizePartition is part of sys.Machine.
func (m *Machine) ResizePartition(disk string, number int, start, size int64) error {
	name, _ := filepath.Rel(m.root, disk)
	return m.do(fmt.Sprintf("resize partition %d of /%s to %d+%d", number, name, start, size))
}

// GrowExt4 is part of sys.Machine. The superblock of the device keeps its size.
func (m *Machine) GrowExt4(target string, blocks int64) error {
	name, _ := filepath.Rel(m.root, target)
	return m.do(fmt.Sprintf("grow /%s to %d", name, blocks))
}

// Wait is part of sys.Machine.
func (m *Machine) Wait(timeout time.Duration) {
	m.now += timeout
	if m.OnWait != nil {
		m.OnWait(m.now)
	}
}

// Uptime is part of sys.Machine.
func (m *Machine) Uptime() time.Duration { return m.now }

// Clock is part of sys.Machine. The machine is switched on at the second 1,000,000,000 of Unix time.
func (m *Machine) Clock() time.Time { return time.Unix(1e9, 0).Add(m.now) }

// Random is part of sys.Machine.
func (m *Machine) Random(b []byte) error {
	if err := m.do("random"); err != nil {
		return err
	}
	for i := range b {
		b[i] = byte(i)
	}
	return nil
}

// AdoptConsole is part of sys.Machine.
func (m *Machine) AdoptConsole() error { return nil }

// Say is part of sys.Machine.
func (m *Machine) Say(line string) { m.Said = append(m.Said, line) }

// Note is part of sys.Machine.
func (m *Machine) Note(line string) { m.Noted = append(m.Noted, line) }

// Prompt is part of sys.Machine.
func (m *Machine) Prompt(text string) { m.Shown.WriteString(text) }

// ReadLine is part of sys.Machine.
func (m *Machine) ReadLine(timeout time.Duration) (string, bool) {
	if len(m.Typed) == 0 {
		m.now += timeout
		return "", false
	}
	if m.Typing > timeout {
		m.now += timeout
		return "", false
	}
	m.now += m.Typing
	line := m.Typed[0]
	m.Typed = m.Typed[1:]
	return line, true
}

// Shell is part of sys.Machine.
func (m *Machine) Shell(root, path string) error {
	if err := m.do("shell " + root + " " + path); err != nil {
		return err
	}
	_, err := os.Stat(m.Path(root + path))
	return err
}

// ArmWatchdog is part of sys.Machine.
func (m *Machine) ArmWatchdog(timeout time.Duration) (sys.Watchdog, error) {
	if !m.Stopper {
		return nil, sys.ErrNoWatchdog
	}
	m.Armed = true
	return watchdog{m}, m.do("arm watchdog " + timeout.String())
}

type watchdog struct{ m *Machine }

// Disarm is part of sys.Watchdog.
func (w watchdog) Disarm() error {
	w.m.Armed = false
	return w.m.do("disarm watchdog")
}

// Restart is part of sys.Watchdog.
func (w watchdog) Restart(timeout time.Duration) (time.Duration, error) {
	return timeout, w.m.do("restart watchdog " + timeout.String())
}

// SwitchRoot is part of sys.Machine. It ends Run.
func (m *Machine) SwitchRoot(newRoot, init string, args, env []string) error {
	if err := m.do(strings.TrimSpace("exec " + init + " " + strings.Join(args, " "))); err != nil {
		return fmt.Errorf("execute %s: %w", init, err)
	}
	if _, err := os.Stat(m.Path(newRoot + init)); err != nil {
		return fmt.Errorf("execute %s: %w", init, err)
	}
	m.Env = env
	runtime.Goexit()
	return nil
}

// Reboot is part of sys.Machine. It ends Run.
func (m *Machine) Reboot(how sys.Ending) error {
	if err := m.do(how.String()); err != nil {
		return err
	}
	runtime.Goexit()
	return nil
}
