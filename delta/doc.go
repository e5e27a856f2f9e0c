// Package delta makes and applies updates that look inside compressed squashfs blocks, and that give back the same
// file bit for bit.
//
// A file is seen as a row of regions: blocks and metadata as their plain contents, everything else as it stands. A
// delta is a list of items in the order of the new file: copies of stored bytes from the old file, and windows of plain
// bytes, patched from the old plain bytes and compressed again by the named encoder. What the encoder does not
// reproduce, which is checked when the delta is made, is stored as it stands. Of kernels and initrds the regions are LZ4
// blocks and zstd frames. The applier reads the delta in one pass, writes the new file in one pass, and knows nothing of
// squashfs or archives. The format is described in docs/delta-format.md.
package delta
