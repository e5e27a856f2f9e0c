package bundle

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A bundle is a plain ustar archive of regular files, of which this package writes one form and reads only what it
// needs: extended headers, links and sparse files have no place in it. Sizes from 8 GiB on are in base 256, as GNU tar
// writes them.
const blockSize = 512

// entryHeader is the tar header of one regular file.
func entryHeader(name string, size int64, mtime time.Time) []byte {
	h := make([]byte, blockSize)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	if size < 1<<33 {
		fmt.Fprintf(window{h[124:136]}, "%011o\x00", size)
	} else {
		h[124] = 0x80
		for i, v := 135, size; i > 124 && v > 0; i, v = i-1, v>>8 {
			h[i] = byte(v)
		}
	}
	fmt.Fprintf(window{h[136:148]}, "%011o\x00", min(max(mtime.Unix(), 0), 1<<33-1))
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[265:], "root")
	copy(h[297:], "root")
	fmt.Fprintf(window{h[148:156]}, "%06o\x00 ", checksum(h))
	return h
}

// window writes into a part of a header.
type window struct{ b []byte }

func (w window) Write(p []byte) (int, error) { return copy(w.b, p), nil }

// checksum sums the header with its checksum field as spaces.
func checksum(h []byte) int {
	sum := 0
	for i, c := range h {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int(c)
	}
	return sum
}

// parseHeader returns the name and size in the tar header of a regular file.
func parseHeader(h []byte) (name string, size int64, err error) {
	if string(h[257:262]) != "ustar" {
		return "", 0, invalidf("no tar header where one is due")
	}
	if sum, ok := octal(h[148:156]); !ok || sum != int64(checksum(h)) {
		return "", 0, invalidf("tar header with a wrong checksum")
	}
	name = text(h[:100])
	if h[156] != '0' && h[156] != 0 {
		return "", 0, invalidf("tar entry %q of type %q, want a regular file", name, h[156])
	}
	if prefix := text(h[345:500]); prefix != "" {
		name = prefix + "/" + name
	}
	size, ok := octal(h[124:136])
	if h[124] == 0x80 {
		size, ok = 0, true
		for _, c := range h[125:136] {
			if size > math.MaxInt64>>8 {
				return "", 0, invalidf("tar entry %q: size does not fit 63 bits", name)
			}
			size = size<<8 | int64(c)
		}
	}
	if !ok {
		return "", 0, invalidf("tar entry %q: size %q is not a number", name, h[124:136])
	}
	return name, size, nil
}

func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

func octal(field []byte) (int64, bool) {
	digits := strings.Trim(string(field), " \x00")
	if digits == "" || strings.Trim(digits, "01234567") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 8, 64)
	return n, err == nil
}

// padding returns how many bytes follow size bytes up to the next block.
func padding(size int64) int64 { return -size & (blockSize - 1) }
