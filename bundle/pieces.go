package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/slotboot/slotboot/squash"
)

// A device that no delta fits still has most of a new release: the blocks of its squashfs that have not changed. The
// list of the pieces of a full bundle tells it which those are, and the rest comes as ranges of the bundle.

// Piece is a stretch of a file, by its content.
type Piece struct {
	Size int64
	Sum  [16]byte // the first half of its SHA-256
}

const (
	piecesMagic = "SBPIECES"
	pieceSize   = 4 + 16 // as listed: size and sum
	// MaxPieces is how many a list may have.
	MaxPieces = 1 << 20
)

// Cut takes a file apart: a squashfs at the data blocks and fragments in it, anything else not at all.
func Cut(file *io.SectionReader) ([]Piece, error) {
	c := &cutter{file: file}
	if err := c.squashfs(); err != nil {
		return nil, err
	}
	return c.pieces, c.to(file.Size())
}

// CutBundle takes a full bundle apart, whose payloads begin at these places, in order.
func CutBundle(file *io.SectionReader, payloads []*io.SectionReader) ([]Piece, error) {
	c := &cutter{file: file}
	for _, p := range payloads {
		_, off, n := p.Outer()
		if err := c.to(off); err != nil {
			return nil, err
		}
		pieces, err := Cut(p)
		if err != nil {
			return nil, err
		}
		c.pieces = append(c.pieces, pieces...)
		c.at = off + n
	}
	return c.pieces, c.to(file.Size())
}

type cutter struct {
	file   *io.SectionReader
	at     int64
	pieces []Piece
}

// to makes what is before end a piece. One has at most 1 GiB.
func (c *cutter) to(end int64) error {
	for c.at < end {
		p := Piece{Size: min(end-c.at, 1<<30)}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(c.file, c.at, p.Size)); err != nil {
			return err
		}
		copy(p.Sum[:], sum.Sum(nil))
		c.pieces = append(c.pieces, p)
		c.at += p.Size
	}
	return nil
}

func (c *cutter) squashfs() error {
	var head [4]byte
	if n, _ := c.file.ReadAt(head[:], 0); n < len(head) || string(head[:]) != "hsqs" {
		return nil
	}
	img, err := squash.Open(c.file)
	if err != nil {
		return err
	}
	blocks, err := img.Blocks()
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if b.Kind != squash.DataBlock && b.Kind != squash.FragmentBlock || b.Offset < c.at {
			continue
		}
		if err := c.to(b.Offset); err != nil {
			return err
		}
		if err := c.to(b.Offset + int64(b.Stored)); err != nil {
			return err
		}
	}
	return nil
}

// EncodePieces returns a list of pieces as a file.
func EncodePieces(all []Piece) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(piecesMagic), uint32(len(all)))
	for _, p := range all {
		out = binary.LittleEndian.AppendUint32(out, uint32(p.Size))
		out = append(out, p.Sum[:]...)
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// ReadPieces reads a list of pieces. Errors about its content wrap ErrInvalid.
func ReadPieces(r io.Reader) ([]Piece, error) {
	sum := sha256.New()
	in := io.TeeReader(r, sum)
	head := make([]byte, len(piecesMagic)+4)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, fmt.Errorf("list of pieces: %w", cut(err, 1))
	}
	n := binary.LittleEndian.Uint32(head[len(piecesMagic):])
	if string(head[:len(piecesMagic)]) != piecesMagic || n > MaxPieces {
		return nil, invalidf("list of pieces: it begins %q", head)
	}
	all := make([]Piece, 0, min(n, 4096))
	one := make([]byte, pieceSize)
	for range n {
		if _, err := io.ReadFull(in, one); err != nil {
			return nil, fmt.Errorf("list of pieces: %w", cut(err, pieceSize))
		}
		p := Piece{Size: int64(binary.LittleEndian.Uint32(one))}
		copy(p.Sum[:], one[4:])
		all = append(all, p)
	}
	want := sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		return nil, invalidf("list of pieces: cut short, or its sha256 is not its own")
	}
	return all, nil
}

// Skipper is a stream of a bundle, of which parts can be passed over.
type Skipper interface {
	io.Reader
	Skip(n int64) error
}

// Assembly is a full bundle, put together from the pieces that are here and, for the others, the bundle itself. Whether
// they are the right ones its reader finds out, as with any bundle.
type Assembly struct {
	pieces []Piece
	here   map[Piece]place
	remote Skipper
	from   io.Reader // of the present piece; nil between two
	left   int64
	skip   int64 // bytes of the bundle that were here since it was last read
	Here   int64 // bytes of all pieces that are here
	There  int64 // and of those that are not
}

type place struct {
	file *io.SectionReader
	off  int64
}

// Assemble prepares to read the bundle of these pieces. What cannot be taken apart of files is as if it were not there.
func Assemble(pieces []Piece, files []*io.SectionReader) *Assembly {
	a := &Assembly{pieces: pieces, here: map[Piece]place{}}
	for _, file := range files {
		have, err := Cut(file)
		if err != nil {
			continue
		}
		off := int64(0)
		for _, p := range have {
			a.here[p] = place{file, off}
			off += p.Size
		}
	}
	for _, p := range pieces {
		if _, ok := a.here[p]; ok {
			a.Here += p.Size
		} else {
			a.There += p.Size
		}
	}
	return a
}

// From sets where the pieces come from that are not here.
func (a *Assembly) From(remote Skipper) { a.remote = remote }

// Read implements io.Reader.
func (a *Assembly) Read(b []byte) (int, error) {
	for a.left == 0 {
		if len(a.pieces) == 0 {
			return 0, io.EOF
		}
		p := a.pieces[0]
		a.pieces, a.left = a.pieces[1:], p.Size
		if at, ok := a.here[p]; ok {
			a.from = io.NewSectionReader(at.file, at.off, p.Size)
			a.skip += p.Size
			continue
		}
		if a.skip > 0 {
			if err := a.remote.Skip(a.skip); err != nil {
				return 0, err
			}
		}
		a.from, a.skip = a.remote, 0
	}
	n, err := a.from.Read(b[:min(int64(len(b)), a.left)])
	if a.left -= int64(n); err == io.EOF && a.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
