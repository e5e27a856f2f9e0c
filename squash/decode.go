package squash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// errBomb is what every decoder says to a block that holds more than there may be.
var errBomb = errors.New("block holds more bytes than it may")

// decoder turns stored bytes into plain ones: into dst, never more than its length. Up to decodeSlack bytes behind that,
// within its capacity, may be written over. Any number of goroutines.
type decoder interface {
	decode(dst, src []byte) (int, error)
}

// decodeSlack is the room that lets klauspost's zstd decoder copy 16 bytes at a time: a fifth less time.
const decodeSlack = 32

func newDecoder(c Compression, blockSize int) (decoder, error) {
	switch c {
	case Gzip:
		return &zlibDecoder{}, nil
	case LZMA:
		return lzmaDecoder{}, nil
	case LZO:
		return lzoDecoder{}, nil
	case XZ:
		return xzDecoder{}, nil
	case LZ4:
		return lz4Decoder{}, nil
	case Zstd:
		// Frames of mksquashfs fit a block; the window limit is what keeps a frame from asking for gigabytes.
		window := uint64(max(blockSize, metaSize))
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, fmt.Errorf("make zstd decoder: %w", err)
		}
		return zstdDecoder{dec}, nil
	}
	return nil, fmt.Errorf("compressor at offset 20 is %d, want 1 to 6", uint16(c))
}

type zstdDecoder struct{ dec *zstd.Decoder }

func (d zstdDecoder) decode(dst, src []byte) (int, error) {
	out, err := d.dec.DecodeAll(src, dst[:0:min(cap(dst), len(dst)+decodeSlack)])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(out) > len(dst) {
		err = errBomb
	}
	return len(out), err
}

type lz4Decoder struct{}

func (lz4Decoder) decode(dst, src []byte) (int, error) { return lz4.UncompressBlock(src, dst) }

type zlibDecoder struct{ pool sync.Pool }

func (d *zlibDecoder) decode(dst, src []byte) (int, error) {
	in := bytes.NewReader(src)
	r, _ := d.pool.Get().(io.ReadCloser)
	var err error
	if r == nil {
		r, err = zlib.NewReader(in)
	} else {
		err = r.(zlib.Resetter).Reset(in, nil)
	}
	if err != nil {
		return 0, err
	}
	defer d.pool.Put(r)
	return readAll(r, dst)
}

// readAll fills dst, and makes sure that r ends where dst does or before.
func readAll(r io.Reader, dst []byte) (int, error) {
	n, err := io.ReadFull(r, dst)
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		return n, nil
	case nil:
		var one [1]byte
		if _, err := io.ReadFull(r, one[:]); err == nil {
			return n, errBomb
		} else if err != io.EOF {
			return n, err
		}
	}
	return n, err
}

type lzmaDecoder struct{}

func (lzmaDecoder) decode(dst, src []byte) (int, error) {
	if len(src) < lzma.HeaderLen {
		return 0, io.ErrUnexpectedEOF
	}
	// The reader allocates the dictionary that the header asks for: never let it be more than the block needs.
	head := append([]byte(nil), src[:lzma.HeaderLen]...)
	want := uint32(max(len(dst), lzma.MinDictCap))
	if le32(head[1:]) > want {
		putLE32(head[1:], want)
	}
	r, err := lzma.ReaderConfig{DictCap: int(want)}.NewReader(io.MultiReader(bytes.NewReader(head), bytes.NewReader(src[lzma.HeaderLen:])))
	if err != nil {
		return 0, err
	}
	return readAll(r, dst)
}
