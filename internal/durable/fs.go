package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is returned when another process holds the lock that was asked for.
var ErrLocked = errors.New("locked by another process")

// FS is every effect on files that slotctl and init have. OS is the real one; tests put others under it, which record
// each call or make it fail. A path is as the operating system spells it.
type FS interface {
	Open(path string) (File, error)           // for reading
	Edit(path string) (File, error)           // for reading and writing; it must exist, and is not truncated
	Create(path string) (File, error)         // for reading and writing, mode 0644; it must not exist
	Mkdir(path string) error                  // mode 0755; nil if the folder is there
	Remove(path string) error                 // a file
	Rename(from, to string) error             // replaces to
	SyncDir(path string) error                // makes created, renamed and removed names durable
	Settle(path string) error                 // brings the file system's metadata into place, see OS.Settle
	Lock(path string) (io.Closer, error)      // an exclusive lock on a file or folder; ErrLocked at once if it is taken
	Free(path string) (free int64, err error) // bytes that can still be written below the folder
}

// File is an open file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt // one system call: it is never split
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error      // content and metadata are on the disk
	Datasync() error  // content is on the disk
	DropCache() error // the next read comes from the disk, as far as the system lets us ask for it
	Lock(wait time.Duration) error
}

// OS is the file system of the machine.
type OS struct{}

// Open implements FS.
func (OS) Open(path string) (File, error) { return open(path, os.O_RDONLY) }

// Edit implements FS.
func (OS) Edit(path string) (File, error) { return open(path, os.O_RDWR) }

// Create implements FS. It follows no symbolic link.
func (OS) Create(path string) (File, error) { return open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

func open(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0o644) // a FIFO would wait for its writer
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Mkdir implements FS.
func (OS) Mkdir(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// Remove implements FS.
func (OS) Remove(path string) error { return unlink(path) }

// unlink is os.Remove without its second try as a folder: a folder in a file's place is an error to be seen.
func unlink(path string) error {
	if err := unix.Unlink(path); err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// SyncDir implements FS.
func (OS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Settle writes the journal of the file system that holds path back into place: GRUB reads ext4 without replaying the
// journal, and would see neither a new file's name nor its blocks after a mere fsync.
//
// On ext4 since Linux 5.14 that is one call. Elsewhere Settle freezes the file system and thaws it again; being killed
// in between would leave it frozen, so it is the second choice. Where neither is possible (tmpfs, overlay, not root)
// Settle syncs the file system and returns nil: such a file system is not one that GRUB boots from.
func (OS) Settle(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	fd := int(d.Fd())
	if err := unix.Syncfs(fd); err != nil { // first, so that a freeze is short
		return fmt.Errorf("sync file system of %s: %w", path, err)
	}
	switch err := checkpoint(fd); {
	case err == nil:
		return nil
	case !cannot(err):
		return fmt.Errorf("write back journal of %s: %w", path, err)
	}
	switch err := freezeAndThaw(fd); {
	case err == nil, cannot(err):
		return nil
	default:
		return fmt.Errorf("freeze file system of %s: %w", path, err)
	}
}

// cannot says that a file system has no such operation, or that we may not ask for it.
func cannot(err error) bool {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOTTY, unix.EPERM, unix.EINVAL, unix.ENODEV} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// The requests of linux/fs.h and fs/ext4/ext4.h, alike on amd64, arm64, arm and riscv64.
const (
	fifreeze          = 0xc0045877 // _IOWR('X', 119, int)
	fithaw            = 0xc0045878 // _IOWR('X', 120, int)
	ext4IocCheckpoint = 0x4004662b // _IOW('f', 43, __u32)
)

func checkpoint(fd int) error {
	return retry(func() error { return unix.IoctlSetPointerInt(fd, ext4IocCheckpoint, 0) }, unix.EINTR)
}

// freezeAndThaw waits for others who freeze the same file system.
func freezeAndThaw(fd int) error {
	if err := retry(func() error { return unix.IoctlSetInt(fd, fifreeze, 0) }, unix.EINTR, unix.EBUSY); err != nil {
		return err
	}
	return retry(func() error { return unix.IoctlSetInt(fd, fithaw, 0) }, unix.EINTR)
}

// retry calls f again while it returns one of the errors, for up to 10 seconds.
func retry(f func() error, again ...unix.Errno) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		busy := false
		for _, errno := range again {
			busy = busy || errors.Is(err, errno)
		}
		if !busy || time.Now().After(deadline) {
			return err
		}
	}
}

// Lock implements FS. It works on read-only file systems too, and ends with the process.
func (OS) Lock(path string) (io.Closer, error) {
	f, err := open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if err := f.Lock(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// Free implements FS.
func (OS) Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	free := st.Bavail
	if os.Geteuid() == 0 { // ext4 keeps a reserve for root
		free = st.Bfree
	}
	return int64(free) * int64(st.Frsize), nil
}

type osFile struct{ *os.File }

// WriteAt is a single pwrite, where os.File would try again with what is left: a second call could follow a power cut.
func (f osFile) WriteAt(p []byte, offset int64) (int, error) {
	n, err := unix.Pwrite(int(f.Fd()), p, offset)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Pwrite(int(f.Fd()), p, offset)
	}
	switch {
	case err != nil:
		return max(n, 0), &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	case n < len(p):
		return n, &fs.PathError{Op: "write", Path: f.Name(), Err: io.ErrShortWrite}
	}
	return n, nil
}

func (f osFile) Datasync() error {
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// DropCache asks the kernel to forget the file's clean pages. File systems that live in memory ignore it.
func (f osFile) DropCache() error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &fs.PathError{Op: "fadvise", Path: f.Name(), Err: err}
	}
	return nil
}

// Lock waits for the exclusive flock of the file until wait is over.
func (f osFile) Lock(wait time.Duration) error {
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
		case time.Now().After(deadline):
			return ErrLocked
		}
	}
}
