// Package squash writes and reads squashfs 4.0 images without root, without a mount and without other programs.
//
// # Writing
//
// A [Writer] takes a tree as a stream of entries, folders before what is in them, and writes the image in one pass.
// Whatever the size of the files, it takes a few megabytes for the blocks under way, and about 200 bytes for each
// entry. All cores compress. Equal entries and equal [Options] give the same bytes on every machine: one goroutine
// decides what goes where, the others only compress.
//
// It writes every type of inode, in the extended form only where that is needed: hard links, devices, fifos, sockets,
// xattrs (user, trusted, security), owners up to 2^32-1, setuid, setgid and sticky, files beyond 4 GiB, holes, indexed
// folders of any size, the export table. Files with the same blocks or the same tail share them. Images are padded to
// 4096 bytes, as loop devices need it.
//
// # Reading
//
// An [Image] is an [io/fs.FS], for programs that take one. [Image.Walk] and [Image.Contents] read whole images faster,
// and [Image.Blocks] lists the stored blocks. All compressors are read, also lzma and lzo, and xz with its filters for
// machine code. An image may be hostile: what does not fit together is an error with an offset, there is no
// panic, and apart from what is returned the memory is bounded (a few decoded blocks, 20 MB of cache).
//
// # Limits
//
// Written: names of 1 to 255 bytes, symlink targets to 4095, 65,535 different owners, times from 1970 to 2106 in whole
// seconds, 4 GiB of compressed inodes and of compressed listings. No ACLs: squashfs has none; see [ErrXattr]. An image is
// written front to back but not to a pipe: the superblock comes last. Appending to an image is not possible.
//
// # Encoders and deltas
//
// Each block is compressed by itself, so an image can be rebuilt from an older one on a device that has the same
// encoder. Hence encoders have ids ([CodecID], [NewCodec], [Image.DetectCodec]), and an id stands for exact bytes: their digests are
// part of the tests.
//
// # Sources
//
// The format: Linux Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h, and doc/format.adoc of
// squashfs-tools-ng. Compressor options: the *_wrapper.h of squashfs-tools. xz: The .xz File Format 1.1.0. LZO: Linux
// Documentation/staging/lzo.rst.
package squash
