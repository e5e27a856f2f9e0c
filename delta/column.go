package delta

import (
	"compress/bzip2"
	"fmt"
	"io"

	dsbzip2 "github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
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

// codecs are the compressors a column may use, by their name in the header. Which is best depends on the column: for
// the differences of a rebuilt Go program bzip2 gives 94 KB, xz and zstd a third more.
var codecs = []string{"store", "zstd", "bzip2", "xz"}

// columnWindow is how far back a column's codec looks, and so what a column costs the applier in memory. Control
// columns are small; 2 MiB for the others is what keeps the applier below 64 MB.
func columnWindow(col int) int {
	if col == colDiff || col == colExtra {
		return 2 << 20
	}
	return 256 << 10
}

// compressColumn copies plain to w, compressed.
func compressColumn(codec string, col int, w io.Writer, plain io.Reader) error {
	var enc io.WriteCloser
	var err error
	switch codec {
	case "store":
		_, err = io.Copy(w, plain)
		return err
	case "zstd":
		enc, err = zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(columnWindow(col)),
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	case "bzip2":
		enc, err = dsbzip2.NewWriter(w, &dsbzip2.WriterConfig{Level: dsbzip2.BestCompression})
	case "xz":
		enc, err = xz.WriterConfig{DictCap: columnWindow(col), CheckSum: xz.CRC32}.NewWriter(w)
	default:
		err = fmt.Errorf("%w: column codec %q", ErrUnsupported, codec)
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
func openColumn(codec string, col int, r io.Reader) (io.Reader, error) {
	switch codec {
	case "store":
		return r, nil
	case "zstd":
		return &lazyReader{open: func() (io.Reader, error) {
			dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(uint64(columnWindow(col))))
			if err != nil {
				return nil, err
			}
			return dec.IOReadCloser(), nil
		}}, nil
	case "bzip2":
		return bzip2.NewReader(r), nil
	case "xz":
		return &lazyReader{open: func() (io.Reader, error) {
			return xz.ReaderConfig{DictCap: columnWindow(col), SingleStream: true}.NewReader(r)
		}}, nil
	}
	return nil, fmt.Errorf("%w: column codec %q", ErrUnsupported, codec)
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
