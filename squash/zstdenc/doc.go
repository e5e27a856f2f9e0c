// Package zstdenc compresses single blocks, each to one zstd frame that any decoder reads.
//
// It is made for squashfs: blocks of 4 KiB to 1 MiB, each independent, written once and read often. The whole block is
// in memory, so the parser sees all of it: a finder lists the nearest matches of each length, a parser chooses among
// them by price, and the block is split wherever new entropy tables pay. At 128 KiB the output is no larger than
// libzstd's at level 15, for half its time; see NOTES.md for figures.
//
// A frame is a single segment (RFC 8878) with its content size, without checksum and dictionary: the window is the
// block, and the kernel's decoder needs no more memory than that.
//
// # Stability
//
// The bytes a frame consists of are a promise: for one ID, one level and one input they are the same on every machine,
// with a fresh or a used Encoder. All costs are integers. A device can thus rebuild a block from its plain bytes and
// get the block of the image. Whatever changes the output changes ID; golden digests guard it.
package zstdenc
