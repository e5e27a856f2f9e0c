// Package flateenc compresses blocks to zlib streams (RFC 1950, RFC 1951): smaller ones than zlib's best level, in less time.
//
// It looks for matches as package zstdenc does, chooses among them by price, with prices that follow the block, cuts the
// block where other Huffman codes pay, and chooses again in each part with the prices that the part really has. It is
// written from the RFCs; NOTES.md has what each step is worth.
//
// The same input gives the same bytes on every machine and in every version of this package with the same ID: squashfs
// images and deltas rely on it.
package flateenc
