// Package ext4 writes an ext4 file system holding a known tree of files, without root and without mke2fs.
//
// mke2fs gives other bytes from release to release and takes owners and times from the machine it runs on. Here the
// output depends on nothing but the arguments. The features are those that Linux since 3.18, GRUB since 2.02 and
// e2fsprogs since 1.43 all know: journal, extents, 64bit, flex_bg, metadata_csum. Left out on purpose, because
// GRUB 2.06 refuses the file system or reads wrong blocks: metadata_csum_seed, orphan_file, inline_data, casefold and
// meta_bg. The file system grows online, up to Options.GrowTo. Format: the kernel's Documentation/filesystems/ext4.
package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

const (
	blockSize      = 4096
	groupBlocks    = 8 * blockSize // what one block of bitmap describes: 128 MiB
	inodeSize      = 256
	groupInodes    = 8192 // one for every 16 KiB, the default of mke2fs
	tableBlocks    = groupInodes * inodeSize / blockSize
	descSize       = 64
	descsPerBlock  = blockSize / descSize
	flexGroups     = 16 // groups whose bitmaps and inode tables lie together, so that large files lie in one piece
	firstInode     = 11
	rootInode      = 2
	resizeInode    = 7
	journalInode   = 8
	lostFound      = 11
	maxExtent      = 32768
	pointersPerBlk = blockSize / 4
)

// DefaultGrowTo is the size that a file system can grow to unless Options.GrowTo says otherwise: 4 TiB.
const DefaultGrowTo = 4 << 40

// ErrTooSmall is wrapped by the errors about files that do not fit in Options.Size.
var ErrTooSmall = errors.New("file system too small")

// Options says what the file system is like. Size is in bytes; a part of it under 5 MiB may stay unused at the end.
// GrowTo is the size up to which room for more group descriptors is set aside (0 = DefaultGrowTo). Time is the time
// of every file, in whole seconds; before 1970 counts as 1970.
type Options struct {
	Size     int64
	GrowTo   int64
	Label    string
	UUID     [16]byte
	HashSeed [16]byte
	Time     time.Time
}

// File is a file or folder to be put in, owned by user and group 0. Path is relative, with slashes; folders above it
// that are not listed are made with mode 0755. Mode has the permission bits, and fs.ModeDir for a folder. Open is
// called once for each file that is not empty; it must give exactly Size bytes.
type File struct {
	Path string
	Mode fs.FileMode
	Size int64
	Open func() (io.ReadCloser, error)
}

// Free returns how many bytes of file contents fit in a file system made with o, in files of whole blocks.
func Free(o Options) (int64, error) {
	v, err := plan(o, nil)
	if err != nil {
		return 0, err
	}
	free := v.geometry.blocks - v.used()
	// A fragmented file of this size would need blocks for its extents: at most one for every 340 groups.
	free -= free/(groupBlocks*extentsPerBlock) + 1
	return max(0, free) * blockSize, nil
}

// Write writes the file system to the first o.Size bytes of w.
//
// Everything that a reader relies on is written, zeros included, so that the result is right even over old data:
// above all the journal, in which stale records of an earlier life of the same image would be replayed. Free blocks
// and unused inode tables are left alone, so a file stays sparse. The error wraps ErrTooSmall when files do not fit.
func Write(w io.WriterAt, o Options, files []File) error {
	v, err := plan(o, files)
	if err != nil {
		return fmt.Errorf("make ext4: %w", err)
	}
	v.w = w
	for _, step := range []func() error{
		v.writeContents, v.writeJournal, v.writeResizeBlocks, v.writeInodes, v.writeBitmaps, v.writeSupers,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("write ext4: %w", err)
		}
	}
	return nil
}

// volume is a file system whose every block has its place.
type volume struct {
	geometry
	opts   Options
	w      io.WriterAt
	seed   uint32 // of every checksum: that of the UUID
	root   *node
	nodes  []*node // by inode number, from lostFound
	jrnl   run
	dind   int64 // block of the resize inode's double indirect block
	taken  []run // sorted: metadata and contents
	cursor int64
	desc   []descriptor
	inodes uint32 // highest inode in use
}

func plan(o Options, files []File) (*volume, error) {
	if o.GrowTo == 0 {
		o.GrowTo = DefaultGrowTo
	}
	if len(o.Label) > 16 {
		return nil, fmt.Errorf("label %q: %d bytes, want at most 16", o.Label, len(o.Label))
	}
	geo, err := shape(o.Size, o.GrowTo)
	if err != nil {
		return nil, err
	}
	v := &volume{geometry: geo, opts: o, seed: checksum(^uint32(0), o.UUID[:])}
	v.taken = geo.metadata()
	if err := v.buildTree(files); err != nil {
		return nil, err
	}
	if err := v.place(); err != nil {
		return nil, err
	}
	v.describe()
	return v, nil
}

// place gives every folder, the journal and every file its blocks, in this order.
func (v *volume) place() error {
	v.dind = v.takeRun(1).start
	v.jrnl = v.takeRun(v.journalBlocks())
	for _, folders := range []bool{true, false} {
		for _, n := range v.nodes {
			if n.mode.IsDir() != folders {
				continue
			}
			n.extents = v.take(n.blocks())
			if len(n.extents) > inlineExtents {
				leaves := (len(n.extents) + extentsPerBlock - 1) / extentsPerBlock
				if leaves > inlineExtents {
					return fmt.Errorf("%s: %d bytes are too many", n.path, n.size)
				}
				n.leaves = v.takeRun(int64(leaves))
			}
		}
	}
	if v.cursor > v.geometry.blocks {
		return fmt.Errorf("%w: %d bytes, want %d more", ErrTooSmall, v.opts.Size, (v.cursor-v.geometry.blocks)*blockSize)
	}
	return nil
}

// journalBlocks returns 16 MiB below 2 GiB, else 32 MiB. Slot sets pass it by, only metadata goes through it.
func (v *volume) journalBlocks() int64 {
	if v.geometry.blocks*blockSize < 2<<30 {
		return 16 << 20 / blockSize
	}
	return 32 << 20 / blockSize
}
