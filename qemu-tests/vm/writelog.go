package vm

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Write is an entry of a write log: something that a machine did to a disk.
type Write struct {
	Offset int64 // in bytes
	Data   []byte
	// Zero is how many bytes became zero or were discarded instead; Data is empty then.
	Zero int64
	// Flush says that what had been written before lies on the medium from here on, FUA that this write does at once.
	Flush, FUA bool
}

// Size is the number of bytes that w changes.
func (w Write) Size() int64 { return int64(len(w.Data)) + w.Zero }

// Apply does to f what the machine did to its disk.
func (w Write) Apply(f io.WriterAt) error {
	data := w.Data
	if w.Zero > 0 {
		data = make([]byte, w.Zero)
	}
	_, err := f.WriteAt(data, w.Offset)
	return err
}

// The flags of an entry, from Documentation/admin-guide/device-mapper/log-writes.rst.
const (
	logFlush = 1 << iota
	logFUA
	logDiscard
)

const logMagic = 0x6a736677736872

// ReadWriteLog reads the file that Disk.Log named, in the format of the kernel's dm-log-writes with sectors of 512
// bytes. It reads up to the first entry that is not whole: a machine that is killed leaves one.
func ReadWriteLog(path string) ([]Write, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const sector = 512
	le := binary.LittleEndian
	if len(b) < sector || le.Uint64(b) != logMagic || le.Uint64(b[8:]) != 1 || le.Uint32(b[24:]) != sector {
		return nil, fmt.Errorf("read %s: not a write log with sectors of %d bytes", path, sector)
	}
	count := le.Uint64(b[16:])
	var log []Write
	for at := sector; at+sector <= len(b) && uint64(len(log)) < count; {
		first, sectors, flags := le.Uint64(b[at:]), le.Uint64(b[at+8:]), le.Uint64(b[at+16:])
		at += sector
		w := Write{Offset: int64(first) * sector, Flush: flags&logFlush != 0, FUA: flags&logFUA != 0}
		size := int(sectors) * sector
		switch {
		case flags&logDiscard != 0:
			w.Zero = int64(size)
		case size > len(b)-at:
			return log, nil
		default:
			w.Data = b[at : at+size]
			at += size
		}
		log = append(log, w)
	}
	return log, nil
}
