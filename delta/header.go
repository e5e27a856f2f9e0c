package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Format names the format this package writes, and the only one it applies.
const Format = "slotboot-delta/3"

// magic begins a delta file.
const magic = "SBDELTA\n"

// The limits of a delta that Apply accepts. They bound what a hostile one can ask for.
const (
	maxHeader    = 64 << 10
	maxBlockSize = 1 << 20 // of squashfs
	maxWindow    = 2 << 20 // plain bytes between two looks at the control column
	maxSources   = 1 << 20 // regions of the old file: 128 GiB of blocks of 128 KiB
	maxItems     = 1 << 24
	maxRegions   = 1 << 14 // of a window
	maxPieces    = 1 << 12 // of an old member
	maxOldPieces = 1 << 18 // of all of them
	maxMemory    = 64 << 20
)

// The errors that a caller branches on. They are wrapped with what was wrong and where.
var (
	// ErrDamaged: the delta itself is cut short, altered or makes no sense.
	ErrDamaged = errors.New("damaged delta")
	// ErrOtherSource: the old file is not the one the delta was made from.
	ErrOtherSource = errors.New("delta does not fit")
	// ErrUnsupported: the delta needs a format, encoder, codec or amount of memory that this version does not have.
	ErrUnsupported = errors.New("delta not supported")
)

// File is one end of a delta.
type File struct {
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hex digits
}

// Column is one compressed column.
type Column struct {
	Name   string `json:"name"`
	Codec  string `json:"codec"`  // store, zstd, bzip2 or lzma
	Plain  int64  `json:"plain"`  // bytes decompressed
	Stored int64  `json:"stored"` // bytes in the delta
	SHA256 string `json:"sha256"` // of the plain bytes
}

// Header begins a delta. It says everything one may want to know before applying it.
type Header struct {
	Format      string   `json:"format"`
	Source      File     `json:"source"`
	Target      File     `json:"target"`
	Needs       []string `json:"needs,omitempty"`       // what an applier has to know besides the format
	Encoder     string   `json:"encoder,omitempty"`     // rebuilds the new file's blocks; empty if none is
	Compression uint16   `json:"compression,omitempty"` // of the old file's blocks: the number in a squashfs superblock
	BlockSize   int      `json:"block_size,omitempty"`  // the larger of both files' blocks, bytes
	Memory      int64    `json:"memory"`                // bytes the applier needs at most with one worker
	Rebuild     int64    `json:"rebuild"`               // plain bytes to compress again: what applying costs in CPU
	Inflate     int64    `json:"inflate"`               // plain bytes of the old file to read and decompress, each time counted
	Columns     []Column `json:"columns"`
}

// writeHeader writes magic, length, header and the header's digest.
func writeHeader(w io.Writer, h Header) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(text) > maxHeader {
		return fmt.Errorf("write delta header: %d bytes, want at most %d", len(text), maxHeader)
	}
	sum := sha256.Sum256(text)
	buf := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
	buf = append(append(buf, text...), sum[:]...)
	_, err = w.Write(buf)
	return err
}

// ReadHeader reads and checks the header of a delta, and leaves r behind it. It returns ErrDamaged or ErrUnsupported.
func ReadHeader(r io.Reader) (Header, error) {
	var h Header
	start := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, start); err != nil {
		return h, damaged("read header: %w", noEOF(err))
	}
	if string(start[:len(magic)]) != magic {
		return h, damaged("it begins %q, want %q", start[:len(magic)], magic)
	}
	n := binary.LittleEndian.Uint32(start[len(magic):])
	if n > maxHeader {
		return h, damaged("header of %d bytes, want at most %d", n, maxHeader)
	}
	text := make([]byte, n+sha256.Size)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, damaged("read header: %w", noEOF(err))
	}
	text, digest := text[:n], text[n:]
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], digest) {
		return h, damaged("header: sha256 %x, want %x", sum[:4], digest[:4])
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&h); err != nil {
		return h, damaged("header: %w", err)
	}
	return h, h.check()
}

func (h Header) check() error {
	if h.Format != Format {
		return fmt.Errorf("%w: format %q, want %q", ErrUnsupported, h.Format, Format)
	}
	for _, n := range h.Needs {
		if n != gzipEncoder && n != lz4Encoder && n != zstdEncoder {
			return fmt.Errorf("%w: it needs %.40q", ErrUnsupported, n)
		}
	}
	if h.needs(gzipEncoder) && len(h.Needs) > 1 {
		return damaged("header: it needs %q, but packs and members are never in one file", h.Needs)
	}
	if len(h.Columns) != numColumns {
		return damaged("header: %d columns, want %d", len(h.Columns), numColumns)
	}
	for i, c := range h.Columns {
		if c.Name != columnNames[i] || c.Plain < 0 || c.Stored < 0 || !isDigest(c.SHA256) {
			return damaged("header: column %d is %+v", i, c)
		}
	}
	for _, f := range []File{h.Source, h.Target} {
		if f.Size < 0 || !isDigest(f.SHA256) {
			return damaged("header: file %+v", f)
		}
	}
	if h.BlockSize < 0 || h.BlockSize > maxBlockSize || h.Memory < 0 || h.Rebuild < 0 {
		return damaged("header: block size %d, memory %d, rebuild %d", h.BlockSize, h.Memory, h.Rebuild)
	}
	if most := mostCost(h.Target.Size); h.Inflate < 0 || max(h.Inflate, h.Rebuild) > most {
		return damaged("header: it inflates %d bytes and compresses %d, a target of %d bytes allows %d", h.Inflate, h.Rebuild, h.Target.Size, most)
	}
	return nil
}

// needs tells whether an applier has to know id.
func (h Header) needs(id string) bool { return slices.Contains(h.Needs, id) }

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// noEOF makes an end of file in the middle of something what it is.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
