package squash

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/slotboot/slotboot/squash/flateenc"
	"github.com/slotboot/slotboot/squash/lz4enc"
	"github.com/slotboot/slotboot/squash/zstdenc"
)

// ErrForeign is what DetectCodec returns for an image that none of our encoders wrote.
var ErrForeign = errors.New("none of the encoders here made this image")

// codecIDs are the encoders that DetectCodec tries, the likely ones first.
func codecIDs(c Compression) []string {
	var ids []string
	if c == Zstd {
		return []string{slotID(zstdenc.Default), slotID(zstdenc.Best), slotID(zstdenc.Fast), "kp-zstd-4/1", "kp-zstd-3/1", "kp-zstd-2/1", "kp-zstd-1/1"}
	}
	switch c { // the second is what level 9 was
	case Gzip:
		ids = append(ids, flateenc.ID, "kp-zlib-9/1")
	case LZ4:
		ids = append(ids, lz4enc.ID, "pierrec-lz4-9/1")
	}
	for _, level := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9} {
		if level > 0 && c == None {
			break
		}
		if id, err := CodecID(c, level); err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// detectBlocks is how many blocks DetectCodec compresses again.
const detectBlocks = 8

// DetectCodec finds out which encoder made the image, by compressing some of its blocks again. It is an ErrForeign when
// none gives the same bytes. An image without any compressed block has the id of None.
func (m *Image) DetectCodec() (string, error) {
	blocks, err := m.Blocks()
	if err != nil {
		return "", err
	}
	var packed []Block
	for _, b := range blocks {
		if b.Packed {
			packed = append(packed, b)
		}
	}
	if len(packed) == 0 {
		return CodecID(None, 0)
	}
	var plain, stored [][]byte
	for i := range min(detectBlocks, len(packed)) {
		b := packed[i*len(packed)/min(detectBlocks, len(packed))]
		s := make([]byte, b.Stored)
		if err := m.readAt(s, b.Offset); err != nil {
			return "", err
		}
		p := make([]byte, m.sb.blockSize)
		if b.Kind > FragmentBlock {
			p = make([]byte, metaSize)
		}
		n, err := m.dec.decode(p, s)
		if err != nil {
			return "", fmt.Errorf("decode block at offset %d: %w", b.Offset, err)
		}
		plain, stored = append(plain, p[:n]), append(stored, s)
	}
	for _, id := range codecIDs(m.sb.compression) {
		c, err := NewCodec(id, int(m.sb.blockSize))
		if err != nil {
			return "", err
		}
		if codecMakes(c, plain, stored) {
			return id, nil
		}
	}
	return "", ErrForeign
}

// codecMakes tells whether c makes each stored block of its plain bytes.
func codecMakes(c Codec, plain, stored [][]byte) bool {
	for i := range plain {
		out, err := c.Compress(nil, plain[i])
		if err != nil || !bytes.Equal(out, stored[i]) {
			return false
		}
	}
	return true
}
