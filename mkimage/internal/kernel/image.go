package kernel

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrNotKernel is in the error about a file that is no kernel GRUB could load.
var ErrNotKernel = errors.New("not a kernel image")

// Image is what a kernel file says about itself.
type Image struct {
	Format  string // bzImage, Image, "gzip Image", "zboot Image" or "UKI bzImage"
	Arch    string // GOARCH: amd64, arm64, 386, riscv64
	Release string // as uname -r prints it; empty when the file does not tell
	// Boot is the form that every GRUB loads: the file itself, except that an arm64 Image comes out of its gzip, zboot or
	// UKI wrapping, which GRUB 2.06 refuses.
	Boot []byte
}

// Inspect tells what kernel data is, by its content and not by its name. Data that is no kernel gives ErrNotKernel; a
// bzImage shorter than its header says is damaged and an error too.
//
// Formats: the kernel's Documentation/arch/x86/boot.rst and Documentation/arch/arm64/booting.rst.
func Inspect(data []byte) (*Image, error) { return inspect(data, 0) }

// maxWrappings is how deep an Image may be wrapped: a UKI around a zboot around an Image is two.
const maxWrappings = 3

func inspect(data []byte, depth int) (*Image, error) {
	at := func(off int, magic string) bool {
		return len(data) >= off+len(magic) && string(data[off:off+len(magic)]) == magic
	}
	switch {
	case depth > maxWrappings:
		return nil, fmt.Errorf("%w: wrapped more than %d times", ErrNotKernel, maxWrappings)
	case at(0x1fe, "\x55\xaa") && at(0x202, "HdrS"):
		return inspectBzImage(data)
	case at(0, "MZ") && at(4, "zimg"):
		return inspectZboot(data, depth)
	case at(0x38, "ARM\x64"):
		return &Image{Format: "Image", Arch: "arm64", Release: banner(data), Boot: data}, nil
	case at(0x38, "RSC\x05"):
		return &Image{Format: "Image", Arch: "riscv64", Release: banner(data), Boot: data}, nil
	case at(0, "\x1f\x8b"):
		return inspectWrapped(data, "gzip", depth)
	case at(0, "MZ"):
		return inspectUKI(data, depth)
	case at(0, elf.ELFMAG):
		return nil, fmt.Errorf("%w: an ELF file, which GRUB cannot load (want a bzImage or an arm64 Image)", ErrNotKernel)
	case len(data) == 0:
		return nil, fmt.Errorf("%w: the file is empty", ErrNotKernel)
	}
	return nil, fmt.Errorf("%w: neither bzImage nor arm64 Image, starts with % x", ErrNotKernel, data[:min(8, len(data))])
}

// Offsets in the x86 setup header.
const (
	hdrSetupSects  = 0x1f1
	hdrSysSize     = 0x1f4 // 16-byte units
	hdrProtocol    = 0x206
	hdrVersionText = 0x20e // minus 0x200
	hdrXLoadFlags  = 0x236 // from protocol 2.12
	hdrPayloadOff  = 0x248 // from protocol 2.08
	hdrPayloadLen  = 0x24c
	hdrEnd         = 0x268
)

func inspectBzImage(data []byte) (*Image, error) {
	if len(data) < hdrEnd {
		return nil, fmt.Errorf("%w: bzImage of %d bytes", ErrNotKernel, len(data))
	}
	le := binary.LittleEndian
	want := setupBytes(data) + 16*int64(le.Uint32(data[hdrSysSize:]))
	if int64(len(data)) < want {
		return nil, fmt.Errorf("bzImage is cut short: %d bytes, its header says %d", len(data), want)
	}
	img := &Image{Format: "bzImage", Arch: "386", Boot: data}
	if le.Uint16(data[hdrProtocol:]) >= 0x20c && le.Uint16(data[hdrXLoadFlags:])&1 != 0 {
		img.Arch = "amd64"
	}
	if p := le.Uint16(data[hdrVersionText:]); p != 0 && int(p)+0x200 < len(data) {
		img.Release = firstWord(data[int(p)+0x200:])
	}
	return img, nil
}

// setupBytes is the size of the real-mode part, which the protected-mode kernel follows. 0 sectors mean 4.
func setupBytes(data []byte) int64 {
	n := int64(data[hdrSetupSects])
	if n == 0 {
		n = 4
	}
	return (n + 1) * 512
}

// inspectZboot unpacks an EFI zboot image: payload offset at 8, size at 12, compression name at 24.
func inspectZboot(data []byte, depth int) (*Image, error) {
	if len(data) < 64 {
		return nil, fmt.Errorf("%w: zboot image of %d bytes", ErrNotKernel, len(data))
	}
	off, size := binary.LittleEndian.Uint32(data[8:]), binary.LittleEndian.Uint32(data[12:])
	if uint64(off)+uint64(size) > uint64(len(data)) {
		return nil, fmt.Errorf("zboot image is cut short: %d bytes, payload ends at %d", len(data), uint64(off)+uint64(size))
	}
	return inspectWrapped(data[off:off+size], "zboot", depth)
}

func inspectWrapped(data []byte, wrapping string, depth int) (*Image, error) {
	inner, err := decompress(data)
	if err != nil {
		return nil, fmt.Errorf("unpack %s kernel: %w", wrapping, err)
	}
	return wrapped(inner, wrapping, depth)
}

func wrapped(inner []byte, wrapping string, depth int) (*Image, error) {
	img, err := inspect(inner, depth+1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wrapping, err)
	}
	img.Format = wrapping + " " + img.Format
	return img, nil
}

// inspectUKI takes the kernel out of a unified kernel image: the .linux section of a PE file.
func inspectUKI(data []byte, depth int) (*Image, error) {
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: an EFI program, but %v", ErrNotKernel, err)
	}
	s := f.Section(".linux")
	if s == nil {
		return nil, fmt.Errorf("%w: an EFI program without a .linux section", ErrNotKernel)
	}
	inner, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read UKI .linux section: %w", err)
	}
	// The section is padded to the file alignment; what it really holds is its virtual size.
	return wrapped(inner[:min(len(inner), int(s.VirtualSize))], "UKI", depth)
}

// banner finds the release in "Linux version 6.1.0-56-arm64 (...)". The format string with %s and other texts that
// start alike are passed over.
func banner(data []byte) string {
	const text = "Linux version "
	for rest := data; ; {
		i := bytes.Index(rest, []byte(text))
		if i < 0 {
			return ""
		}
		rest = rest[i+len(text):]
		if len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
			return firstWord(rest)
		}
	}
}

// firstWord returns the text up to a space or NUL, at most 64 bytes (the kernel's __NEW_UTS_LEN), and nothing that
// could not be a folder name.
func firstWord(b []byte) string {
	end := bytes.IndexAny(b[:min(len(b), 65)], " \x00\n")
	if end < 0 || !validRelease(string(b[:end])) {
		return ""
	}
	return string(b[:end])
}

func validRelease(s string) bool {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, bad)
}
