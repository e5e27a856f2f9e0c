// Package lz4enc compresses to LZ4 blocks: the smallest that the format allows, nearly.
//
// In an LZ4 block every distance costs the same, so that the longest match of each place is all there is to know, and the
// cheapest way through them can be found from the end. Format: lz4_Block_format.md of the LZ4 project.
//
// The same input gives the same bytes on every machine and in every version of this package with the same ID: squashfs
// images and deltas rely on it.
package lz4enc
