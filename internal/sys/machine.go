package sys

import (
	"time"

	"github.com/slotboot/slotboot/overlay"
)

// Machine is what init asks of the kernel it runs on. New gives the real one; package systest has one that records,
// on which whole boots run in a test.
//
// Files are read and written with package os, under the names that Path gives.
type Machine interface {
	// Path returns where the file that the machine knows by the absolute path name is: name itself, except in tests.
	Path(name string) string

	// Mount creates what is missing of the target and of m.Make, and mounts.
	Mount(m overlay.Mount) error
	// Unmount unmounts what was mounted last at target. It does not wait for those who use it.
	Unmount(target string) error

	// LoadModule loads the kernel module in file with params, "name=value ..." of its own parameters. A module that is
	// there already is no error.
	LoadModule(file, params string) error
	// Beside runs do while the caller goes on, and takes what time the caller leaves. wait returns when do has.
	Beside(do func()) (wait func())
	// AttachLoop makes a read-only block device of file. The device goes away with its last user: release gives up the
	// caller's own use and must be called after the device is mounted.
	AttachLoop(file string) (device string, release func(), err error)
	// OpenVerity makes the device whose reads are checked against v. Like AttachLoop's, it goes away with its last user
	// after release.
	OpenVerity(name, device string, v Verity) (verified string, release func(), err error)

	// ResizePartition tells the kernel where partition number of a disk is and how large, in bytes, though it may be
	// mounted. The partition table is the caller's.
	ResizePartition(disk string, number int, start, size int64) error
	// GrowExt4 grows the ext4 mounted read-write at target, to what its device must already have.
	GrowExt4(target string, blocks int64) error

	// Wait returns when a device has appeared, changed or gone, or after timeout. It may return early.
	Wait(timeout time.Duration)
	// Uptime returns the time since the machine started, sleep included.
	Uptime() time.Duration
	// Clock returns the time of day, which may be any if the hardware does not keep it.
	Clock() time.Time
	// Random fills b from the kernel's generator.
	Random(b []byte) error

	// AdoptConsole makes /dev/console the standard input, output and error of this process and of what it becomes. The
	// kernel does so itself only if the initramfs holds that node.
	AdoptConsole() error
	// Say puts one line on every console, even if the kernel runs quiet, and into the kernel's log.
	Say(line string)
	// Note puts one line into the kernel's log; it reaches the console as the kernel's own messages do.
	Note(line string)
	// Prompt writes text to the console as it is.
	Prompt(text string)
	// ReadLine waits for a line typed at the console, without its end. It returns false after timeout.
	ReadLine(timeout time.Duration) (line string, ok bool)
	// Shell runs the program at path in the folder root as its /, at the console, until it ends.
	Shell(root, path string) error

	// ArmWatchdog starts the hardware watchdog: it resets the machine after timeout, or after the time next to it that
	// the hardware knows. It returns ErrNoWatchdog when there is none that could be stopped again.
	ArmWatchdog(timeout time.Duration) (Watchdog, error)

	// SwitchRoot makes newRoot the root, empties the initramfs, and runs the program init in place of the caller, with
	// args behind its name. It only returns with an error.
	SwitchRoot(newRoot, init string, args, env []string) error
	// Reboot writes what is unwritten and ends this run of the machine.
	Reboot(how Ending) error
}

// Watchdog is an armed hardware watchdog.
type Watchdog interface {
	// Disarm stops it.
	Disarm() error
	// Restart begins its time again, with another timeout as ArmWatchdog takes it, and returns the one it now has. It
	// stays armed when the caller's process becomes another program.
	Restart(timeout time.Duration) (time.Duration, error)
}

// Verity describes a dm-verity hash tree appended to the data it protects: version 1, sha256, blocks of 4096 bytes, no
// salt; its superblock stands behind the data and the tree behind that.
type Verity struct {
	RootHash   string // 64 hex digits
	DataBlocks int64
	// OnCorruption is what happens when a block is read that is not intact: "" gives its reader EIO, restart_on_corruption
	// (Linux 4.6) and panic_on_corruption (5.9) stop the machine.
	OnCorruption string
}

// Ending is how a machine stops.
type Ending int

// The endings.
const (
	Restart Ending = iota
	PowerOff
	Halt
	Kexec // start the kernel that kexec_load has put there; Restart if there is none
)

// String returns the word that systemd passes to a shutdown program.
func (e Ending) String() string {
	switch e {
	case PowerOff:
		return "poweroff"
	case Halt:
		return "halt"
	case Kexec:
		return "kexec"
	}
	return "reboot"
}
