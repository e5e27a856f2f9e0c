package vdisk

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
)

// Format: VMware's "Virtual Disk Format 5.0", stream-optimized: grains packed with deflate, each behind a marker, their
// tables behind them and a second header at the end.
const (
	grainSectors = unit / sector
	tableGrains  = 512
	descriptorAt = 1 // sector
	descriptorN  = 20
	dataAt       = 128 // sector

	markerTable, markerDirectory, markerFooter = 1, 2, 3
)

// stream writes one thing after the other, in whole sectors.
type stream struct {
	w  io.WriterAt
	at int64 // in sectors
}

func (s *stream) put(b []byte) error {
	padded := make([]byte, (len(b)+sector-1)/sector*sector)
	copy(padded, b)
	err := put(s.w, padded, s.at*sector)
	s.at += int64(len(padded) / sector)
	return err
}

// marker says that sectors of a table follow.
func (s *stream) marker(kind uint32, sectors int64) error {
	b := make([]byte, sector)
	binary.LittleEndian.PutUint64(b, uint64(sectors))
	binary.LittleEndian.PutUint32(b[12:], kind)
	return s.put(b)
}

func writeVMDK(w io.WriterAt, d Disk) error {
	s := &stream{w: w}
	if err := s.put(vmdkHeader(d.Size, ^uint64(0))); err != nil {
		return err
	}
	if err := s.put([]byte(vmdkDescriptor(d))); err != nil {
		return err
	}
	s.at = dataAt
	grains := d.Size / unit
	directory := make([]byte, (grains+tableGrains-1)/tableGrains*4)
	if err := s.grains(d, directory); err != nil {
		return err
	}
	sectors := int64(len(directory)+sector-1) / sector
	if err := s.marker(markerDirectory, sectors); err != nil {
		return err
	}
	directoryAt := uint64(s.at)
	if err := s.put(directory); err != nil {
		return err
	}
	if err := s.marker(markerFooter, 1); err != nil {
		return err
	}
	if err := s.put(vmdkHeader(d.Size, directoryAt)); err != nil {
		return err
	}
	return s.put(make([]byte, sector)) // the marker of the end
}

// grains writes the grains, and behind the last of each table the table, whose place goes into the directory.
func (s *stream) grains(d Disk, directory []byte) error {
	table, current := make([]byte, tableGrains*4), int64(-1)
	flush := func() error {
		if current < 0 {
			return nil
		}
		if err := s.marker(markerTable, int64(len(table)/sector)); err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(directory[4*current:], uint32(s.at))
		err := s.put(table)
		clear(table)
		return err
	}
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed) // what is large is packed already
	if err != nil {
		return err
	}
	err = d.units(func(at int64, data []byte) error {
		grain := at / unit
		if grain/tableGrains != current {
			if err := flush(); err != nil {
				return err
			}
			current = grain / tableGrains
		}
		packed.Reset()
		packed.Write(make([]byte, 12))
		z.Reset(&packed)
		if _, err := z.Write(data); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		b := packed.Bytes()
		binary.LittleEndian.PutUint64(b, uint64(grain*grainSectors))
		binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-12))
		if s.at >= 1<<32 {
			return fmt.Errorf("more than 2 TiB")
		}
		binary.LittleEndian.PutUint32(table[4*(grain%tableGrains):], uint32(s.at))
		return s.put(b)
	})
	if err != nil {
		return err
	}
	return flush()
}

// vmdkHeader returns the header of a disk of that size; directory is the sector of the grain directory, or all ones for
// one that the footer tells.
func vmdkHeader(size int64, directory uint64) []byte {
	b := make([]byte, sector)
	le := binary.LittleEndian
	copy(b, "KDMV")
	le.PutUint32(b[4:], 3)
	le.PutUint32(b[8:], 1|1<<16|1<<17) // line ends to check, packed, markers
	le.PutUint64(b[12:], uint64(size/sector))
	le.PutUint64(b[20:], grainSectors)
	le.PutUint64(b[28:], descriptorAt)
	le.PutUint64(b[36:], descriptorN)
	le.PutUint32(b[44:], tableGrains)
	le.PutUint64(b[56:], directory)
	le.PutUint64(b[64:], dataAt)
	copy(b[73:], "\n \r\n") // what a transfer as text would damage
	le.PutUint16(b[77:], 1) // deflate
	return b
}

func vmdkDescriptor(d Disk) string {
	cylinders := min(d.Size/(255*63*sector), 65535)
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.virtualHWVersion = "4"
`, binary.BigEndian.Uint32(d.ID[:])&0x7fffffff, d.Size/sector, cylinders)
}
