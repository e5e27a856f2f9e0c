package squash

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/slotboot/slotboot/squash/flateenc"
	"github.com/slotboot/slotboot/squash/lz4enc"
	"github.com/slotboot/slotboot/squash/zstdenc"
	"github.com/ulikunitz/xz"
)

// Codec compresses blocks. The same id and the same plain bytes give the same stored bytes, on every machine and
// whatever was compressed before: a delta rebuilds blocks with it on the device. One goroutine at a time.
type Codec interface {
	// ID names the encoder, its level and the version of its output, like "slot-zstd-2/1". A change of the output is a
	// new id.
	ID() string
	// Compress appends src, compressed, to dst. A result that is not shorter than src is stored plain by the Writer.
	Compress(dst, src []byte) ([]byte, error)
}

// CodecID returns the id of the encoder that Options with this compression and level use; level 0 is the default.
//
// Levels: zstd 1 to 22 (15), where 1-2, 3-5 and 6-9 are steps of klauspost/compress and 10-15, 16-22 steps of zstdenc;
// gzip 1 to 9 (9), where 9 is flateenc and the others are klauspost's; lz4 1 (fast) to 9 (9), where 9 is lz4enc
// and the others are pierrec's; xz 1 to 9 (6), where 9 is lzmaenc and the others are ulikunitz's; none has one.
func CodecID(c Compression, level int) (string, error) {
	level, err := checkLevel(c, level)
	if err != nil {
		return "", err
	}
	switch c {
	case Gzip:
		if level == 9 {
			return flateenc.ID, nil
		}
		return fmt.Sprintf("kp-zlib-%d/1", level), nil
	case XZ:
		if level == 9 {
			return slotXZ, nil
		}
		return "uk-xz/1", nil
	case LZ4:
		if level == 9 {
			return lz4enc.ID, nil
		}
		return fmt.Sprintf("pierrec-lz4-%d/1", level), nil
	case None:
		return "store/1", nil
	}
	switch {
	case level >= 16:
		return slotID(zstdenc.Best), nil
	case level >= 10:
		return slotID(zstdenc.Default), nil
	}
	return fmt.Sprintf("kp-zstd-%d/1", int(zstd.EncoderLevelFromZstd(level))), nil
}

// slotID is the id of our own encoder with a level: zstdenc.ID is "slot-zstd/1", with level 2 it is "slot-zstd-2/1".
func slotID(level zstdenc.Level) string {
	name, version, _ := strings.Cut(zstdenc.ID, "/")
	return fmt.Sprintf("%s-%d/%s", name, level, version)
}

func checkLevel(c Compression, level int) (int, error) {
	def, top := 0, 0
	switch c {
	case 0, Zstd:
		def, top = defaultZstdLevel, 22
	case Gzip:
		def, top = defaultGzipLevel, 9
	case LZ4:
		def, top = defaultLZ4Level, 9
	case XZ:
		def, top = defaultXZLevel, 9
	case None:
	default:
		return 0, fmt.Errorf("write %v: only zstd, gzip, xz, lz4 and none are written", c)
	}
	if level < 0 || level > top {
		return 0, fmt.Errorf("use %v level %d: want 1 to %d, or 0 for the default", c, level, top)
	}
	if level == 0 {
		level = def
	}
	return level, nil
}

// codecCompression is what the encoder called id writes, or 0.
func codecCompression(id string) Compression {
	name, _, _ := strings.Cut(id, "/")
	for prefix, c := range map[string]Compression{"kp-zstd-": Zstd, "slot-zstd-": Zstd, "slot-zlib": Gzip, "slot-lz4": LZ4, "slot-xz": XZ, "kp-zlib-": Gzip, "uk-xz": XZ, "pierrec-lz4-": LZ4, "store": None} {
		if strings.HasPrefix(name, prefix) {
			return c
		}
	}
	return 0
}

// NewCodec returns the encoder called id for blocks of up to blockSize bytes. The error says so when this version
// does not have it.
func NewCodec(id string, blockSize int) (Codec, error) {
	name, version, _ := strings.Cut(id, "/")
	step := 0
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			name, step = name[:i], n
		}
	}
	if level := zstdenc.Level(step); id == slotID(level) && level >= zstdenc.Fast && level <= zstdenc.Best {
		return &slotCodec{id, zstdenc.New(level)}, nil
	}
	switch id {
	case flateenc.ID:
		return &slotCodec{id, flateenc.New()}, nil
	case lz4enc.ID:
		return &slotCodec{id, lz4enc.New()}, nil
	case slotXZ:
		return newSmallXZCodec(blockSize), nil
	}
	if version == "1" {
		switch {
		case name == "kp-zstd" && step >= 1 && step <= 4:
			return newZstdCodec(id, zstd.EncoderLevel(step), blockSize)
		case name == "kp-zlib" && step >= 1 && step <= 9:
			return newZlibCodec(id, step)
		case name == "pierrec-lz4" && step >= 1 && step <= 9:
			return &lz4Codec{id: id, level: step}, nil
		case name == "uk-xz":
			return newXZCodec(id, blockSize)
		case name == "store":
			return storeCodec{id}, nil
		}
	}
	return nil, fmt.Errorf("use encoder %q: this version does not have it", id)
}

type storeCodec struct{ id string }

func (c storeCodec) ID() string                               { return c.id }
func (c storeCodec) Compress(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }

type slotCodec struct {
	id  string
	enc interface{ Encode(dst, src []byte) []byte } // of zstdenc, flateenc or lz4enc
}

func (c *slotCodec) ID() string                               { return c.id }
func (c *slotCodec) Compress(dst, src []byte) ([]byte, error) { return c.enc.Encode(dst, src), nil }

type zstdCodec struct {
	id  string
	enc *zstd.Encoder
}

func newZstdCodec(id string, level zstd.EncoderLevel, blockSize int) (Codec, error) {
	// The kernel sizes its window by the block size, so frames say how long they are (single segment) and never ask
	// for more. A checksum would cost four bytes a block; the kernel checks it too, but no other squashfs has one.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithWindowSize(max(blockSize, metaSize)))
	if err != nil {
		return nil, fmt.Errorf("use encoder %q: %w", id, err)
	}
	return &zstdCodec{id, enc}, nil
}

func (c *zstdCodec) ID() string                               { return c.id }
func (c *zstdCodec) Compress(dst, src []byte) ([]byte, error) { return c.enc.EncodeAll(src, dst), nil }

type zlibCodec struct {
	id  string
	buf bytes.Buffer
	enc *zlib.Writer
}

func newZlibCodec(id string, level int) (Codec, error) {
	c := &zlibCodec{id: id}
	var err error
	if c.enc, err = zlib.NewWriterLevel(&c.buf, level); err != nil {
		return nil, fmt.Errorf("use encoder %q: %w", id, err)
	}
	return c, nil
}

func (c *zlibCodec) ID() string { return c.id }

func (c *zlibCodec) Compress(dst, src []byte) ([]byte, error) {
	c.buf.Reset()
	c.enc.Reset(&c.buf)
	if _, err := c.enc.Write(src); err != nil {
		return dst, err
	}
	if err := c.enc.Close(); err != nil {
		return dst, err
	}
	return append(dst, c.buf.Bytes()...), nil
}

type lz4Codec struct {
	id    string
	level int
	fast  lz4.Compressor
	hc    lz4.CompressorHC
}

func (c *lz4Codec) ID() string { return c.id }

func (c *lz4Codec) Compress(dst, src []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, make([]byte, lz4.CompressBlockBound(len(src)))...)
	n, err := 0, error(nil)
	if c.level == 1 {
		n, err = c.fast.CompressBlock(src, dst[at:])
	} else {
		c.hc.Level = lz4.CompressionLevel(1 << (8 + c.level))
		n, err = c.hc.CompressBlock(src, dst[at:])
	}
	if err == nil && n == 0 { // incompressible
		return append(dst[:at], src...), nil
	}
	return dst[:at+n], err
}

type xzCodec struct {
	id  string
	cfg xz.WriterConfig
}

func newXZCodec(id string, blockSize int) (Codec, error) {
	// The kernel takes CRC32 or no check, and a dictionary of at most the block size.
	c := &xzCodec{id, xz.WriterConfig{DictCap: max(blockSize, metaSize), CheckSum: xz.CRC32}}
	if err := c.cfg.Verify(); err != nil {
		return nil, fmt.Errorf("use encoder %q: %w", id, err)
	}
	return c, nil
}

func (c *xzCodec) ID() string { return c.id }

func (c *xzCodec) Compress(dst, src []byte) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	w, err := c.cfg.NewWriter(buf)
	if err != nil {
		return dst, err
	}
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return buf.Bytes(), nil
}
