package initrd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/slotboot/slotboot/mkimage/internal/kernel"
)

// vendors are the folders of microcode below usr/lib/firmware, and the file the kernel looks for. The name of AMD's is
// from cpuid, as is Intel's. Documentation: the kernel's Documentation/arch/x86/microcode.rst.
var vendors = []struct{ dir, suffix, file string }{
	{"amd-ucode", ".bin", "AuthenticAMD.bin"},
	{"intel-ucode", "", "GenuineIntel.bin"},
}

// Microcode returns the processor updates that root has, as Contents.Microcode wants them. Having none is an error,
// because it was asked for.
func Microcode(root fs.FS) ([]File, error) {
	var files []File
	for _, v := range vendors {
		data, err := joined(root, v.dir, v.suffix)
		if err != nil {
			return nil, fmt.Errorf("read microcode: %w", err)
		}
		if len(data) > 0 {
			files = append(files, File{"kernel/x86/microcode/" + v.file, data})
		}
	}
	if len(files) == 0 {
		return nil, errors.New("read microcode: none in the image (looked at usr/lib/firmware/amd-ucode and intel-ucode)")
	}
	return files, nil
}

// joined returns all files of a folder one after the other, sorted by name, uncompressed.
func joined(root fs.FS, dir, suffix string) ([]byte, error) {
	var names []string
	for _, base := range []string{"usr/lib/firmware/", "lib/firmware/"} {
		entries, err := fs.ReadDir(root, base+dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".xz"), ".zst")
			if strings.HasSuffix(name, suffix) && !e.IsDir() {
				names = append(names, dir+"/"+name)
			}
		}
	}
	slices.Sort(names)
	var buf bytes.Buffer
	for _, name := range slices.Compact(names) {
		data, err := kernel.ReadFirmware(root, name)
		if err != nil {
			return nil, err
		}
		buf.Write(data)
	}
	return buf.Bytes(), nil
}
