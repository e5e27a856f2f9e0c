package squash

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/slotboot/slotboot/delta/lzmaenc"
)

// slotXZ is the id of the encoder that packs xz blocks with package lzmaenc: smaller than ulikunitz's by 8 %, in five
// times the time.
const slotXZ = "slot-xz/1"

// smallXZCodec writes xz streams of one block with LZMA2 chunks that need nothing of one another.
type smallXZCodec struct {
	dict byte // the dictionary as LZMA2 names it
	size int
	out  bytes.Buffer
}

// The properties of LZMA: 3 bits of the byte before choose the statistics of a literal, none of its place, and 2 of the
// place those of the rest, as in every xz.
const (
	xzLC, xzLP, xzPB = 3, 0, 2
	xzProps          = (xzPB*5+xzLP)*9 + xzLC
)

// lzma2PackedMax is what a chunk holds at most: its length has 16 bits. Plain bytes are no limit, at 2 MiB twice the largest
// block.
const lzma2PackedMax = 1 << 16

func newSmallXZCodec(blockSize int) *smallXZCodec {
	c := &smallXZCodec{size: max(blockSize, metaSize)}
	for 2<<(c.dict/2+11) < c.size { // even numbers are powers of two from 4 KiB on
		c.dict += 2
	}
	return c
}

func (c *smallXZCodec) ID() string { return slotXZ }

// Compress implements Codec.
func (c *smallXZCodec) Compress(dst, src []byte) ([]byte, error) {
	begin := len(dst)
	dst = append(dst, 0xfd, '7', 'z', 'X', 'Z', 0, 0, checkCRC32)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[begin+6:begin+8]))
	block := len(dst)
	// A header of 12 bytes: no sizes, one filter.
	dst = append(dst, 12/4-1, 0, filterLZMA2, 1, c.dict, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[block:]))
	dst, err := c.chunks(dst, src)
	if err != nil {
		return dst, err
	}
	dst = append(dst, lzma2EndChunk)
	unpadded := len(dst) - block + 4 // without the padding, with the check
	for (len(dst)-block)%4 != 0 {
		dst = append(dst, 0)
	}
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(src))
	index := len(dst)
	dst = append(dst, 0, 1)
	dst = binary.AppendUvarint(dst, uint64(unpadded))
	dst = binary.AppendUvarint(dst, uint64(len(src)))
	for (len(dst)-index)%4 != 0 {
		dst = append(dst, 0)
	}
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[index:]))
	footer := binary.LittleEndian.AppendUint32(nil, uint32((len(dst)-index)/4-1))
	footer = append(footer, 0, checkCRC32)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(footer))
	return append(append(dst, footer...), 'Y', 'Z'), nil
}

// chunks appends src as LZMA2 chunks. What does not fit one is cut: that is rare, and of what compresses badly.
func (c *smallXZCodec) chunks(dst, src []byte) ([]byte, error) {
	if len(src) == 0 {
		return dst, nil
	}
	c.out.Reset()
	err := lzmaenc.Encode(&c.out, bytes.NewReader(src), int64(len(src)), lzmaenc.Params{Dict: dictOf(c.dict), LC: xzLC, LP: xzLP, PB: xzPB})
	if err != nil {
		return dst, err
	}
	packed := c.out.Bytes()[13:] // behind the header of .lzma
	switch {
	case len(packed) >= len(src):
		for len(src) > 0 {
			n := min(len(src), lzma2PackedMax)
			dst = append(dst, 1) // plain, with a new dictionary
			dst = binary.BigEndian.AppendUint16(dst, uint16(n-1))
			dst, src = append(dst, src[:n]...), src[n:]
		}
		return dst, nil
	case len(packed) > lzma2PackedMax:
		pieces := len(packed)/(lzma2PackedMax/8*7) + 1 // all parts do not compress alike
		for piece := range slices.Chunk(src, (len(src)+pieces-1)/pieces) {
			if dst, err = c.chunks(dst, piece); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
	n := len(src) - 1
	dst = append(dst, 0xe0|byte(n>>16)) // new dictionary, state and properties
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(packed)-1))
	return append(append(dst, xzProps), packed...), nil
}

// dictOf is the size of a dictionary of LZMA2, of those with even numbers.
func dictOf(b byte) int { return 2 << (b/2 + 11) }
