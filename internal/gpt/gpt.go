// Package gpt lets the last partition of a disk grow to the end of the disk, in steps that may be cut anywhere.
//
// It decides and writes nothing: Grow returns the writes, for the caller to do one by one. Format: UEFI specification,
// section 5.3.
package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	align     = 1 << 20 // partitions end on whole MiB, as the usual tools have it
	maxTable  = 1 << 20 // bytes; the usual table has 16 KiB
	headerMin = 92
)

// What can be in the way. None of them is a reason not to boot.
var (
	ErrNoTable = errors.New("no intact GPT")
	ErrNotLast = errors.New("another partition is behind it")
	ErrNoRoom  = errors.New("no room for a second table in front of the first partition")
)

// Write is one step: Data is to be at Offset, in bytes, and on the disk before the next step begins.
type Write struct {
	Offset int64
	Data   []byte
}

// Plan says how a partition grows. Offsets and sizes are in bytes.
type Plan struct {
	Start, Size, NewSize int64
	Writes               []Write // none: there is nothing to do
}

// header is the first copy of a table, as it is on the disk.
type header struct {
	raw     []byte // one sector
	entries []byte
	sector  int64
	sectors int64 // of the disk
	table   int64 // sector where entries begin
	span    int64 // sectors of entries
}

// Grow plans how partition number, counted from 1, grows to the end of a disk of size bytes, whose logical blocks have
// sector bytes. A partition that would gain less than least bytes stays as it is; so does one that ends where the disk
// does. An earlier run of the plan that was cut is brought to its end.
//
// A disk whose size is none of whole sectors, or no GPT, gives ErrNoTable.
//
// Why the steps are what they are: Linux reads the first copy of the table only (unless it is told gpt on its command
// line), and believes it only if the checksums in its header fit its entries. Header and entries are different sectors,
// so entries that change in place make the partitions vanish, if the power fails at the wrong time. So the new entries go
// to a place of their own, and one sector, the header, is what switches to them, and later back to their usual place.
// The copy at the end of the disk is complete before anything names it.
func Grow(r io.ReaderAt, sector int, size int64, number int, least int64) (Plan, error) {
	h, mbr, err := read(r, int64(sector), size)
	if err != nil {
		return Plan{}, err
	}
	p, entry, err := h.extent(number)
	if err != nil {
		return Plan{}, err
	}
	end := (h.sectors - h.span - 1) * h.sector / align * align // behind it is the copy
	usual, scratch := int64(2), 2+h.span
	p.NewSize = end - p.Start
	grows := p.NewSize >= p.Size+max(least, 1)
	if !grows {
		p.NewSize = p.Size
	}
	if !grows && h.table != scratch {
		return p, nil
	}
	if h.table != usual && h.table != scratch || h.firstStart() < scratch+h.span {
		return Plan{}, ErrNoRoom
	}
	entries := bytes.Clone(h.entries)
	binary.LittleEndian.PutUint64(entries[entry+40:], uint64((p.Start+p.NewSize)/h.sector-1))
	last := h.sectors - 1
	put := func(at int64, data []byte) { p.Writes = append(p.Writes, Write{at * h.sector, data}) }
	if grows {
		old := int64(le64(h.raw, 32)) // the copy so far
		put(last-h.span, entries)
		put(last, h.sealed(entries, last, 1, last-h.span))
		if h.table != scratch { // else the entries that count are there, and the usual place is free
			put(scratch, entries)
			put(1, h.sealed(entries, 1, last, scratch))
		}
		put(usual, entries)
		if fixed := protect(mbr, h.sectors); fixed != nil {
			put(0, fixed)
		}
		put(1, h.sealed(entries, 1, last, usual))
		if old >= (p.Start+p.Size)/h.sector && old < last-h.span {
			put(old, make([]byte, h.sector)) // in the grown partition, where tools would find it
		}
	} else {
		put(usual, entries)
		put(1, h.sealed(entries, 1, last, usual))
	}
	put(scratch, make([]byte, h.span*h.sector))
	return p, nil
}

// read reads the first copy of the table and checks it as Linux does.
func read(r io.ReaderAt, sector, size int64) (*header, []byte, error) {
	if sector < 512 || sector&(sector-1) != 0 || sector > 65536 || size < 64*sector || size%sector != 0 {
		return nil, nil, fmt.Errorf("%w: a disk of %d bytes in blocks of %d", ErrNoTable, size, sector)
	}
	buf := make([]byte, 2*sector)
	if n, err := r.ReadAt(buf, 0); n < len(buf) {
		return nil, nil, fmt.Errorf("read GPT: %w", err)
	}
	mbr, raw := buf[:sector], buf[sector:]
	length := binary.LittleEndian.Uint32(raw[12:])
	if string(raw[:8]) != "EFI PART" || length < headerMin || int64(length) > sector {
		return nil, nil, ErrNoTable
	}
	if got := headerSum(raw, length); got != binary.LittleEndian.Uint32(raw[16:]) || le64(raw, 24) != 1 {
		return nil, nil, fmt.Errorf("%w: its header is damaged", ErrNoTable)
	}
	h := &header{raw: raw, sector: sector, sectors: size / sector}
	count, each := int64(binary.LittleEndian.Uint32(raw[80:])), int64(binary.LittleEndian.Uint32(raw[84:]))
	if each < 128 || each > 4096 || count < 1 || count*each > maxTable || count*each%sector != 0 {
		return nil, nil, fmt.Errorf("%w: %d entries of %d bytes", ErrNoTable, count, each)
	}
	h.span = count * each / sector
	table := le64(raw, 72)
	if table < 2 || table > uint64(h.sectors-h.span) {
		return nil, nil, fmt.Errorf("%w: its entries are at block %d", ErrNoTable, table)
	}
	h.table = int64(table)
	h.entries = make([]byte, count*each)
	if n, err := r.ReadAt(h.entries, h.table*sector); n < len(h.entries) {
		return nil, nil, fmt.Errorf("read GPT: %w", err)
	}
	if crc32.ChecksumIEEE(h.entries) != binary.LittleEndian.Uint32(raw[88:]) {
		return nil, nil, fmt.Errorf("%w: its entries are damaged", ErrNoTable)
	}
	return h, mbr, nil
}

// extent returns where a partition is, and where in h.entries it is described.
func (h *header) extent(number int) (Plan, int, error) {
	each := int(binary.LittleEndian.Uint32(h.raw[84:]))
	if number < 1 || number > len(h.entries)/each {
		return Plan{}, 0, fmt.Errorf("%w: no partition %d", ErrNoTable, number)
	}
	at := (number - 1) * each
	own := h.entries[at : at+each]
	first, last := le64(own, 32), le64(own, 40)
	if unused(own) || first > last || last >= uint64(h.sectors) {
		return Plan{}, 0, fmt.Errorf("%w: partition %d from block %d to %d of %d", ErrNoTable, number, first, last, h.sectors)
	}
	for i := 0; i < len(h.entries); i += each {
		if e := h.entries[i : i+each]; i != at && !unused(e) && le64(e, 40) >= first {
			return Plan{}, 0, ErrNotLast
		}
	}
	size := int64(last-first+1) * h.sector
	return Plan{Start: int64(first) * h.sector, Size: size, NewSize: size}, at, nil
}

// firstStart returns the first sector that belongs to a partition.
func (h *header) firstStart() int64 {
	each := int(binary.LittleEndian.Uint32(h.raw[84:]))
	first := uint64(h.sectors)
	for i := 0; i < len(h.entries); i += each {
		if e := h.entries[i : i+each]; !unused(e) {
			first = min(first, le64(e, 32))
		}
	}
	return int64(first)
}

// sealed returns a header for entries that stand at table. self is its own sector, other that of the second header.
func (h *header) sealed(entries []byte, self, other, table int64) []byte {
	b := bytes.Clone(h.raw)
	le := binary.LittleEndian
	le.PutUint64(b[24:], uint64(self))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[48:], uint64(h.sectors-h.span-2)) // the last that a partition may use
	le.PutUint64(b[72:], uint64(table))
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(b[16:], headerSum(b, le.Uint32(b[12:])))
	return b
}

// protect returns the MBR of a disk of that many sectors whose one partition covers it all, or nil if it needs no change
// or is not one that only protects.
func protect(mbr []byte, sectors int64) []byte {
	if mbr[510] != 0x55 || mbr[511] != 0xaa || mbr[446+4] != 0xee || !zero(mbr[462:510]) {
		return nil
	}
	want := uint32(min(sectors-1, 0xffffffff))
	if have := binary.LittleEndian.Uint32(mbr[458:]); have >= want {
		return nil
	}
	b := bytes.Clone(mbr)
	binary.LittleEndian.PutUint32(b[458:], want)
	return b
}

// headerSum is the checksum of a header, which counts as zero in it.
func headerSum(b []byte, length uint32) uint32 {
	b = bytes.Clone(b[:length])
	clear(b[16:20])
	return crc32.ChecksumIEEE(b)
}

func le64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

func unused(entry []byte) bool { return zero(entry[:16]) }

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
