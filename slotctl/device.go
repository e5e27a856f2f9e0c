package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// machine returns the effects on the machine slotctl runs on.
func machine() effects {
	return effects{files: durable.OS{}, mounts: linux{}, base: "/run/slotboot", etc: "/etc/slotboot", pstore: "/sys/fs/pstore", arch: runtime.GOARCH, reboot: reboot,
		watchdog: watchdog{"/proc/cmdline", "/dev/watchdog0", "/sys/class/watchdog/watchdog0/nowayout"}, markEvery: markEvery}
}

// device is what slotctl works on: the environment block, the slots, and which one is running.
type device struct {
	*app
	running slots.Slot // None if not known
	data    string     // the folder that holds slots/; "" if not known
	limit   int        // where the block has no BOOT_LIMIT
	boot    *bootReport
}

// bootReport is what init says about this boot in boot.json.
type bootReport struct {
	Slot       slots.Slot `json:"slot"`
	Limit      int        `json:"limit"`
	DataDevice string     `json:"data_device"`
	EnvDevice  string     `json:"env_device"`
	EnvPath    string     `json:"env_path"`
}

// needs says which parts of a device a command cannot do without.
type needs struct{ env, data, running bool }

// find returns the device: what the flags name if there are any, else the one that slotctl runs on.
func (a *app) find(n needs) (*device, error) {
	d := &device{app: a, limit: slots.DefaultLimit}
	if a.given == (given{}) {
		return d, d.findHere()
	}
	if a.given.running != "" {
		slot, err := slots.ParseSlot(a.given.running)
		if err != nil {
			return nil, usagef("--running: %w", err)
		}
		d.running = slot
	}
	if d.data = a.given.data; d.data != "" {
		if err := a.isData(d.data); err != nil {
			return nil, err
		}
	}
	for _, flag := range []struct {
		needed bool
		name   string
		given  string
	}{{n.env, "--grubenv", a.given.grubenv}, {n.data, "--data", a.given.data}, {n.running, "--running", a.given.running}} {
		if flag.needed && flag.given == "" {
			return nil, usagef("%s is needed too, off the device", flag.name)
		}
	}
	return d, nil
}

// isData makes sure that --data names a data partition: a folder that holds slots/, or nothing yet but what a new one has.
func (a *app) isData(path string) error {
	if err := isFolder("--data", path); err != nil {
		return err
	}
	if holdsSlots(path) {
		return nil
	}
	names, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	block, _ := os.Stat(a.given.grubenv)
	for _, entry := range names {
		info, err := entry.Info()
		if entry.Name() == "lost+found" || entry.Name() == "state" || err == nil && block != nil && os.SameFile(info, block) {
			continue
		}
		err = notIntact{fmt.Errorf("--data %s: there is no slots/ in it, but %s", path, entry.Name())}
		for _, up := range []string{filepath.Join(path, ".."), filepath.Join(path, "../..")} {
			if holdsSlots(up) {
				return hinted{err, "--data " + up}
			}
		}
		return hinted{err, "it is the folder that holds slots/A and slots/B: the data partition, where it is mounted"}
	}
	return nil
}

func holdsSlots(path string) bool {
	info, err := os.Stat(filepath.Join(path, "slots"))
	return err == nil && info.IsDir()
}

// isFolder makes sure that a flag names a folder.
func isFolder(flag, path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", flag, err)
	case !info.IsDir():
		return notIntact{fmt.Errorf("%s %s: not a folder", flag, path)}
	}
	return nil
}

// mayReboot refuses a reboot when the flags name another device: the machine that slotctl runs on is not meant.
func (a *app) mayReboot() error {
	if a.given != (given{}) {
		return usagef("--reboot: not off the device: it would reboot this machine")
	}
	return nil
}

func (d *device) findHere() error {
	path := filepath.Join(d.base, "boot.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("this system was not booted by slotboot: there is no %s", path), "off the device, name --grubenv, --data and --running"}
	}
	if err != nil {
		return err
	}
	d.boot = new(bootReport)
	if err := json.Unmarshal(text, d.boot); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if d.boot.Slot == slots.None {
		return fmt.Errorf("read %s: it names no slot", path)
	}
	d.running, d.limit, d.data = d.boot.Slot, d.boot.Limit, filepath.Join(d.base, "data")
	return nil
}

// slotDir returns the folder of a slot.
func (d *device) slotDir(slot slots.Slot) string {
	return filepath.Join(d.data, "slots", slot.String())
}

// lock keeps other slotctl commands that change slots away until it is closed.
func (d *device) lock() (io.Closer, error) {
	if d.data == "" {
		return io.NopCloser(nil), nil // each update of the block has its own lock
	}
	lock, err := d.files.Lock(d.data)
	if errors.Is(err, durable.ErrLocked) {
		return nil, hinted{errors.New("another slotctl is at work on this device (nothing changed)"), "try again when it is done"}
	}
	return lock, err
}

// readEnv returns what the environment block says.
func (d *device) readEnv() (bootenv.Content, error) {
	var content bootenv.Content
	err := d.withEnv(true, func(path string) (err error) {
		content, err = bootenv.ReadIn(d.files, path, d.limit)
		return err
	})
	return content, err
}

// updateEnv changes the environment block with one write. When it returns nil the change is on the disk.
func (d *device) updateEnv(edit func(slots.State) (slots.State, error)) (slots.State, error) {
	var next slots.State
	err := d.withEnv(false, func(path string) (err error) {
		next, err = bootenv.UpdateIn(d.files, path, d.limit, edit)
		return err
	})
	return next, err
}

// withEnv calls f with the path of the environment block. On the device it mounts the partition for that long, at a
// place of its own.
func (d *device) withEnv(readOnly bool, f func(path string) error) error {
	if d.boot == nil {
		if err := d.foreign(d.given.grubenv); err != nil {
			return err
		}
		return missing(f(d.given.grubenv), d.given.grubenv)
	}
	switch d.boot.EnvDevice {
	case "":
		return errors.New("init has found no partition with an environment block")
	case d.boot.DataDevice:
		return d.withData(readOnly, func() error {
			return missingOn(d.boot.EnvDevice, d.boot.EnvPath, f(filepath.Join(d.data, d.boot.EnvPath)))
		})
	}
	dir, err := os.MkdirTemp(d.base, "env-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := d.mounts.Mount(d.boot.EnvDevice, dir, readOnly); err != nil {
		return err
	}
	err = missingOn(d.boot.EnvDevice, d.boot.EnvPath, f(filepath.Join(dir, d.boot.EnvPath)))
	return errors.Join(err, d.mounts.Unmount(dir))
}

// foreign refuses a file named by hand that has never been an environment block, such as the one next to it: repairing it
// would overwrite what is somebody's. Nothing, or the start of GRUB's header, is left of a block that an accident met.
func (d *device) foreign(path string) error {
	data, err := durable.Read(d.files, path)
	if err != nil {
		return nil // the caller tells
	}
	const title = "# GRUB Env"
	if _, err := grubenv.Parse(data); err != nil && !blank(data) && !bytes.HasPrefix(data, []byte(title)) {
		return fmt.Errorf("--grubenv: %w", damaged(path, data, err))
	}
	return nil
}

// missing adds to the error of an environment block that is not there how to make one.
func missing(err error, path string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return hinted{err, "slotctl env create " + path + " makes an empty block: slot A, committed"}
	}
	return err
}

// missingOn is missing for a block on a partition that is mounted only while slotctl looks at it.
func missingOn(device, name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("there is no environment block on %s: no file %s", device, name),
			fmt.Sprintf("mount %s /mnt && slotctl env create %s makes an empty one: slot A, committed", device, filepath.Join("/mnt", name))}
	}
	return err
}

// withData calls f while the data partition can be written, if the device is the running one and readOnly is false.
func (d *device) withData(readOnly bool, f func() error) error {
	if d.boot == nil || readOnly {
		return f()
	}
	was, err := d.mounts.ReadOnly(d.data)
	if err != nil {
		return err
	}
	if !was {
		return f()
	}
	if err := d.mounts.Remount(d.data, false); err != nil {
		return err
	}
	err = f()
	if back := d.mounts.Remount(d.data, true); back != nil {
		d.warn("%s stays writable: %v", d.data, back)
	}
	return err
}
