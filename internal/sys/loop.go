package sys

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// AttachLoop is part of Machine.
func (l *Linux) AttachLoop(file string) (string, func(), error) {
	backing, err := os.Open(file)
	if err != nil {
		return "", nil, fmt.Errorf("attach loop device: %w", err)
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, fmt.Errorf("attach loop device: %w", err)
	}
	defer control.Close()
	for range 64 { // another process may take the free device first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", nil, fmt.Errorf("attach loop device: find a free one: %w", err)
		}
		device := "/dev/loop" + strconv.Itoa(n)
		loop, err := os.OpenFile(device, os.O_RDONLY, 0)
		if err != nil {
			return "", nil, fmt.Errorf("attach loop device: %w", err)
		}
		err = configureLoop(int(loop.Fd()), int(backing.Fd()))
		if err == nil {
			return device, func() { loop.Close() }, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return "", nil, fmt.Errorf("attach %s to %s: %w", device, file, err)
		}
	}
	return "", nil, fmt.Errorf("attach loop device: %w", unix.EBUSY)
}

// configureLoop attaches in one call, and in two on a kernel before 5.8. Autoclear detaches the device with its last
// user, so that nothing has to at shutdown.
func configureLoop(loop, backing int) error {
	info := unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR}
	err := unix.IoctlLoopConfigure(loop, &unix.LoopConfig{Fd: uint32(backing), Info: info})
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
		return err
	}
	if err := unix.IoctlSetInt(loop, unix.LOOP_SET_FD, backing); err != nil {
		return err
	}
	if err := unix.IoctlLoopSetStatus64(loop, &info); err != nil {
		unix.IoctlSetInt(loop, unix.LOOP_CLR_FD, 0)
		return err
	}
	return nil
}
