package kernel

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxUnpacked bounds what one kernel or module may unpack to. The largest arm64 Image of a distribution is about 60 MB.
const maxUnpacked = 512 << 20

// unpackers are the compressions that the kernel's build uses, by the bytes they start with.
var unpackers = []struct {
	magic string
	open  func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b", openGzip},
	{"\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) {
		// The kernel's build appends the unpacked size, which is no second stream.
		return xz.ReaderConfig{SingleStream: true}.NewReader(r)
	}},
	{"\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	}},
	{"\x02\x21\x4c\x18", func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
	{"BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"\x5d\x00\x00", func(r io.Reader) (io.Reader, error) { return lzma.NewReader(r) }},
}

func openGzip(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return z, nil
}

// compressed tells whether data starts as a compressed file does.
func compressed(data []byte) bool {
	for _, u := range unpackers {
		if strings.HasPrefix(string(data[:min(len(data), 8)]), u.magic) {
			return true
		}
	}
	return false
}

// decompress unpacks data, whatever it is compressed with. What follows the compressed stream is ignored.
func decompress(data []byte) ([]byte, error) {
	for _, u := range unpackers {
		if !strings.HasPrefix(string(data[:min(len(data), 8)]), u.magic) {
			continue
		}
		r, err := u.open(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if c, ok := r.(interface{ Close() }); ok {
			defer c.Close()
		}
		out, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
		if len(out) > maxUnpacked {
			return nil, fmt.Errorf("unpacks to more than %d MiB", maxUnpacked>>20)
		}
		return out, err
	}
	return nil, errors.New("unknown compression")
}
