// Package vdisk writes a raw disk in the forms that hypervisors and clouds take: qcow2, VMDK and VHD.
//
// From equal disks it makes equal bytes. What is zero takes no room. No library writes these forms; qemu-img, which
// reads them all, is the judge in the tests.
package vdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Format is the form of a disk. The zero value is the plain one.
type Format int

// The forms. VMDK is the stream-optimized one that ESXi and OVAs take, VHD the fixed one that Azure takes.
const (
	Raw Format = iota
	QCOW2
	VMDK
	VHD
)

var names = []string{"raw", "qcow2", "vmdk", "vhd"}

func (f Format) String() string {
	if f < 0 || int(f) >= len(names) {
		return fmt.Sprintf("format(%d)", int(f))
	}
	return names[f]
}

// Parse is the reverse of String.
func Parse(s string) (Format, error) {
	if i := slices.Index(names, s); i >= 0 {
		return Format(i), nil
	}
	return 0, fmt.Errorf("format %q, want raw, qcow2, vmdk or vhd", s)
}

const (
	sector = 512
	unit   = 64 << 10 // of qcow2's clusters and VMDK's grains: what is allocated or not
)

// Source is a raw disk: an *os.File, whose holes are then not read.
type Source interface {
	io.ReaderAt
	io.Seeker
}

// Disk is what to write.
type Disk struct {
	Source Source
	Size   int64 // bytes, whole MiB: hypervisors round other sizes, and the partition table's copy must be at the end
	ID     [16]byte
}

// Write writes d as f to w. Raw copies the parts that are not zero and leaves holes, if w can seek.
func Write(w io.WriterAt, d Disk, f Format) error {
	if d.Size <= 0 || d.Size%(1<<20) != 0 {
		return fmt.Errorf("write %v: a disk of %d bytes, want whole MiB", f, d.Size)
	}
	var err error
	switch f {
	case QCOW2:
		err = writeQCOW2(w, d)
	case VMDK:
		err = writeVMDK(w, d)
	case VHD:
		if err = d.units(func(at int64, data []byte) error { return put(w, data, at) }); err == nil {
			err = put(w, Footer(d.Size, d.ID), d.Size)
		}
	default:
		err = errors.New("nothing to convert")
	}
	if err != nil {
		return fmt.Errorf("write %v: %w", f, err)
	}
	return nil
}

// units calls each with every unit that is not all zeros, in order. data is only valid for that long.
func (d Disk) units(each func(at int64, data []byte) error) error {
	buf := make([]byte, unit)
	for at := int64(0); at < d.Size; {
		data, err := d.Source.Seek(at, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO): // nothing but a hole is left
			return nil
		case err != nil: // no file of ours, or a file system without holes
			data = at
		}
		if data >= d.Size {
			return nil
		}
		at = data / unit * unit
		b := buf[:min(unit, d.Size-at)]
		if n, err := d.Source.ReadAt(b, at); n < len(b) {
			return fmt.Errorf("read at %d: %w", at, noEOF(err))
		}
		if !zero(b) {
			if err := each(at, b); err != nil {
				return err
			}
		}
		at += unit
	}
	return nil
}

var zeros [unit]byte

func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

func put(w io.WriterAt, b []byte, at int64) error {
	_, err := w.WriteAt(b, at)
	return err
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ErrNoDisk is in the errors about a file that is no disk, or a damaged one.
var ErrNoDisk = errors.New("not a disk")

// Detect returns the form of the disk at path, by what its file begins or ends with.
func Detect(path string) (Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 4)
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, fmt.Errorf("%w: shorter than 4 bytes", ErrNoDisk)
	}
	switch string(head) {
	case "QFI\xfb":
		return QCOW2, nil
	case "KDMV":
		return VMDK, nil
	}
	size, err := f.Seek(0, io.SeekEnd) // a block device has no other size
	if err != nil {
		return 0, err
	}
	foot := make([]byte, 8)
	if size >= sector {
		if _, err := f.ReadAt(foot, size-sector); err != nil {
			return 0, err
		}
	}
	if string(foot) == vhdCookie {
		return VHD, nil
	}
	return Raw, nil
}
