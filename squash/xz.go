package squash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

func le32(b []byte) uint32       { return binary.LittleEndian.Uint32(b) }
func putLE32(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }

// xzDecoder reads blocks that are one xz stream of one block, with the branch filters that mksquashfs -Xbcj uses.
//
// The container is read here, not by ulikunitz/xz: that has no branch filters, and allocates the dictionary that the
// stream asks for, up to 4 GiB. Format: The .xz File Format 1.1.0, tukaani.org.
type xzDecoder struct{}

var errXZ = errors.New("xz: stream is cut short or not one that squashfs has")

const (
	filterLZMA2   = 0x21
	checkNone     = 0
	checkCRC32    = 1
	checkCRC64    = 4
	xzHeaderSize  = 12
	lzma2EndChunk = 0
)

func (xzDecoder) decode(dst, src []byte) (int, error) {
	if len(src) < xzHeaderSize+4 || !bytes.Equal(src[:7], []byte("\xfd7zXZ\x00\x00")) || crc32.ChecksumIEEE(src[6:8]) != le32(src[8:]) {
		return 0, errXZ
	}
	check := src[7]
	size := (int(src[xzHeaderSize]) + 1) * 4
	if src[xzHeaderSize] == 0 || len(src) < xzHeaderSize+size {
		return 0, errXZ
	}
	header := src[xzHeaderSize : xzHeaderSize+size]
	if crc32.ChecksumIEEE(header[:size-4]) != le32(header[size-4:]) {
		return 0, errXZ
	}
	filters, err := xzFilters(header[1 : size-4])
	if err != nil {
		return 0, err
	}
	data := src[xzHeaderSize+size:]
	packed, plain, err := lzma2Extent(data)
	if err != nil {
		return 0, err
	}
	if plain > len(dst) {
		return 0, errBomb
	}
	r, err := lzma.Reader2Config{DictCap: max(len(dst), lzma.MinDictCap)}.NewReader2(bytes.NewReader(data[:packed]))
	if err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(r, dst[:plain]); err != nil {
		return 0, fmt.Errorf("xz: %w", err)
	}
	for _, f := range filters {
		if err := branchDecode(f, dst[:plain]); err != nil {
			return 0, err
		}
	}
	return plain, xzCheck(check, dst[:plain], data[min((packed+3)&^3, len(data)):])
}

// xzFilters returns the branch filters before LZMA2, the last first: the order in which they are undone.
func xzFilters(h []byte) ([]byte, error) {
	flags := h[0]
	h = h[1:]
	if flags&0x3c != 0 {
		return nil, errXZ
	}
	for bit := byte(0x40); bit != 0; bit <<= 1 { // the sizes, which are checked by what comes out
		if flags&bit != 0 {
			_, n := binary.Uvarint(h)
			if n <= 0 {
				return nil, errXZ
			}
			h = h[n:]
		}
	}
	var filters []byte
	for i := int(flags & 3); i >= 0; i-- {
		if len(h) < 2 || h[0] >= 0x80 || h[1] >= 0x80 || len(h) < 2+int(h[1]) {
			return nil, errXZ
		}
		id, props := h[0], h[2:2+int(h[1])]
		h = h[2+len(props):]
		switch {
		case i == 0 && id == filterLZMA2 && len(props) == 1:
		case i > 0 && id != filterLZMA2 && (len(props) == 0 || len(props) == 4 && le32(props) == 0):
			filters = append([]byte{id}, filters...)
		default:
			return nil, fmt.Errorf("xz: filter %#x with %d bytes of properties is not known", id, len(props))
		}
	}
	return filters, nil
}

// lzma2Extent walks the chunk headers: the bytes that the stream takes and those that it holds, before anything is
// decoded.
func lzma2Extent(b []byte) (packed, plain int, err error) {
	for at := 0; at < len(b); {
		switch control := b[at]; {
		case control == lzma2EndChunk:
			return at + 1, plain, nil
		case control <= 2 && len(b) >= at+3:
			n := int(binary.BigEndian.Uint16(b[at+1:])) + 1
			plain += n
			at += 3 + n
		case control >= 0x80 && len(b) >= at+5:
			plain += int(control&0x1f)<<16 + int(binary.BigEndian.Uint16(b[at+1:])) + 1
			at += 5 + int(binary.BigEndian.Uint16(b[at+3:])) + 1
			if control >= 0xc0 {
				at++
			}
		default:
			return 0, 0, errXZ
		}
	}
	return 0, 0, errXZ
}

func xzCheck(kind byte, plain, stored []byte) error {
	ok := true
	switch kind {
	case checkNone:
	case checkCRC32:
		ok = len(stored) >= 4 && crc32.ChecksumIEEE(plain) == le32(stored)
	case checkCRC64:
		ok = len(stored) >= 8 && crc64.Checksum(plain, crc64.MakeTable(crc64.ECMA)) == binary.LittleEndian.Uint64(stored)
	default:
		return fmt.Errorf("xz: check %d is not known", kind)
	}
	if !ok {
		return errors.New("xz: checksum differs")
	}
	return nil
}
