package delta

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/slotboot/slotboot/delta/gzipenc"
)

// A member is a gzip file, or what follows its header, within the plain bytes of a file. Windows hold the text of
// members in their place, and the applier compresses it again; the old content holds the text of old members behind the
// regions, so that text is patched from text.

// gzipEncoder names the encoder of members among the header's needs.
const gzipEncoder = "gzip-9/1"

// The limits of members. A member that does not stand in one piece is made once and kept for its other pieces.
const (
	maxMember = 2 << 20 // bytes, stored
	maxText   = 6 << 20 // and of its text: Debian's changelog of Linux has 5 MB
	maxMade   = maxWindow + maxText
	maxKept   = 2 << 20 // stored bytes of members that are kept; those kept longest go
)

// gzipHeader is the header that gzip -9n writes.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3}

// gzipTrailer is the size of what stands behind the deflate stream: CRC-32 and plain size.
const gzipTrailer = 8

// inflater reads members. The zero value is ready.
type inflater struct {
	in bytes.Reader
	gz gzip.Reader
}

// inflate returns the plain bytes of a gzip file of one member, at most limit, and the size of its header.
func (f *inflater) inflate(stored []byte, limit int) (plain []byte, header int, err error) {
	f.in.Reset(stored)
	if err := f.gz.Reset(&f.in); err != nil {
		return nil, 0, err
	}
	header = len(stored) - f.in.Len()
	f.gz.Multistream(false)
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.LimitReader(&f.gz, int64(limit)+1)); err != nil {
		return nil, 0, err
	}
	if out.Len() > limit || f.in.Len() > 0 {
		return nil, 0, fmt.Errorf("more than %d plain bytes, or %d bytes behind its end", limit, f.in.Len())
	}
	return out.Bytes(), header, nil
}

// appendMember appends the member of plain, with gzip's header or without any.
func appendMember(dst []byte, e *gzipenc.Encoder, plain []byte, header bool) []byte {
	if header {
		dst = append(dst, gzipHeader...)
	}
	dst = e.Deflate(dst, plain)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(plain))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(plain)))
}

// The flags of a placement's first number, which is 0 for a later piece of a member that is kept, else its plain size
// above these two.
const (
	withHeader  = 1 << iota
	inPieces    // offset and length follow, and the member is kept
	memberShift = iota
)

// placement is a piece of a member in a window.
type placement struct {
	gap    int  // bytes of the window between the placement before and this one, which are as the ops make them
	plain  int  // bytes of text here; 0: the member is kept from before
	stored int  // bytes of the whole member
	header bool // gzip's header stands in front
	pieces bool
	back   int // how many members have been kept since this one was; plain 0 only
	off, n int // the piece of the member that stands here
}

// placement writes what readPlacement reads.
func (s *spool) placement(p placement) {
	s.uint(uint64(p.gap))
	v := p.plain << memberShift
	if p.header {
		v |= withHeader
	}
	if p.pieces {
		v |= inPieces
	}
	if p.plain == 0 {
		s.uint(0)
		s.uint(uint64(p.back))
	} else {
		s.uint(uint64(v))
		s.uint(uint64(p.stored))
	}
	if p.plain == 0 || p.pieces {
		s.uint(uint64(p.off))
		s.uint(uint64(p.n))
	}
}

// readPlacement reads a placement in a window with so many bytes left, of what the ops make and of what it stands for.
func readPlacement(c *columnReader, made, plain int, kept *keeper) (p placement, err error) {
	number := func(limit int) (n int) {
		if err == nil {
			var v int64
			v, err = c.uint(int64(max(0, limit)))
			n = int(v)
		}
		return n
	}
	p.gap = number(min(made, plain))
	v := number(maxText<<memberShift | withHeader | inPieces)
	p.plain, p.header, p.pieces = v>>memberShift, v&withHeader != 0, v&inPieces != 0
	if p.plain == 0 {
		if p.back = number(len(kept.sizes) - 1); err == nil && (v != 0 || len(kept.sizes) == 0) {
			err = damaged("a piece of a member of no bytes, or of none that is kept")
		}
		if err == nil {
			p.stored = kept.sizes[len(kept.sizes)-1-p.back]
		}
	} else {
		p.stored = number(maxMember)
	}
	if p.off, p.n = 0, p.stored; p.plain == 0 || p.pieces {
		p.off = number(p.stored)
		p.n = number(p.stored - p.off)
	}
	if err == nil && (p.plain > made-p.gap || p.n > plain-p.gap) {
		err = damaged("a member of %d bytes, %d of them here, in a window with %d and %d left", p.plain, p.n, made-p.gap, plain-p.gap)
	}
	if err == nil && p.pieces {
		kept.keep(p.stored)
	}
	return p, err
}

// keeper holds the stored sizes of the members that are kept, as maker and applier count them.
type keeper struct {
	sizes []int
	held  int
	gone  int // how many were kept before the first of sizes
}

func (k *keeper) keep(stored int) {
	k.sizes = append(k.sizes, stored)
	for k.held += stored; k.held > maxKept; k.gone++ {
		k.held -= k.sizes[0]
		k.sizes = k.sizes[1:]
	}
}
