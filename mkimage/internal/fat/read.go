package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// reader reads a FAT32 file system that anybody may have written to since.
type reader struct {
	r           io.ReaderAt
	clusterSize int64
	fat, data   int64 // bytes from the start
	clusters    uint32
	root        uint32
}

// found is an entry of a folder.
type found struct {
	name  string
	dir   bool
	first uint32
	size  uint32
}

// maxFolder bounds what is read of a folder: the format allows no more.
const maxFolder = 65536 * entrySize

const maxFile = 64 << 20

// List returns the names in the folder at path, "" being the root, in the order of the folder, without '.' and '..'.
// The error wraps fs.ErrNotExist when there is no such folder.
func List(r io.ReaderAt, path string) ([]string, error) {
	v, err := open(r)
	if err != nil {
		return nil, fmt.Errorf("read FAT32: %w", err)
	}
	dir, err := v.walk(path)
	if err == nil && !dir.dir {
		err = fmt.Errorf("not a folder")
	}
	var list []found
	if err == nil {
		list, err = v.folder(dir.first)
	}
	if err != nil {
		return nil, fmt.Errorf("read FAT32: %s: %w", path, err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.name)
	}
	return names, nil
}

// ReadFile returns the contents of the file at path, and where they start when they lie in one piece, in bytes from
// the start of the file system (else 0). Names are compared without case. A file above 64 MiB is refused. The error
// wraps fs.ErrNotExist when there is no such file.
func ReadFile(r io.ReaderAt, path string) (data []byte, at int64, err error) {
	v, err := open(r)
	if err != nil {
		return nil, 0, fmt.Errorf("read FAT32: %w", err)
	}
	f, err := v.walk(path)
	if err == nil && f.dir {
		err = fmt.Errorf("is a folder")
	}
	if err == nil && f.size > maxFile {
		err = fmt.Errorf("%d bytes, want at most %d", f.size, maxFile)
	}
	if err == nil && f.size > 0 {
		data, at, err = v.chain(f.first, int64(f.size))
		if err == nil && int64(len(data)) < int64(f.size) {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read FAT32: %s: %w", path, err)
	}
	return data[:f.size], at, nil
}

func open(r io.ReaderAt) (*reader, error) {
	b := make([]byte, sector)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	bytesPerSector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, total := int64(le.Uint16(b[14:])), int64(le.Uint32(b[32:]))
	fats, size := int64(b[16]), int64(le.Uint32(b[36:]))
	if b[510] != 0x55 || b[511] != 0xaa || le.Uint16(b[22:]) != 0 || size == 0 {
		return nil, errors.New("not a FAT32 file system")
	}
	if bytesPerSector < 512 || bytesPerSector > 4096 || perCluster == 0 || fats == 0 || reserved == 0 {
		return nil, errors.New("damaged boot sector")
	}
	v := &reader{r: r, clusterSize: bytesPerSector * perCluster, root: le.Uint32(b[44:])}
	v.fat = reserved * bytesPerSector
	v.data = v.fat + fats*size*bytesPerSector
	v.clusters = uint32(min(max(0, total*bytesPerSector-v.data)/v.clusterSize, size*bytesPerSector/4-2))
	return v, nil
}

func (v *reader) walk(path string) (found, error) {
	at := found{dir: true, first: v.root}
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		if !at.dir {
			return at, fs.ErrNotExist
		}
		list, err := v.folder(at.first)
		if err != nil {
			return at, err
		}
		known := false
		for _, f := range list {
			if !known && strings.EqualFold(f.name, name) {
				at, known = f, true
			}
		}
		if !known {
			return at, fs.ErrNotExist
		}
	}
	return at, nil
}

// chain returns up to limit bytes of the file that starts at a cluster, rounded up to whole clusters.
func (v *reader) chain(first uint32, limit int64) (data []byte, at int64, err error) {
	if first >= rootCluster {
		at = v.data + int64(first-rootCluster)*v.clusterSize
	}
	for n := first; int64(len(data)) < limit && n < 0x0ffffff8; {
		if n < rootCluster || n-rootCluster >= v.clusters {
			return nil, 0, fmt.Errorf("damaged chain: cluster %d", n)
		}
		from := len(data)
		data = append(data, make([]byte, v.clusterSize)...)
		pos := v.data + int64(n-rootCluster)*v.clusterSize
		if _, err := v.r.ReadAt(data[from:], pos); err != nil {
			return nil, 0, err
		}
		if pos != at+int64(from) {
			at = 0
		}
		var next [4]byte
		if _, err := v.r.ReadAt(next[:], v.fat+4*int64(n)); err != nil {
			return nil, 0, err
		}
		n = binary.LittleEndian.Uint32(next[:]) & 0x0fffffff
	}
	return data, at, nil
}

func (v *reader) folder(first uint32) ([]found, error) {
	b, _, err := v.chain(first, maxFolder)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	var list []found
	var long []uint16
	for ; len(b) >= entrySize && b[0] != 0; b = b[entrySize:] {
		switch attr := b[11]; {
		case b[0] == 0xe5:
			long = nil
		case attr&0x3f == attrLong:
			long = append(longPart(b), long...)
		case attr&attrVolume != 0:
			long = nil
		default:
			f := found{name: utf16String(long), dir: attr&attrDir != 0, size: le.Uint32(b[28:])}
			f.first = uint32(le.Uint16(b[20:]))<<16 | uint32(le.Uint16(b[26:]))
			if f.name == "" {
				f.name = shortString(b)
			}
			if f.name != "." && f.name != ".." {
				list = append(list, f)
			}
			long = nil
		}
	}
	return list, nil
}

func longPart(b []byte) []uint16 {
	var units []uint16
	for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for at := span[0]; at < span[1]; at += 2 {
			unit := binary.LittleEndian.Uint16(b[at:])
			if unit == 0 {
				return units
			}
			units = append(units, unit)
		}
	}
	return units
}

func utf16String(units []uint16) string { return string(utf16.Decode(units)) }

// shortString returns the short name. Two bits say that a part was meant in small letters.
func shortString(b []byte) string {
	stem, ext := strings.TrimRight(string(b[:8]), " "), strings.TrimRight(string(b[8:11]), " ")
	if b[12]&0x08 != 0 {
		stem = strings.ToLower(stem)
	}
	if b[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return stem
	}
	return stem + "." + ext
}
