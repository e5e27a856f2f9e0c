package squash

import (
	"encoding/binary"
	"fmt"
	"io"
)

// metaWriter packs bytes into metadata blocks: 8 KiB, compressed, each after its length of two bytes.
type metaWriter struct {
	codec  Codec
	out    io.Writer
	buf    []byte // plain bytes of the block being filled
	packed []byte // scratch
	start  uint64 // bytes written to out: where the block being filled will be
}

func newMetaWriter(c Codec, out io.Writer) *metaWriter {
	return &metaWriter{codec: c, out: out, buf: make([]byte, 0, metaSize)}
}

// at is the reference of the next byte: where its block starts, in the table, and the place in the plain block.
func (m *metaWriter) at() (block uint64, offset uint16) { return m.start, uint16(len(m.buf)) }

// ref is at as inodes and folders store it.
func (m *metaWriter) ref() uint64 { return m.start<<16 | uint64(len(m.buf)) }

func (m *metaWriter) write(p []byte) error {
	for len(p) > 0 {
		n := copy(m.buf[len(m.buf):metaSize], p)
		m.buf, p = m.buf[:len(m.buf)+n], p[n:]
		if len(m.buf) == metaSize {
			if err := m.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *metaWriter) flush() error {
	if len(m.buf) == 0 {
		return nil
	}
	var err error
	m.packed = append(m.packed[:0], 0, 0)
	if m.packed, err = m.codec.Compress(m.packed, m.buf); err != nil {
		return fmt.Errorf("compress metadata: %w", err)
	}
	size := len(m.packed) - 2
	if size >= len(m.buf) {
		m.packed = append(m.packed[:2], m.buf...)
		size = len(m.buf) | metaPlain
	}
	binary.LittleEndian.PutUint16(m.packed, uint16(size))
	if _, err := m.out.Write(m.packed); err != nil {
		return err
	}
	m.start += uint64(len(m.packed))
	m.buf = m.buf[:0]
	return nil
}

// offsetWriter is an io.Writer at a moving place of an io.WriterAt.
type offsetWriter struct {
	w   io.WriterAt
	pos int64
}

func (o *offsetWriter) Write(p []byte) (int, error) {
	n, err := o.w.WriteAt(p, o.pos)
	o.pos += int64(n)
	if err != nil {
		err = fmt.Errorf("write metadata at offset %d: %w", o.pos, err)
	}
	return n, err
}

// writeTable writes n records of size bytes as metadata blocks and then the list of the blocks' offsets, and returns
// where the list is: the form of the owner, fragment, export and xattr tables. head goes before the list.
func writeTable(c Codec, out *offsetWriter, n, size int, record func(b []byte, i int) []byte, head func(first uint64) []byte) (uint64, error) {
	first := uint64(out.pos)
	m := newMetaWriter(c, out)
	var list, rec []byte
	for i := range n {
		if len(m.buf) == 0 {
			list = binary.LittleEndian.AppendUint64(list, first+m.start)
		}
		rec = record(rec[:0], i)
		if len(rec) != size {
			return 0, fmt.Errorf("write table: record of %d bytes, want %d", len(rec), size)
		}
		if err := m.write(rec); err != nil {
			return 0, err
		}
	}
	if err := m.flush(); err != nil {
		return 0, err
	}
	at := uint64(out.pos)
	if head != nil {
		list = append(head(first), list...)
	}
	_, err := out.Write(list)
	return at, err
}
