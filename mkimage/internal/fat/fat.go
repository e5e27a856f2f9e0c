// Package fat writes a FAT32 file system holding a few small files: an EFI system partition.
//
// The tree is fixed when the file system is made, so nothing is ever freed or grown: every file is one run of
// clusters. GRUB depends on that for its environment block, which it saves by disk address. The output depends on
// nothing but the arguments. Format: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03.
package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

const (
	sector = 512
	// One sector to a cluster: FAT32 needs 65525 clusters, and this keeps the partition that carries it small.
	cluster = sector
	// The data area starts on a multiple of this many sectors, so that a file never shares a flash page with the FATs.
	alignSectors = 8
	minReserved  = 32
	rootCluster  = 2
	// Fewer clusters than this and a reader takes the file system for FAT16.
	minClusters = 65525
	maxClusters = 0x0ffffff5
	endOfChain  = 0x0fffffff
)

// MinSize is the smallest Options.Size that Write accepts, in bytes.
const MinSize = 34 << 20

// Options says what the file system is like. Size is in bytes, a multiple of 512. Serial is the volume id that
// appears as the file system's UUID. Label has up to 11 capitals, digits and spaces; it may be empty.
// Offset is the partition's place on its disk in bytes, recorded as the count of
// hidden sectors. Time is the date of every file, rounded down to two seconds, in UTC; it is moved into FAT's
// range, the years 1980 to 2107.
type Options struct {
	Size   int64
	Offset int64
	Serial uint32
	Label  string
	Time   time.Time
}

// File is a file to be put in. Path is relative, with slashes; the folders above it are made.
type File struct {
	Path string
	Data []byte
}

// SerialString returns the form of a volume id that blkid, udev and GRUB's search --fs-uuid use: ABCD-1234.
func SerialString(serial uint32) string {
	return fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff)
}

// Write writes the file system to the first o.Size bytes of w. Both copies of the FAT and every used cluster are
// written in full, so that the result is right even over old data; free clusters are left alone.
func Write(w io.WriterAt, o Options, files []File) error {
	geo, err := shape(o)
	if err != nil {
		return fmt.Errorf("make FAT32: %w", err)
	}
	root, err := buildTree(files, o.Label)
	if err != nil {
		return fmt.Errorf("make FAT32: %w", err)
	}
	v := &volume{w: w, opts: o, geometry: geo, next: rootCluster}
	v.chain = []uint32{0x0ffffff8, endOfChain}
	v.place(root)
	if v.next > rootCluster+geo.clusters {
		return fmt.Errorf("make FAT32: files need %d clusters, have %d", v.next-rootCluster, geo.clusters)
	}
	if err := v.writeNode(root, root); err != nil {
		return fmt.Errorf("write FAT32: %w", err)
	}
	if err := v.writeTables(); err != nil {
		return fmt.Errorf("write FAT32: %w", err)
	}
	return nil
}

// geometry counts sectors, except clusters.
type geometry struct {
	total, reserved, table, clusters uint32
}

func shape(o Options) (geometry, error) {
	if o.Size%sector != 0 || o.Size < MinSize {
		return geometry{}, fmt.Errorf("size %d, want a multiple of %d from %d", o.Size, sector, MinSize)
	}
	if o.Size/sector > maxClusters {
		return geometry{}, fmt.Errorf("size %d, want at most %d", o.Size, int64(maxClusters)*sector)
	}
	if len(o.Label) > 11 || checkName(o.Label) != nil || strings.ToUpper(o.Label) != o.Label {
		return geometry{}, fmt.Errorf("label %q, want up to 11 capitals, digits and spaces", o.Label)
	}
	if o.Offset%sector != 0 || o.Offset < 0 || o.Offset/sector > 0xffffffff {
		return geometry{}, fmt.Errorf("offset %d, want a multiple of %d below 2 TiB", o.Offset, sector)
	}
	g := geometry{total: uint32(o.Size / sector)}
	// A FAT sized for every sector of the partition is a little too large, never too small.
	g.table = (g.total + 2 + sector/4 - 1) / (sector / 4)
	meta := (minReserved + 2*g.table + alignSectors - 1) / alignSectors * alignSectors
	g.reserved = meta - 2*g.table
	g.clusters = g.total - meta
	if g.clusters < minClusters {
		return geometry{}, fmt.Errorf("size %d gives %d clusters, want at least %d", o.Size, g.clusters, minClusters)
	}
	return g, nil
}

type volume struct {
	geometry
	w     io.WriterAt
	opts  Options
	chain []uint32
	next  uint32
}

// place gives n and everything below it its clusters, one run each, in order.
func (v *volume) place(n *node) {
	size := len(n.data)
	if n.dir {
		size = n.entryCount() * entrySize
	}
	count := uint32((size + cluster - 1) / cluster)
	if n.dir && count == 0 {
		count = 1
	}
	if count > 0 {
		n.first, n.clusters = v.next, count
		for i := uint32(1); i < count; i++ {
			v.chain = append(v.chain, v.next+i)
		}
		v.chain = append(v.chain, endOfChain)
		v.next += count
	}
	for _, child := range n.children {
		v.place(child)
	}
}

func (v *volume) writeNode(n, parent *node) error {
	data := n.data
	if n.dir {
		data = v.entries(n, parent)
	}
	if n.clusters > 0 {
		buf := make([]byte, n.clusters*cluster)
		copy(buf, data)
		at := int64(v.reserved+2*v.table+n.first-rootCluster) * sector
		if _, err := v.w.WriteAt(buf, at); err != nil {
			return err
		}
	}
	for _, child := range n.children {
		if err := v.writeNode(child, n); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) writeTables() error {
	b := make([]byte, v.table*sector)
	for i, next := range v.chain {
		binary.LittleEndian.PutUint32(b[4*i:], next)
	}
	for i := range int64(2) {
		at := (int64(v.reserved) + i*int64(v.table)) * sector
		if _, err := v.w.WriteAt(b, at); err != nil {
			return err
		}
	}
	_, err := v.w.WriteAt(v.reservedSectors(), 0)
	return err
}

// reservedSectors returns everything before the first FAT: boot sector, free-cluster summary, and a copy of both
// at sector 6.
func (v *volume) reservedSectors() []byte {
	b := make([]byte, v.reserved*sector)
	boot := b[:sector]
	le := binary.LittleEndian
	copy(boot, []byte{0xeb, 0x58, 0x90})
	copy(boot[3:], "MSWIN4.1")
	le.PutUint16(boot[11:], sector)
	boot[13] = cluster / sector
	le.PutUint16(boot[14:], uint16(v.reserved))
	boot[16] = 2
	boot[21] = 0xf8
	le.PutUint16(boot[24:], 63)
	le.PutUint16(boot[26:], 255)
	le.PutUint32(boot[28:], uint32(v.opts.Offset/sector))
	le.PutUint32(boot[32:], v.total)
	le.PutUint32(boot[36:], v.table)
	le.PutUint32(boot[44:], rootCluster)
	le.PutUint16(boot[48:], 1)
	le.PutUint16(boot[50:], 6)
	boot[64] = 0x80
	boot[66] = 0x29
	le.PutUint32(boot[67:], v.opts.Serial)
	copy(boot[71:82], padded("NO NAME", 11))
	if v.opts.Label != "" {
		copy(boot[71:82], padded(v.opts.Label, 11))
	}
	copy(boot[82:90], "FAT32   ")
	// The three-byte jump above lands here: return to the firmware, which then tries its next boot device.
	copy(boot[90:], []byte{0xcd, 0x18, 0xeb, 0xfe})
	boot[510], boot[511] = 0x55, 0xaa

	info := b[sector : 2*sector]
	le.PutUint32(info, 0x41615252)
	le.PutUint32(info[484:], 0x61417272)
	le.PutUint32(info[488:], v.clusters-(v.next-rootCluster))
	le.PutUint32(info[492:], v.next)
	le.PutUint32(info[508:], 0xaa550000)

	// Sector 2 belongs to the boot code: empty, but signed.
	b[3*sector-2], b[3*sector-1] = 0x55, 0xaa
	copy(b[6*sector:9*sector], b[:3*sector])
	return b
}

// node is a file or folder of the tree. first and clusters are 0 for an empty file.
type node struct {
	name            string
	label           string // of the root
	dir             bool
	data            []byte
	children        []*node
	first, clusters uint32
}

func buildTree(files []File, label string) (*node, error) {
	root := &node{dir: true, label: label}
	for _, f := range files {
		name := path.Clean(f.Path)
		if name != f.Path || name == "." || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
			return nil, fmt.Errorf("path %q is not a clean relative path", f.Path)
		}
		if len(f.Data) > 0xffffffff {
			return nil, fmt.Errorf("%s: %d bytes, want at most 4 GiB", f.Path, len(f.Data))
		}
		if err := root.add(name, f.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return root, nil
}
