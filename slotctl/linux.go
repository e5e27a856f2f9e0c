package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"golang.org/x/sys/unix"
)

// mounter is what slotctl does to mounts.
type mounter interface {
	Mount(device, dir string, readOnly bool) error
	Unmount(dir string) error
	Remount(dir string, readOnly bool) error
	ReadOnly(dir string) (bool, error)
}

// linux is the mounter of the machine.
type linux struct{}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Mount finds the file system's type by trying those that GRUB can save its block on. A partition that is mounted
// elsewhere already cannot have another opinion on being read-only here, so Mount then follows the one it has.
func (linux) Mount(device, dir string, readOnly bool) error {
	var last error
	for _, kind := range []string{"vfat", "ext4", "ext2", "xfs"} {
		flags := uintptr(quiet)
		if readOnly {
			flags |= unix.MS_RDONLY
		}
		err := unix.Mount(device, dir, kind, flags, "")
		if errors.Is(err, unix.EBUSY) {
			if err = unix.Mount(device, dir, kind, flags^unix.MS_RDONLY, ""); err == nil && !readOnly {
				return writable(device, dir)
			}
		}
		if err == nil {
			return nil
		}
		if last == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			last = err
		}
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTBLK) {
			break
		}
	}
	return fmt.Errorf("mount %s: %w", device, last)
}

// writable makes a partition writable that is mounted read-only elsewhere too.
func writable(device, dir string) error {
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|quiet, ""); err != nil {
		return errors.Join(fmt.Errorf("mount %s for writing: %w: it is mounted read-only elsewhere", device, err), linux{}.Unmount(dir))
	}
	return nil
}

// Unmount returns when the file system is written back.
func (linux) Unmount(dir string) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) { // an indexer, a shell: the mount goes when they do
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil {
		return &fs.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}

// Remount keeps the other flags of the mount.
func (linux) Remount(dir string, readOnly bool) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	// Where both have them, the flags of statfs and mount are the same bits.
	const kept = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME
	flags := uintptr(st.Flags)&kept | unix.MS_REMOUNT
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", dir, "", flags, ""); err != nil {
		return fmt.Errorf("remount %s: %w", dir, err)
	}
	return nil
}

func (linux) ReadOnly(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st.Flags&unix.MS_RDONLY != 0, nil
}

// reboot asks the system to restart in an orderly way.
func reboot() error {
	if out, err := exec.Command("reboot").CombinedOutput(); err != nil {
		return fmt.Errorf("reboot: %w: %s", err, out)
	}
	return nil
}
