package delta

import (
	"encoding/binary"
	"fmt"

	"github.com/slotboot/slotboot/squash"
)

// kind says how plain bytes are stored in a region.
type kind uint8

const (
	raw      kind = iota // as they are
	block                // a compressed block or fragment of a squashfs
	meta                 // a compressed metadata block with its 16-bit header
	metaRaw              // a metadata block stored plain, with its header
	numKinds      = iota

	inflated kind = iota // the text of a member, made from other regions: in no file, but in the old plain content

	// Packs. Their numbers behind inflated are those of the format.
	lz4Block  // an LZ4 block of a legacy frame
	zstdFrame // a zstd frame
	gzipFile  // a gzip file that is as large as a pack; in old files only
)

// isPack tells whether a region is a pack.
func (k kind) isPack() bool { return k >= lz4Block }

// metaSize is the plain size of a full squashfs metadata block, in bytes.
const metaSize = 8192

// maxPlain is the most plain bytes a region of each kind can have.
var maxPlain = [numKinds]int{maxBlockSize, maxBlockSize, metaSize, metaSize}

// region is a piece of a file: so many stored bytes at off that stand for so many plain bytes. Regions of a file follow
// each other without gaps.
type region struct {
	off    int64
	stored int
	plain  int
	kind   kind
}

// encode appends the stored form of plain.
func encode(dst []byte, k kind, c squash.Codec, plain []byte) ([]byte, error) {
	switch {
	case k == raw:
		return append(dst, plain...), nil
	case k == metaRaw:
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(plain))|0x8000)
		return append(dst, plain...), nil
	case c == nil:
		return dst, damaged("a compressed region, but no encoder")
	case k == block:
		return c.Compress(dst, plain)
	}
	at := len(dst)
	dst, err := c.Compress(append(dst, 0, 0), plain)
	if err == nil {
		binary.LittleEndian.PutUint16(dst[at:], uint16(len(dst)-at-2))
	}
	return dst, err
}

// decode returns the plain bytes of a stored region. They may share memory with stored.
func decode(r region, d *squash.Decoder, stored []byte) ([]byte, error) {
	plain := stored
	if r.kind == meta || r.kind == metaRaw {
		if len(stored) < 2 {
			return nil, fmt.Errorf("metadata block of %d bytes", len(stored))
		}
		plain = stored[2:]
	}
	if r.kind.isPack() {
		return unpack(r.kind, stored, r.plain)
	}
	if r.kind == block || r.kind == meta {
		if d == nil {
			return nil, fmt.Errorf("a compressed region, but no compressor")
		}
		out := make([]byte, r.plain)
		n, err := d.Decode(out, plain)
		if err != nil {
			return nil, err
		}
		plain = out[:n]
	}
	if len(plain) != r.plain {
		return nil, fmt.Errorf("%d plain bytes, want %d", len(plain), r.plain)
	}
	return plain, nil
}
