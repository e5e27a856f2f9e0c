package squash

import (
	"encoding/binary"
	"fmt"
)

// Compression is the compressor of an image: its number in the superblock. The zero value stands for Zstd in Options.
type Compression uint16

// The compressors. LZMA and LZO are only read: no kernel reads the first, and nobody should want the second.
const (
	Gzip Compression = 1
	LZMA Compression = 2
	LZO  Compression = 3
	XZ   Compression = 4
	LZ4  Compression = 5
	Zstd Compression = 6

	// None stores every block as it is. The image says gzip, with the flags that nothing is compressed, as mksquashfs
	// writes it: there is no number for it, and every reader knows gzip.
	None Compression = 0xffff
)

// String is the name that ParseCompression reads.
func (c Compression) String() string {
	switch c {
	case Gzip:
		return "gzip"
	case LZMA:
		return "lzma"
	case LZO:
		return "lzo"
	case XZ:
		return "xz"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	case None:
		return "none"
	}
	return fmt.Sprintf("compressor %d", uint16(c))
}

// ParseCompression returns the compressor called name: zstd, gzip, xz, lz4 or none.
func ParseCompression(name string) (Compression, error) {
	for _, c := range []Compression{Zstd, Gzip, XZ, LZ4, None} {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("parse compression %q: want zstd, gzip, xz, lz4 or none", name)
}

// Default levels are those of mksquashfs, so that an image made with them carries no options block.
const (
	defaultZstdLevel = 15
	defaultGzipLevel = 9
	defaultLZ4Level  = 9
	defaultXZLevel   = 6
)

// optionBytes is the compressor options block, without its metadata header, or nil where readers assume what we do.
//
// Layouts: squashfs-tools gzip_wrapper.h, lz4_wrapper.h, zstd_wrapper.h. lz4 always has one: the kernel refuses lz4
// images without it. The kernel's xz takes the block size as its dictionary when there is none, which is ours.
func optionBytes(c Compression, level int) []byte {
	le := binary.LittleEndian
	switch {
	case c == Gzip && level != defaultGzipLevel:
		b := le.AppendUint32(nil, uint32(level))
		b = le.AppendUint16(b, 15)   // window: 32 KiB
		return le.AppendUint16(b, 0) // strategies: the default one
	case c == Zstd && level != defaultZstdLevel:
		return le.AppendUint32(nil, uint32(level))
	case c == LZ4:
		b := le.AppendUint32(nil, 1) // version: legacy blocks
		var hc uint32
		if level > 1 {
			hc = 1
		}
		return le.AppendUint32(b, hc)
	}
	return nil
}
