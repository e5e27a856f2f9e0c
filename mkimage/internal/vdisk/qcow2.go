package vdisk

import (
	"encoding/binary"
	"io"
)

// Format: docs/interop/qcow2.txt of QEMU, version 3 without any feature, so that every reader since 2012 takes it.
const (
	l2Entries    = unit / 8
	refsPerBlock = unit / 2 // counts of 16 bits
	copied       = 1 << 63  // the cluster has one user
)

// qcow2 is where the parts of the file are, in clusters, in this order.
type qcow2 struct {
	refTable, refBlocks, l1, l2, data int64 // how many
}

func clusters(bytes int64) int64 { return (bytes + unit - 1) / unit }

// shapeQCOW2 works out a file of l2 tables and data clusters for a disk of that size.
func shapeQCOW2(size, l2, data int64) qcow2 {
	q := qcow2{l1: clusters((clusters(size) + l2Entries - 1) / l2Entries * 8), l2: l2, data: data}
	for { // the counts count their own clusters
		blocks := (q.total() + refsPerBlock - 1) / refsPerBlock
		table := clusters(blocks * 8)
		if blocks == q.refBlocks && table == q.refTable {
			return q
		}
		q.refBlocks, q.refTable = blocks, table
	}
}

func (q qcow2) total() int64 { return 1 + q.refTable + q.refBlocks + q.l1 + q.l2 + q.data }

func writeQCOW2(w io.WriterAt, d Disk) error {
	// First which clusters there are, because the tables stand in front of them.
	var used []int64
	if err := d.units(func(at int64, _ []byte) error {
		used = append(used, at/unit)
		return nil
	}); err != nil {
		return err
	}
	l1 := make([]uint64, (clusters(d.Size)+l2Entries-1)/l2Entries)
	tables := int64(0)
	for _, c := range used {
		if l1[c/l2Entries] == 0 {
			tables++
			l1[c/l2Entries] = 1
		}
	}
	q := shapeQCOW2(d.Size, tables, int64(len(used)))
	refTable := int64(1)
	refBlocks := refTable + q.refTable
	l1At := refBlocks + q.refBlocks
	l2At := l1At + q.l1
	dataAt := l2At + q.l2

	be := binary.BigEndian
	head := make([]byte, unit)
	copy(head, "QFI\xfb")
	be.PutUint32(head[4:], 3)
	be.PutUint32(head[20:], 16) // bits of a cluster
	be.PutUint64(head[24:], uint64(d.Size))
	be.PutUint32(head[36:], uint32(len(l1)))
	be.PutUint64(head[40:], uint64(l1At*unit))
	be.PutUint64(head[48:], uint64(refTable*unit))
	be.PutUint32(head[56:], uint32(q.refTable))
	be.PutUint32(head[96:], 4) // 1 << 4 bits of a count
	be.PutUint32(head[100:], 104)
	if err := put(w, head, 0); err != nil {
		return err
	}
	b := make([]byte, q.refTable*unit)
	for i := range q.refBlocks {
		be.PutUint64(b[8*i:], uint64((refBlocks+i)*unit))
	}
	if err := put(w, b, refTable*unit); err != nil {
		return err
	}
	b = make([]byte, q.refBlocks*unit)
	for i := range q.total() {
		be.PutUint16(b[2*i:], 1)
	}
	if err := put(w, b, refBlocks*unit); err != nil {
		return err
	}
	return writeMapping(w, d, l1, used, l1At, l2At, dataAt, q)
}

// writeMapping writes the two levels of tables, and the clusters that they name.
func writeMapping(w io.WriterAt, d Disk, l1 []uint64, used []int64, l1At, l2At, dataAt int64, q qcow2) error {
	be := binary.BigEndian
	top, second := make([]byte, q.l1*unit), make([]byte, q.l2*unit)
	next := int64(0)
	for i := range l1 {
		if l1[i] != 0 {
			l1[i] = uint64(next)
			be.PutUint64(top[8*i:], uint64((l2At+next)*unit)|copied)
			next++
		}
	}
	for i, c := range used {
		be.PutUint64(second[int64(l1[c/l2Entries])*unit+c%l2Entries*8:], uint64((dataAt+int64(i))*unit)|copied)
	}
	if err := put(w, top, l1At*unit); err != nil {
		return err
	}
	if err := put(w, second, l2At*unit); err != nil {
		return err
	}
	at := dataAt
	return d.units(func(_ int64, data []byte) error {
		whole := data
		if len(data) < unit {
			whole = append(make([]byte, 0, unit), data...)[:unit]
		}
		at++
		return put(w, whole, (at-1)*unit)
	})
}
