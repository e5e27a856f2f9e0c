package delta

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/slotboot/slotboot/delta/lz4enc"
	"github.com/slotboot/slotboot/squash/zstdenc"
)

// A pack is a large compressed piece of a file that is no squashfs. CONFIG_KERNEL_LZ4 packs a kernel that is 53 MB when it
// runs into seven LZ4 blocks of a legacy frame; an initrd is a row of zstd frames. Each is an item of its own in the
// delta, and the packs of the old file are members of the old content.

// The encoders of packs among the header's needs.
const (
	lz4Encoder  = "lz4-9/1"
	zstdEncoder = zstdenc.LongID
)

const (
	maxPack   = 8 << 20 // plain bytes: what lz4 puts in a block
	maxPacked = maxPack + maxPack/255 + 16
	maxZstd   = 3 << 20 // plain bytes of a zstd frame that is made: its encoder takes several times as much
)

// packCache is how much old plain content the applier keeps where there are LZ4 blocks: two of them, because a patch of
// one reaches into the next. zstdCache is the same for zstd frames: an old initrd may be a single one.
const (
	packCache = 2*maxPack + cacheSize/4
	zstdCache = maxPack + cacheSize/4
)

// packer makes packs. The zero value is ready.
type packer struct {
	lz4  *lz4enc.Encoder
	zstd *zstdenc.Encoder
}

// pack appends the pack of plain to dst.
func (p *packer) pack(dst []byte, k kind, plain []byte) []byte {
	if k == zstdFrame {
		if p.zstd == nil {
			p.zstd = zstdenc.New(zstdenc.Best)
		}
		return p.zstd.EncodeLong(dst, plain)
	}
	if p.lz4 == nil {
		p.lz4 = new(lz4enc.Encoder)
	}
	return p.lz4.Block(dst, plain)
}

// unpack returns the plain bytes of a pack.
func unpack(k kind, stored []byte, plain int) ([]byte, error) {
	var out []byte
	var err error
	switch k {
	case lz4Block:
		out = make([]byte, plain)
		var n int
		n, err = lz4.UncompressBlock(stored, out)
		out = out[:max(n, 0)]
	case zstdFrame:
		out, err = decodeZstd(stored, plain)
	default:
		out, _, err = gunzip(stored, make([]byte, plain+1))
	}
	if err == nil && len(out) != plain {
		err = fmt.Errorf("%d plain bytes, want %d", len(out), plain)
	}
	return out, err
}

// decodeZstd returns the plain bytes of zstd frames, at most limit.
func decodeZstd(stored []byte, limit int) ([]byte, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxPack), zstd.WithDecoderMaxMemory(maxPack), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(stored, make([]byte, 0, limit))
}

// gunzip reads the gzip file that stored begins with into out, which must be larger than its plain bytes, and returns
// them with how many bytes of stored it has.
func gunzip(stored, out []byte) (plain []byte, size int, err error) {
	in := bytes.NewReader(stored)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, 0, err
	}
	z.Multistream(false)
	n := 0
	for n < len(out) && err == nil {
		var more int
		more, err = z.Read(out[n:])
		n += more
	}
	if err == nil {
		err = fmt.Errorf("more than %d plain bytes", len(out)-1)
	}
	if err != io.EOF {
		return nil, 0, err
	}
	return out[:n], len(stored) - in.Len(), nil
}

// readPack makes one pack for the writer. Until that has it, the pack takes the place of a window: what is in flight
// stays bounded on a disk that is slower than the packing.
func (a *applier) readPack(ctx context.Context, k kind) (*job, error) {
	control := a.cols[colControl]
	most := int64(maxPack)
	if k == zstdFrame {
		most = maxZstd
	}
	plain, err := control.uint(most)
	if err != nil {
		return nil, err
	}
	ops, err := control.uint(maxOps(plain))
	if err != nil {
		return nil, err
	}
	stored, err := control.uint(maxPacked)
	if err == nil {
		err = a.grow(stored)
	}
	if err == nil {
		err = a.rebuild(plain)
	}
	if err != nil {
		return nil, err
	}
	window, err := a.window(ctx)
	if err != nil {
		return nil, err
	}
	a.text = sized(a.text, plain)
	if err := a.patch(ctx, a.text, ops); err != nil {
		return nil, err
	}
	j := &job{region: region{stored: int(stored)}, there: a.made <= a.o.HaveSize, last: true, window: window, ready: make(chan struct{})}
	close(j.ready)
	if j.there {
		return j, nil
	}
	if j.stored = a.packer.pack(make([]byte, 0, stored), k, a.text); int64(len(j.stored)) != stored {
		return nil, fmt.Errorf("%w: its encoder makes %d bytes of a pack, want %d", ErrUnsupported, len(j.stored), stored)
	}
	return j, nil
}
