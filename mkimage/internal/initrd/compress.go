package initrd

import (
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/delta/lz4enc"
	"github.com/slotboot/slotboot/mkimage/internal/kernel"
	"github.com/slotboot/slotboot/squash/zstdenc"
)

// Compression is how an initrd is packed.
type Compression string

// The compressions that are written. A kernel reads those that its CONFIG_RD_ options name, and plain ones always.
const (
	Zstd Compression = "zstd"
	LZ4  Compression = "lz4"
	Gzip Compression = "gzip"
	None Compression = "none"
)

// preference is the order of choice: zstd is the smallest, lz4 the fastest to unpack (98 and 30 million instructions for
// 3 MB; gzip takes 95 and is larger than zstd).
var preference = []struct {
	c      Compression
	config string
}{{Zstd, "RD_ZSTD"}, {LZ4, "RD_LZ4"}, {Gzip, "RD_GZIP"}}

// Parse returns the compression of that name.
func Parse(name string) (Compression, error) {
	all := []Compression{Zstd, LZ4, Gzip, None}
	if c := Compression(name); slices.Contains(all, c) {
		return c, nil
	}
	var names []string
	for _, c := range all {
		names = append(names, string(c))
	}
	return "", fmt.Errorf("compress initrd with %q: want %s", name, strings.Join(names, ", "))
}

// Choose returns what to pack the initrd of a kernel with. A kernel whose configuration is not known gets gzip, which
// every distribution has had since 2.6.
func Choose(c kernel.Config) Compression {
	if c == nil {
		return Gzip
	}
	for _, p := range preference {
		if c.Yes(p.config) {
			return p.c
		}
	}
	return None
}

// Check tells whether a kernel of that configuration can unpack it.
func (c Compression) Check(conf kernel.Config) error {
	for _, p := range preference {
		if p.c == c && conf != nil && !conf.Yes(p.config) {
			return fmt.Errorf("compress initrd with %s: the kernel lacks CONFIG_%s; it takes %s", c, p.config, Choose(conf))
		}
	}
	return nil
}

func (c Compression) writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Zstd:
		return &wholeWriter{w: w, pack: packZstd}, nil
	case LZ4:
		return &wholeWriter{w: w, pack: packLZ4}, nil
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	case None:
		return nopCloser{w}, nil
	}
	_, err := Parse(string(c))
	return nil, err
}

// wholeWriter packs all that is written to it when it is closed.
type wholeWriter struct {
	w     io.Writer
	plain []byte
	pack  func(w io.Writer, plain []byte) error
}

func (z *wholeWriter) Write(p []byte) (int, error) {
	z.plain = append(z.plain, p...)
	return len(p), nil
}

func (z *wholeWriter) Close() error { return z.pack(z.w, z.plain) }

// packZstd writes one frame, which a delta can make again, and which is an eighth smaller than the streaming encoder's.
func packZstd(w io.Writer, plain []byte) error {
	if len(plain) <= zstdenc.MaxLong {
		_, err := w.Write(zstdenc.New(zstdenc.Best).EncodeLong(nil, plain))
		return err
	}
	// A firmware file of hundreds of megabytes.
	stream, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	if _, err := stream.Write(plain); err != nil {
		return err
	}
	return stream.Close()
}

// packLZ4 writes a legacy frame, the only one that the kernel reads, of blocks that a delta can make again.
func packLZ4(w io.Writer, plain []byte) error {
	const blockSize = 8 << 20
	var e lz4enc.Encoder
	out := []byte{0x02, 0x21, 0x4c, 0x18}
	for rest := plain; len(rest) > 0; {
		n := min(len(rest), blockSize)
		at := len(out)
		out = e.Block(append(out, 0, 0, 0, 0), rest[:n])
		binary.LittleEndian.PutUint32(out[at:], uint32(len(out)-at-4))
		rest = rest[n:]
	}
	_, err := w.Write(out)
	return err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
