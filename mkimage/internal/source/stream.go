package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

type rc = io.ReadCloser

// maxWindow is the largest zstd window accepted, what `zstd --ultra -22` uses: a frame may ask for gigabytes of memory.
const maxWindow = 128 << 20

// decompress returns the plain bytes of r, which may be gzip, zstd, xz, bzip2 or plain: the first bytes tell, because
// media types are often wrong. plain reports that r was not compressed. Close frees the decoder, not r.
func decompress(r io.Reader) (out io.ReadCloser, plain bool, err error) {
	br := bufio.NewReaderSize(r, 256<<10)
	magic, err := br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		return zr, false, err
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, false, err
		}
		return zr.IOReadCloser(), false, nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		zr, err := xz.NewReader(br)
		return io.NopCloser(zr), false, err
	case bytes.HasPrefix(magic, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(br)), false, nil
	}
	return io.NopCloser(br), true, nil
}

// meter adds up the compressed bytes of all layers for Options.Progress.
type meter struct {
	done, total int64
	report      func(done, total int64)
}

func newMeter(layers []descriptor, report func(done, total int64)) *meter {
	m := &meter{report: report}
	for _, d := range layers {
		m.total += d.Size
	}
	return m
}

func (m *meter) add(n int) {
	if m == nil || m.report == nil || n == 0 {
		return
	}
	m.done += int64(n)
	m.report(m.done, m.total)
}

// opener returns the Open of a layer: raw bytes checked against Digest and Size, unpacked, checked against DiffID.
func opener(ctx context.Context, l *Layer, opt Options, m *meter, raw func(context.Context) (rc, error)) func() (rc, error) {
	return func() (rc, error) {
		ctx, cancel := context.WithCancel(ctx)
		in, err := raw(ctx)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		s := &stream{ctx: ctx, cancel: cancel, layer: l, meter: m, in: in, left: opt.maxBytes()}
		if err := s.start(); err != nil {
			cancel()
			in.Close()
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		return s, nil
	}
}

// stream is a layer being read. One goroutine reads the stored bytes and unpacks them, another one, the caller's, checks the
// diff id and uses them: gunzip alone is half of the work.
type stream struct {
	ctx    context.Context
	cancel context.CancelFunc
	layer  *Layer

	// of the goroutine that unpacks
	in   io.ReadCloser
	out  io.ReadCloser
	raw  *digester // nil when the layer has no digest
	nraw int64
	rerr error // of the stored bytes; a decoder may hide it

	full chan chunk
	free chan []byte

	// of the caller's
	meter *meter
	seen  int64 // of nraw, told to the meter
	tar   *digester
	cur   chunk
	at    int
	left  int64 // how much may still be unpacked
	err   error
}

// chunk is a piece of the unpacked layer.
type chunk struct {
	b    []byte
	nraw int64 // how many stored bytes were read by then
	err  error // after b
}

const (
	chunks    = 4
	chunkSize = 128 << 10
)

func (s *stream) start() (err error) {
	if s.layer.Digest != "" {
		if s.raw, err = newDigester(s.layer.Digest); err != nil {
			return err
		}
	}
	want := s.layer.DiffID
	if want == "" {
		want = digestOf(nil) // only for the algorithm: finish takes the sum
	}
	if s.tar, err = newDigester(want); err != nil {
		return err
	}
	var plain bool
	if s.out, plain, err = decompress(rawReader{s}); err != nil {
		return s.unpackError(err)
	}
	if plain && s.layer.Digest == s.layer.DiffID {
		s.raw = nil // the same bytes twice: once is enough
	}
	s.full, s.free = make(chan chunk, chunks+1), make(chan []byte, chunks)
	for range chunks {
		s.free <- make([]byte, chunkSize)
	}
	go s.unpack()
	return nil
}

// unpack fills chunks until the end, an error or Close, then closes what it read from. Only it can do that: a Read of a pipe
// may take as long as it likes.
func (s *stream) unpack() {
	defer s.in.Close()
	defer s.out.Close()
	for {
		var buf []byte
		select {
		case buf = <-s.free:
		case <-s.ctx.Done():
			s.full <- chunk{err: s.ctx.Err()} // the one place in full beyond the chunks
			return
		}
		n, err := s.out.Read(buf)
		if err == io.EOF {
			// A decoder may stop before the last stored byte; the digest covers them all.
			if _, rest := io.Copy(io.Discard, rawReader{s}); rest != nil {
				err = rest
			}
		}
		s.full <- chunk{buf[:n], s.nraw, err}
		if err != nil {
			return
		}
	}
}

// rawReader reads the stored bytes.
type rawReader struct{ s *stream }

func (r rawReader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	if err != nil && err != io.EOF {
		r.s.rerr = err
	}
	return n, err
}

func (r rawReader) read(p []byte) (int, error) {
	s := r.s
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.in.Read(p)
	s.nraw += int64(n)
	if s.raw != nil {
		s.raw.Write(p[:n])
	}
	size := s.layer.Size
	switch {
	case size > 0 && s.nraw > size:
		return n, fmt.Errorf("%w: more than the %d bytes that it should have", ErrCorrupt, size)
	case errors.Is(err, io.EOF) && size > 0 && s.nraw < size:
		return n, fmt.Errorf("%w: cut off after %d of %d bytes", ErrCorrupt, s.nraw, size)
	}
	return n, err
}

func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil && s.at == len(s.cur.b) && len(p) > 0 {
		s.next()
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(p, s.cur.b[s.at:])
	s.at += n
	return n, nil
}

// next takes the next chunk, or sets err.
func (s *stream) next() {
	if s.cur.err == nil {
		if s.cur.b != nil {
			s.free <- s.cur.b[:chunkSize]
		}
		s.cur, s.at = <-s.full, 0
		s.tar.Write(s.cur.b)
		s.meter.add(int(s.cur.nraw - s.seen))
		s.seen = s.cur.nraw
		if s.left -= int64(len(s.cur.b)); s.left < 0 {
			s.cur = chunk{err: fmt.Errorf("unpacks to more bytes than allowed: %w", ErrTooLarge)}
		}
		return
	}
	err := s.unpackError(s.cur.err)
	if s.cur.err == io.EOF {
		err = s.finish()
	}
	if err != io.EOF {
		err = fmt.Errorf("%s: %w", s.layer.Name, err)
	}
	s.err = err
}

// finish checks the digests at the end of the stream.
func (s *stream) finish() error {
	if s.raw != nil {
		if err := s.raw.check(); err != nil {
			return err
		}
	}
	if s.layer.DiffID == "" {
		s.layer.DiffID = s.tar.sum()
		return io.EOF
	}
	if err := s.tar.check(); err != nil {
		return fmt.Errorf("uncompressed (diff id): %w", err)
	}
	return io.EOF
}

// unpackError makes a decoder's error one about a damaged image, unless it is about something else.
func (s *stream) unpackError(err error) error {
	if s.rerr != nil {
		return s.rerr
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooLarge) || s.ctx.Err() != nil {
		return err
	}
	for _, bad := range []error{gzip.ErrHeader, gzip.ErrChecksum, zstd.ErrCRCMismatch, zstd.ErrMagicMismatch, zstd.ErrWindowSizeExceeded, io.ErrUnexpectedEOF} {
		if errors.Is(err, bad) {
			return fmt.Errorf("%w: unpack: %w", ErrCorrupt, err)
		}
	}
	return fmt.Errorf("unpack: %w", err)
}

func (s *stream) Close() error {
	s.cancel()
	s.err = errors.New("read of a closed layer")
	return nil
}
