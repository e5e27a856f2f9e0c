package delta

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"math/bits"

	dsbzip2 "github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"

	"github.com/slotboot/slotboot/delta/lzmaenc"
)

// The columns of a delta. Each is compressed by itself, because what helps one hurts another: differences are long
// runs of zeros, extra bytes are plain content, seeks are small numbers.
const (
	colControl = iota // what to do: sources, copies, windows, how regions are encoded
	colLength         // the add and extra lengths of patch ops
	colSeek           // the seeks of patch ops
	colDiff           // difference bytes
	colExtra          // bytes that the old content has nowhere near
	colCheck          // CRC-32C of everything taken from the old file
	numColumns
)

var columnNames = [numColumns]string{"control", "length", "seek", "diff", "extra", "check"}

// codecs are the ways to compress a column: the name in the header, and for lzma what it takes its statistics by. Which
// is best depends on the column: for the differences of a rebuilt Go program bzip2 gives 94 KB, the others a third more;
// for new files lzma gives a sixth less than zstd.
var codecs = []struct {
	name       string
	lc, lp, pb int
}{{name: "store"}, {name: "zstd"}, {name: "bzip2"}, {"lzma", 3, 0, 2}, {"lzma", 4, 0, 0}, {"lzma", 0, 0, 0}}

// columnWindow is how far back the codec of a column of so many bytes looks, and so what it costs the applier in memory.
// Control columns are small; new files gain 1.5 % by 8 MiB in place of 2; more would not leave the applier below 64 MB.
func columnWindow(col int, size int64) int64 {
	most := int64(256 << 10)
	switch col {
	case colExtra:
		most = 8 << 20
	case colDiff:
		most = 2 << 20
	}
	return min(most, max(4<<10, int64(1)<<bits.Len64(uint64(max(size, 1)-1))))
}

// compressColumn copies size bytes of plain to w, compressed by codecs[i].
func compressColumn(i int, col int, w io.Writer, plain io.Reader, size int64) error {
	var enc io.WriteCloser
	var err error
	switch c := codecs[i]; c.name {
	case "store":
		_, err = io.Copy(w, plain)
		return err
	case "zstd":
		enc, err = zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(int(columnWindow(col, size))),
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	case "bzip2":
		enc, err = dsbzip2.NewWriter(w, &dsbzip2.WriterConfig{Level: dsbzip2.BestCompression})
	case "lzma":
		return lzmaenc.Encode(w, plain, size, lzmaenc.Params{Dict: int(columnWindow(col, size)), LC: c.lc, LP: c.lp, PB: c.pb})
	}
	if err != nil {
		return err
	}
	if _, err := io.Copy(enc, plain); err != nil {
		return err
	}
	return enc.Close()
}

// openColumn returns the plain bytes of the compressed column r. A hostile column costs no more memory than its window
// and the codec's own tables. r is first read when the result is.
func openColumn(c Column, col int, r io.Reader) (io.Reader, error) {
	window := columnWindow(col, c.Plain)
	switch c.Codec {
	case "store":
		return r, nil
	case "zstd":
		return &lazyReader{open: func() (io.Reader, error) {
			dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(uint64(window)))
			if err != nil {
				return nil, err
			}
			return dec.IOReadCloser(), nil
		}}, nil
	case "bzip2":
		return bzip2.NewReader(r), nil
	case "lzma":
		return &lazyReader{open: func() (io.Reader, error) {
			return lzma.ReaderConfig{DictCap: int(window)}.NewReader(bufio.NewReaderSize(r, 512))
		}}, nil
	}
	return nil, fmt.Errorf("%w: column codec %q", ErrUnsupported, c.Codec)
}

// lazyReader opens its reader on the first read: opening reads a header that may not have come yet.
type lazyReader struct {
	open func() (io.Reader, error)
	r    io.Reader
	err  error
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil && l.err == nil {
		l.r, l.err = l.open()
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.r.Read(p)
}
