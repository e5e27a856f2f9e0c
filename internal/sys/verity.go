package sys

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The interface of device-mapper, from linux/dm-ioctl.h.
const (
	dmHeader = 312 // sizeof(struct dm_ioctl)
	dmTarget = 40  // sizeof(struct dm_target_spec)

	dmDevCreate  = 0xc138fd03 // _IOWR(0xfd, 3, struct dm_ioctl)
	dmDevRemove  = 0xc138fd04
	dmDevSuspend = 0xc138fd06 // without the suspend flag it resumes: the loaded table becomes live
	dmTableLoad  = 0xc138fd09

	dmReadOnly       = 1 << 0
	dmDeferredRemove = 1 << 17
)

// OpenVerity is part of Machine. A root hash that does not fit shows in the first read: mount(2) fails with EIO.
func (l *Linux) OpenVerity(name, device string, v Verity) (string, func(), error) {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open dm-verity: %w", err)
	}
	created, err := dmCall(control, dmDevCreate, name, dmReadOnly, nil)
	if err != nil {
		control.Close()
		return "", nil, fmt.Errorf("open dm-verity: create device: %w", err)
	}
	release := func() {
		dmCall(control, dmDevRemove, name, dmDeferredRemove, nil)
		control.Close()
	}
	if _, err = dmCall(control, dmTableLoad, name, dmReadOnly, verityTarget(device, v)); err == nil {
		_, err = dmCall(control, dmDevSuspend, name, 0, nil)
	}
	if err != nil {
		release()
		return "", nil, fmt.Errorf("open dm-verity on %s: %w", device, err)
	}
	return "/dev/dm-" + strconv.Itoa(int(unix.Minor(created))), release, nil
}

// verityTarget is the table of one dm-verity target: a struct dm_target_spec and its parameters, from
// Documentation/admin-guide/device-mapper/verity.rst.
func verityTarget(device string, v Verity) []byte {
	blocks, tree := strconv.FormatInt(v.DataBlocks, 10), strconv.FormatInt(v.DataBlocks+1, 10)
	params := "1 " + device + " " + device + " 4096 4096 " + blocks + " " + tree + " sha256 " + v.RootHash + " -"
	if v.OnCorruption != "" {
		params += " 1 " + v.OnCorruption
	}
	size := (dmTarget + len(params) + 1 + 7) &^ 7
	spec := make([]byte, size)
	binary.NativeEndian.PutUint64(spec[8:], uint64(v.DataBlocks)*8) // length in sectors of 512 bytes
	binary.NativeEndian.PutUint32(spec[20:], uint32(size))
	copy(spec[24:], "verity")
	copy(spec[dmTarget:], params)
	return spec
}

// dmCall makes one device-mapper call and returns the number of the device it was about.
func dmCall(control *os.File, request uintptr, name string, flags uint32, table []byte) (dev uint64, err error) {
	buf := make([]byte, dmHeader+len(table))
	binary.NativeEndian.PutUint32(buf[0:], 4) // interface version 4.0.0
	binary.NativeEndian.PutUint32(buf[12:], uint32(len(buf)))
	binary.NativeEndian.PutUint32(buf[16:], dmHeader)
	if table != nil {
		binary.NativeEndian.PutUint32(buf[20:], 1)
	}
	binary.NativeEndian.PutUint32(buf[28:], flags)
	copy(buf[48:48+127], name)
	copy(buf[dmHeader:], table)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(&buf[0])))
	runtime.KeepAlive(buf)
	if errno != 0 {
		return 0, errno
	}
	return binary.NativeEndian.Uint64(buf[40:]), nil
}
