package delta

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
)

// Behind the header the columns follow in frames, in the order in which the applier needs them:
//
//	column number (1 byte), length (uvarint), so many bytes of the compressed column
//
// and at the end frameEnd and the SHA-256 of all frames.
const (
	frameEnd  = 0xff
	maxFrame  = 1 << 20
	maxQueued = 8 << 20 // bytes of columns that came before they were asked for
)

// frameWriter writes frames.
type frameWriter struct {
	w   io.Writer
	sum hash.Hash
}

func newFrameWriter(w io.Writer) *frameWriter {
	sum := sha256.New()
	return &frameWriter{io.MultiWriter(w, sum), sum}
}

// copy writes the next n bytes of r as frames of a column.
func (f *frameWriter) copy(col int, r io.Reader, n int64) error {
	for n > 0 {
		part := min(n, maxFrame)
		head := binary.AppendUvarint([]byte{byte(col)}, uint64(part))
		if _, err := f.w.Write(head); err != nil {
			return err
		}
		if _, err := io.CopyN(f.w, r, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// end writes the last frame to w, which must be what newFrameWriter got.
func (f *frameWriter) end(w io.Writer) error {
	_, err := w.Write(f.sum.Sum([]byte{frameEnd}))
	return err
}

// demux takes frames apart: column returns a reader of each compressed column.
type demux struct {
	r      *bufio.Reader
	sum    hash.Hash
	queue  [numColumns]bytes.Buffer
	queued int
	left   [numColumns]int64 // stored bytes of the column that are still to come
}

func newDemux(r io.Reader, columns []Column) *demux {
	d := &demux{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	for i, c := range columns {
		d.left[i] = c.Stored
	}
	return d
}

// column returns the compressed bytes of a column.
func (d *demux) column(i int) io.Reader { return demuxColumn{d, i} }

type demuxColumn struct {
	d   *demux
	col int
}

func (c demuxColumn) Read(p []byte) (int, error) {
	for c.d.queue[c.col].Len() == 0 {
		if c.d.left[c.col] == 0 {
			return 0, io.EOF
		}
		if err := c.d.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.d.queue[c.col].Read(p)
	c.d.queued -= n
	return n, err
}

// next reads one frame into its queue.
func (d *demux) next() error {
	col, err := d.r.ReadByte()
	if err != nil {
		return damaged("read frame: %w", noEOF(err))
	}
	if int(col) >= numColumns {
		return damaged("frame of column %d", col)
	}
	n, err := binary.ReadUvarint(d.r)
	if err != nil {
		return damaged("read frame: %w", noEOF(err))
	}
	if n == 0 || n > maxFrame || int64(n) > d.left[col] || d.queued+int(n) > maxQueued {
		return damaged("frame of %d bytes of column %s, %d are left and %d wait", n, columnNames[col], d.left[col], d.queued)
	}
	d.sum.Write(binary.AppendUvarint([]byte{col}, n))
	if _, err := io.CopyN(io.MultiWriter(&d.queue[col], d.sum), d.r, int64(n)); err != nil {
		return damaged("read frame: %w", noEOF(err))
	}
	d.left[col] -= int64(n)
	d.queued += int(n)
	return nil
}

// finish reads the end frame. Nothing may be left before it, and nothing may follow it.
func (d *demux) finish() error {
	for i, left := range d.left {
		if left != 0 || d.queue[i].Len() != 0 {
			return damaged("column %s has %d bytes too many", columnNames[i], left+int64(d.queue[i].Len()))
		}
	}
	end := make([]byte, 1+sha256.Size)
	if _, err := io.ReadFull(d.r, end); err != nil {
		return damaged("read end: %w", noEOF(err))
	}
	if want := d.sum.Sum([]byte{frameEnd}); !bytes.Equal(end, want) {
		return damaged("frames: sha256 %x, want %x", end[1:5], want[1:5])
	}
	if _, err := d.r.ReadByte(); err == nil {
		return damaged("more data behind its end")
	} else if err != io.EOF {
		return damaged("read end: %w", err)
	}
	return nil
}

// columnReader reads the plain bytes of a column and keeps count and digest of them.
type columnReader struct {
	name string
	r    *bufio.Reader
	want Column
	n    int64
	sum  hash.Hash
}

func openColumns(d *demux, columns []Column) (*[numColumns]*columnReader, error) {
	var all [numColumns]*columnReader
	for i, c := range columns {
		plain, err := openColumn(c, i, d.column(i))
		if err != nil {
			return nil, err
		}
		size := 512
		if i == colDiff || i == colExtra {
			size = 32 << 10
		}
		all[i] = &columnReader{name: c.Name, r: bufio.NewReaderSize(plain, size), want: c, sum: sha256.New()}
	}
	return &all, nil
}

func (c *columnReader) full(p []byte) error {
	if int64(len(p)) > c.want.Plain-c.n {
		return damaged("column %s: %d bytes asked for, %d are left", c.name, len(p), c.want.Plain-c.n)
	}
	n, err := io.ReadFull(c.r, p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	if err != nil {
		return damaged("column %s at %d: %w", c.name, c.n, noEOF(err))
	}
	return nil
}

// uint reads a number of at most limit.
func (c *columnReader) uint(limit int64) (int64, error) {
	v, err := c.varint()
	if err == nil && v > uint64(limit) {
		err = damaged("column %s at %d: %d, want at most %d", c.name, c.n, v, limit)
	}
	return int64(v), err
}

// int reads a number with a sign.
func (c *columnReader) int() (int64, error) {
	v, err := c.varint()
	return int64(v>>1) ^ -int64(v&1), err
}

func (c *columnReader) varint() (uint64, error) {
	var v uint64
	var b [1]byte
	for shift := 0; shift < 64; shift += 7 {
		if err := c.full(b[:]); err != nil {
			return 0, err
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v, nil
		}
	}
	return 0, damaged("column %s at %d: number too long", c.name, c.n)
}

// finish checks that the column has been used up and was the right one.
func (c *columnReader) finish() error {
	if c.n != c.want.Plain {
		return damaged("column %s: %d of %d bytes were needed", c.name, c.n, c.want.Plain)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		return damaged("column %s: more than %d bytes (%v)", c.name, c.n, err)
	}
	if got := fmt.Sprintf("%x", c.sum.Sum(nil)); got != c.want.SHA256 {
		return damaged("column %s: sha256 %.8s, want %.8s", c.name, got, c.want.SHA256)
	}
	return nil
}
