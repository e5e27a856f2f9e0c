package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrInUse is wrapped by OpenDevice when something on the device is mounted, or another program claims it.
var ErrInUse = errors.New("device is in use")

// OpenDevice opens a whole block device for Fill, and returns its size for Options.Size. While it is open nothing on
// it can be mounted. The error wraps ErrInUse, fs.ErrNotExist or fs.ErrPermission.
func OpenDevice(path string) (f *os.File, size int64, err error) {
	// Without O_CREATE, O_EXCL on a block device claims it and all its partitions.
	f, err = os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, 0, fmt.Errorf("open %s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, 0, err
	}
	if size, err = deviceSize(f); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	return f, size, nil
}

func deviceSize(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		return 0, errors.New("not a block device")
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		number := fmt.Sprintf("%d:%d", unix.Major(sys.Rdev), unix.Minor(sys.Rdev))
		if _, err := os.Stat("/sys/dev/block/" + number + "/partition"); err == nil {
			return 0, errors.New("a partition, want a whole disk")
		}
	}
	logical, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return 0, fmt.Errorf("sector size: %w", err)
	}
	if logical != sector {
		return 0, fmt.Errorf("sectors of %d bytes, want %d", logical, sector)
	}
	return f.Seek(0, io.SeekEnd)
}

// reread has the kernel look for the new partitions. A device that knows none, such as a plain loop device, is fine.
func reread(f *os.File) error {
	err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		return nil
	}
	return err
}
