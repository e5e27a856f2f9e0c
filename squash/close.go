package squash

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Close writes the tables and the superblock and returns what was made. Until it has returned nil there is no valid
// image in w. If w has a method Truncate(int64) error, it is called with the final size when more than that has been
// written, which happens when a long file at the very end is a copy; without one, bytes after Summary.Size are waste.
// A Writer must be closed, also after an error, or its goroutines stay. Closing again returns the same.
func (w *Writer) Close() (Summary, error) {
	if w.closed {
		return w.sum, w.err
	}
	w.closed = true
	if w.err == nil {
		w.err = w.addDelayed()
	}
	if w.err == nil {
		w.bodies.flush()
	}
	if err := w.p.stop(); w.err == nil {
		w.err = err
	}
	if w.err == nil {
		if err := w.finish(); err != nil {
			w.err = fmt.Errorf("close image: %w", err)
		}
	}
	return w.sum, w.err
}

// addDelayed reads the bodies that waited for Options.Order.
func (w *Writer) addDelayed() error {
	if len(w.delayed) == 0 {
		return nil
	}
	rank := make(map[*node]int, len(w.o.Order))
	first := make([]*delayed, len(w.o.Order))
	for i, path := range w.o.Order {
		if n := w.tree.find(path); n != nil && n.kind == typeFile {
			if _, ok := rank[n]; !ok {
				rank[n] = i
			}
		}
	}
	var rest []*delayed
	for i := range w.delayed {
		d := &w.delayed[i]
		if r, ok := rank[d.n]; ok {
			first[r] = d
		} else {
			rest = append(rest, d)
		}
	}
	for _, d := range append(first, rest...) {
		if d == nil {
			continue
		}
		if err := w.fillBody(&d.e, d.n); err != nil {
			return fmt.Errorf("add %s: %w", d.e.Path, err)
		}
	}
	w.delayed = nil
	return nil
}

func (w *Writer) finish() error {
	if !w.hasRoot {
		if err := w.addRoot(&Entry{Path: ".", Mode: rootMode, ModTime: w.o.ModTime}); err != nil {
			return err
		}
	}
	out := &offsetWriter{w.w, w.p.pos}
	sb := superblock{modTime: seconds(w.o.ModTime), blockSize: uint32(w.o.BlockSize), fragments: uint32(len(w.p.fragments)),
		compression: w.o.Compression, flags: w.flags(), ids: uint16(len(w.idList)), inodeTable: uint64(out.pos), exportTable: noTable}
	if sb.compression == None {
		sb.compression = Gzip
	}
	refs, err := w.writeTree(out, &sb)
	if err != nil {
		return err
	}
	if err := w.writeTables(out, &sb, refs); err != nil {
		return err
	}
	sb.used = uint64(out.pos)
	size := (out.pos + padSize - 1) &^ (padSize - 1)
	if _, err := out.Write(make([]byte, size-out.pos)); err != nil {
		return err
	}
	if t, ok := w.w.(interface{ Truncate(size int64) error }); ok && w.p.high > size {
		if err := t.Truncate(size); err != nil {
			return fmt.Errorf("cut the file to %d bytes: %w", size, err)
		}
	}
	if _, err := w.w.WriteAt(sb.bytes(), 0); err != nil {
		return fmt.Errorf("write superblock: %w", err)
	}
	w.sum.Size, w.sum.Used = size, int64(sb.used)
	w.sum.Inodes, w.sum.Fragments = int(sb.inodes), int(sb.fragments)
	w.sum.CopyBytes = w.bodies.copied
	w.sum.DataBytes = int64(sb.inodeTable) - superSize - w.optSize
	w.sum.TableBytes = w.sum.Used - w.sum.DataBytes
	return nil
}

func (w *Writer) flags() uint16 {
	var f uint16
	if w.o.Compression == None {
		f |= flagPlainInodes | flagPlainData | flagPlainFragments | flagPlainXattrs | flagPlainIDs
	}
	if w.o.NoFragments {
		f |= flagNoFragments
	} else if !w.o.NoTailPacking {
		f |= flagTailsPacked
	}
	if !w.o.NoDuplicates {
		f |= flagDeduplicated
	}
	if !w.o.NoExport {
		f |= flagExportable
	}
	if len(w.xattrs.sets) == 0 {
		f |= flagNoXattrs
	}
	if w.optSize > 0 {
		f |= flagOptions
	}
	return f
}

// writeTree writes the inode and the folder table and returns the place of every inode.
func (w *Writer) writeTree(out *offsetWriter, sb *superblock) ([]uint64, error) {
	t := &tables{inodes: newMetaWriter(w.meta, out)}
	t.dirs = newMetaWriter(w.meta, &t.listing)
	t.number(w.tree.root)
	t.refs = make([]uint64, 0, t.next)
	if err := t.emit(w.tree.root); err != nil {
		return nil, err
	}
	if err := t.inodes.flush(); err != nil {
		return nil, err
	}
	if err := t.dirs.flush(); err != nil {
		return nil, err
	}
	sb.inodes, sb.root, sb.dirTable = t.next, t.ref(w.tree.root), uint64(out.pos)
	_, err := out.Write(t.listing.Bytes())
	return t.refs, err
}

// writeTables writes the fragment, export, owner and xattr tables, in the order in which the kernel wants them.
func (w *Writer) writeTables(out *offsetWriter, sb *superblock, refs []uint64) (err error) {
	le := binary.LittleEndian
	frags := w.p.fragments
	if uint64(len(frags)) >= math.MaxUint32 {
		return fmt.Errorf("write fragment table: %d fragments", len(frags))
	}
	sb.fragTable, err = writeTable(w.meta, out, len(frags), fragEntrySize, func(b []byte, i int) []byte {
		b = le.AppendUint64(b, frags[i].start)
		b = le.AppendUint32(b, frags[i].size)
		return le.AppendUint32(b, 0)
	}, nil)
	if err != nil {
		return err
	}
	if !w.o.NoExport {
		sb.exportTable, err = writeTable(w.meta, out, len(refs), 8, func(b []byte, i int) []byte { return le.AppendUint64(b, refs[i]) }, nil)
		if err != nil {
			return err
		}
	}
	sb.idTable, err = writeTable(w.meta, out, len(w.idList), 4, func(b []byte, i int) []byte { return le.AppendUint32(b, w.idList[i]) }, nil)
	if err != nil {
		return err
	}
	sb.xattrTable, err = w.xattrs.write(w.meta, out)
	return err
}
