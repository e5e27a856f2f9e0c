package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// CopyDisk returns the path of a copy of the image src that the test may change. Holes stay holes.
func CopyDisk(tb TB, src string) string {
	tb.Helper()
	dst := filepath.Join(tb.TempDir(), filepath.Base(src))
	info, err := os.Stat(src)
	if err == nil {
		err = CopyRange(dst, src, 0, info.Size())
	}
	if err != nil {
		tb.Fatalf("copy disk: %v", err)
	}
	return dst
}

// CopyRange makes the file dst of size bytes of the file src, from offset on. Holes stay holes.
func CopyRange(dst, src string, offset, size int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	const seekData, seekHole = 3, 4
	for at := offset; at < offset+size; {
		data, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) || err == nil && data >= offset+size {
			break // only a hole is left
		}
		if err != nil {
			return err
		}
		if at, err = in.Seek(data, seekHole); err != nil {
			return err
		}
		n := min(at, offset+size) - data
		if _, err := io.Copy(io.NewOffsetWriter(out, data-offset), io.NewSectionReader(in, data, n)); err != nil {
			return err
		}
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	return out.Close()
}

// Partition is an entry of a GPT.
type Partition struct {
	Number       int    // from 1, as in /dev/vda1 and GRUB's gpt1
	Type, ID     string // GUIDs in lower case
	Name         string
	Offset, Size int64 // in bytes
}

// ESPType is the type GUID of an EFI system partition.
const ESPType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

// Partitions reads the primary GPT of the image at path. It knows sectors of 512 bytes only.
func Partitions(path string) ([]Partition, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	header := make([]byte, 92)
	if _, err := f.ReadAt(header, 512); err != nil {
		return nil, fmt.Errorf("read GPT of %s: %w", path, err)
	}
	if string(header[:8]) != "EFI PART" {
		return nil, fmt.Errorf("read GPT of %s: no signature", path)
	}
	table := int64(binary.LittleEndian.Uint64(header[72:]))
	count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if count > 1024 || size < 128 || size > 4096 {
		return nil, fmt.Errorf("read GPT of %s: %d entries of %d bytes", path, count, size)
	}
	entries := make([]byte, int(count)*int(size))
	if _, err := f.ReadAt(entries, table*512); err != nil {
		return nil, fmt.Errorf("read GPT of %s: %w", path, err)
	}
	var parts []Partition
	for i := range int(count) {
		e := entries[i*int(size):][:128]
		if [16]byte(e[:16]) == ([16]byte{}) {
			continue
		}
		first, last := int64(binary.LittleEndian.Uint64(e[32:])), int64(binary.LittleEndian.Uint64(e[40:]))
		parts = append(parts, Partition{
			Number: i + 1, Type: guid(e), ID: guid(e[16:]), Name: utf16Name(e[56:128]),
			Offset: first * 512, Size: (last - first + 1) * 512,
		})
	}
	return parts, nil
}

// guid spells the GUID at the start of b: its first three fields are little endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

func utf16Name(b []byte) string {
	var name []rune
	for ; len(b) >= 2; b = b[2:] {
		r := rune(binary.LittleEndian.Uint16(b))
		if r == 0 {
			break
		}
		name = append(name, r)
	}
	return string(name)
}

// ReadESP returns the file name, a path with slashes, from the EFI system partition of the image disk.
func ReadESP(tb TB, disk, name string) []byte {
	tb.Helper()
	var data []byte
	err := withESP(disk, os.O_RDONLY, func(fs *fat) error {
		file, err := fs.find(name)
		if err == nil {
			data, err = fs.read(file)
		}
		return err
	})
	if err != nil {
		tb.Fatalf("read %s from the ESP of %s: %v", name, disk, err)
	}
	return data
}

// WriteESP overwrites the first len(data) bytes of a file in the EFI system partition of the image disk, in place. The
// file keeps its size: more data than it has is an error. Use it while no machine has the disk.
func WriteESP(tb TB, disk, name string, data []byte) {
	tb.Helper()
	err := withESP(disk, os.O_RDWR, func(fs *fat) error {
		file, err := fs.find(name)
		if err != nil {
			return err
		}
		return fs.overwrite(file, data)
	})
	if err != nil {
		tb.Fatalf("write %s to the ESP of %s: %v", name, disk, err)
	}
}

// EnvPath is where the environment block lies in the EFI system partition.
const EnvPath = "EFI/BOOT/grubenv"

// ReadEnv returns the environment block of the image disk.
func ReadEnv(tb TB, disk string) []byte { tb.Helper(); return ReadESP(tb, disk, EnvPath) }

// WriteEnv overwrites the environment block of the image disk.
func WriteEnv(tb TB, disk string, block []byte) {
	tb.Helper()
	WriteESP(tb, disk, EnvPath, block)
}

func withESP(disk string, flag int, do func(*fat) error) error {
	parts, err := Partitions(disk)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.Type != ESPType {
			continue
		}
		f, err := os.OpenFile(disk, flag, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		fs, err := openFAT(f, p.Offset)
		if err != nil {
			return err
		}
		if err := do(fs); err != nil {
			return err
		}
		return f.Close()
	}
	return errors.New("no EFI system partition")
}
