// Package lz4block writes the sequences that an LZ4 block consists of. Format: lz4_Block_format.md of the LZ4 project.
package lz4block

import "encoding/binary"

// What the format asks for: the shortest match, the furthest, how many bytes at the end are literals, and how far from the
// end the last match begins at the latest.
const (
	MinMatch     = 4
	MaxDistance  = 65535
	LastLiterals = 5
	LastMatch    = 12
)

// nibble is the most that a half of a token says; it and more takes further bytes.
const nibble = 15

// AppendMatch appends literals and the match behind them.
func AppendMatch(dst, literals []byte, distance, length int) []byte {
	length -= MinMatch
	dst = appendLiterals(dst, literals, min(length, nibble))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(distance))
	return appendRest(dst, length)
}

// AppendLast appends the literals that end a block.
func AppendLast(dst, literals []byte) []byte { return appendLiterals(dst, literals, 0) }

// appendLiterals appends a token with its low half given, and literals.
func appendLiterals(dst, literals []byte, low int) []byte {
	dst = append(dst, byte(min(len(literals), nibble)<<4|low))
	dst = appendRest(dst, len(literals))
	return append(dst, literals...)
}

// appendRest appends what of n does not fit the half of a token.
func appendRest(dst []byte, n int) []byte {
	if n < nibble {
		return dst
	}
	for n -= nibble; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(dst, byte(n))
}

// Extra is how many bytes a length of n takes beside its half of a token; n is less MinMatch if it is that of a match.
func Extra(n uint32) uint32 {
	if n < nibble {
		return 0
	}
	return 1 + (n-nibble)/255
}
