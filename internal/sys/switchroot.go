package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The file systems that an initramfs is, from statfs(2).
const (
	ramfsMagic = 0x858458f6
	tmpfsMagic = 0x01021994
)

// SwitchRoot is part of Machine.
func (l *Linux) SwitchRoot(newRoot, init string, args, env []string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("switch root: %w", ErrNotPID1)
	}
	l.quietAgain()
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch root: open /: %w", err)
	}
	defer unix.Close(old)
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("switch root: chdir %s: %w", newRoot, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("switch root: move %s to /: %w", newRoot, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("switch root: chroot: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("switch root: chdir /: %w", err)
	}
	emptyInitramfs(old)
	if err := unix.Exec(init, append([]string{init}, args...), env); err != nil {
		return fmt.Errorf("execute %s: %w", init, err)
	}
	return nil
}

// emptyInitramfs gives the memory of the initramfs back. It does nothing if the folder is on anything but a ramfs or
// tmpfs, and it stays on that file system.
func emptyInitramfs(root int) {
	var sfs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(root, &sfs) != nil || unix.Fstat(root, &st) != nil {
		return
	}
	if kind := uint32(sfs.Type); kind == ramfsMagic || kind == tmpfsMagic {
		removeWithin(root, st.Dev)
	}
}

// removeWithin removes what the folder holds, except what is on another device than dev.
func removeWithin(dir int, dev uint64) {
	fd, err := unix.Dup(dir)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != dev {
			continue
		}
		flags := 0
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			flags = unix.AT_REMOVEDIR
			if sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
				removeWithin(sub, dev)
				unix.Close(sub)
			}
		}
		unix.Unlinkat(dir, name, flags)
	}
}
