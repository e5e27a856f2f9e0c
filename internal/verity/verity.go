// Package verity makes the hash tree that the kernel's dm-verity reads a root file system through: version 1, sha256,
// blocks of 4096 bytes, no salt, the superblock and the tree behind the data. They are the bytes that veritysetup makes.
//
// The tree is made while the data passes, so that a device can make it again behind a delta instead of fetching it.
// Format: Documentation/admin-guide/device-mapper/verity.rst, and the superblock of cryptsetup's lib/verity.
package verity

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// BlockSize is the size in bytes of the blocks of data and of the tree.
const BlockSize = 4096

const perBlock = BlockSize / sha256.Size // digests in a block of the tree

// Root is what it takes to check the data: the root hash in 64 hex digits, and how many blocks of data there are.
type Root struct {
	Hash       string
	DataBlocks int64
}

// Hasher hashes data block by block as it is written to it. The zero value is ready. It holds 32 bytes a block in
// memory: 0.8 % of the data.
type Hasher struct {
	part   []byte // of the block that is not complete
	leaves []byte // the digests of those that are
}

// Write takes more of the data. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n := len(p)
	if len(h.part) > 0 {
		take := min(BlockSize-len(h.part), len(p))
		h.part, p = append(h.part, p[:take]...), p[take:]
		if len(h.part) < BlockSize {
			return n, nil
		}
		h.leaves = appendDigest(h.leaves, h.part)
		h.part = h.part[:0]
	}
	for len(p) >= BlockSize {
		h.leaves = appendDigest(h.leaves, p[:BlockSize])
		p = p[BlockSize:]
	}
	h.part = append(h.part, p...)
	return n, nil
}

// Finish writes what stands behind the data, the superblock and the tree, and returns its root. The data must be whole
// blocks, one at least. The UUID in the superblock follows from the root hash, so that equal data has an equal tree.
func (h *Hasher) Finish(w io.Writer) (Root, error) {
	if len(h.part) > 0 || len(h.leaves) == 0 {
		return Root{}, fmt.Errorf("make hash tree: %d bytes of data, want whole blocks of %d, one at least", len(h.leaves)/sha256.Size*BlockSize+len(h.part), BlockSize)
	}
	root := Root{DataBlocks: int64(len(h.leaves) / sha256.Size)}
	var levels [][]byte // the lowest first, without the zeros behind them
	digests := h.leaves
	for len(digests) > sha256.Size {
		levels = append(levels, digests)
		digests = nextLevel(digests)
	}
	root.Hash = hex.EncodeToString(digests)
	if _, err := w.Write(superblock(digests, root.DataBlocks)); err != nil {
		return Root{}, fmt.Errorf("write hash tree: %w", err)
	}
	for i := len(levels) - 1; i >= 0; i-- {
		for _, part := range [][]byte{levels[i], make([]byte, -len(levels[i])&(BlockSize-1))} {
			if len(part) == 0 {
				continue
			}
			if _, err := w.Write(part); err != nil {
				return Root{}, fmt.Errorf("write hash tree: %w", err)
			}
		}
	}
	return root, nil
}

// Size returns how many bytes Finish writes behind so many blocks of data.
func Size(dataBlocks int64) int64 {
	blocks := int64(1)
	for n := dataBlocks; n > 1; {
		n = (n + perBlock - 1) / perBlock
		blocks += n
	}
	return blocks * BlockSize
}

// nextLevel returns the digests of the blocks of a level, the last one filled up with zeros.
func nextLevel(level []byte) []byte {
	var digests []byte
	for len(level) >= BlockSize {
		digests = appendDigest(digests, level[:BlockSize])
		level = level[BlockSize:]
	}
	if len(level) > 0 {
		var last [BlockSize]byte
		copy(last[:], level)
		digests = appendDigest(digests, last[:])
	}
	return digests
}

func appendDigest(to, block []byte) []byte {
	sum := sha256.Sum256(block)
	return append(to, sum[:]...)
}

// superblock returns the block in front of the tree. The kernel does not read it: it is for veritysetup.
func superblock(root []byte, dataBlocks int64) []byte {
	b := make([]byte, BlockSize)
	copy(b, "verity\x00\x00")
	binary.LittleEndian.PutUint32(b[8:], 1)  // version of the superblock
	binary.LittleEndian.PutUint32(b[12:], 1) // version of the tree
	copy(b[16:32], root)
	b[22] = b[22]&0x0f | 0x80 // a UUID of version 8, RFC 9562: made by a rule of one's own
	b[24] = b[24]&0x3f | 0x80
	copy(b[32:64], "sha256")
	binary.LittleEndian.PutUint32(b[64:], BlockSize)
	binary.LittleEndian.PutUint32(b[68:], BlockSize)
	binary.LittleEndian.PutUint64(b[72:], uint64(dataBlocks))
	return b
}
