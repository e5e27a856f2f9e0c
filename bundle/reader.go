package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Stream gives the files of a slot set one after the other, from a bundle or from a folder.
type Stream struct {
	Manifest  *Manifest
	Raw       []byte // manifest.json, byte for byte
	Signature []byte // manifest.json.minisig; nil if there is none

	open    func(p *Payload) (io.Reader, error) // called for the payloads in order
	finish  func() error                        // called behind the last payload
	next    int
	current *Entry
	err     error

	fromDelta bool // Raw describes a delta, Manifest no more
}

// Length returns how many bytes the bundle of this slot set has.
func (s *Stream) Length() int64 {
	n := int64(2 * blockSize)
	entry := func(size int64) { n += blockSize + size + padding(size) }
	entry(int64(len(s.Raw)))
	if s.Signature != nil {
		entry(int64(len(s.Signature)))
	}
	for _, p := range s.Manifest.Payloads {
		size, _ := p.Carried()
		entry(size)
	}
	return n
}

// Entry is one payload on its way. Reading it gives exactly Carried's size in bytes, or an error: io.EOF comes only when
// size, sha256 and hash tree are those of the manifest. Bytes that a wrong file gave have been handed out by then.
type Entry struct {
	Payload Payload

	from io.Reader
	left int64
	hash hash.Hash
	tree *treeCheck // nil: no hash tree, or it comes later, out of a delta
	err  error
}

// Next returns the next payload, in the order of the manifest. What is left of the one before is read and checked. At
// the end it is io.EOF, which also says that the bundle ends where it should. Errors wrap ErrInvalid when the data is
// wrong, and stay.
func (s *Stream) Next() (*Entry, error) {
	if s.err != nil {
		return nil, s.err
	}
	entry, err := s.advance()
	if err != nil {
		s.err = err
		return nil, err
	}
	s.current = entry
	return entry, nil
}

func (s *Stream) advance() (*Entry, error) {
	if s.current != nil {
		if _, err := io.Copy(io.Discard, s.current); err != nil {
			return nil, err
		}
		s.current = nil
	}
	if s.next == len(s.Manifest.Payloads) {
		if err := s.finish(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	p := &s.Manifest.Payloads[s.next]
	from, err := s.open(p)
	if err != nil {
		return nil, err
	}
	s.next++
	size, _ := p.Carried()
	entry := &Entry{Payload: *p, from: from, left: size, hash: sha256.New()}
	if p.Verity != nil && p.Delta == nil {
		entry.tree = newTreeCheck(p.Verity)
	}
	return entry, nil
}

// Read implements io.Reader.
func (e *Entry) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if e.left == 0 {
		e.err = e.check()
		return 0, e.err
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.from.Read(p)
	e.hash.Write(p[:n])
	if e.tree != nil {
		e.tree.write(p[:n])
	}
	e.left -= int64(n)
	if err != nil && (e.left > 0 || !errors.Is(err, io.EOF)) {
		e.err = fmt.Errorf("%s: %w", e.Payload.Name, cut(err, e.left))
		return n, e.err
	}
	return n, nil
}

// Have gives the first n carried bytes from have, which an interrupted install has written, instead of from the source:
// they are checked with the rest, and not handed out. The source passes over them, without reading if it has a method
// Skip. It comes before the first Read.
func (e *Entry) Have(have io.Reader, n int64) error {
	if e.err != nil || n > e.left {
		return errors.Join(e.err, fmt.Errorf("%s: %d bytes of %d", e.Payload.Name, n, e.left))
	}
	sink := writerFunc(func(p []byte) (int, error) {
		e.hash.Write(p)
		if e.tree != nil {
			e.tree.write(p)
		}
		return len(p), nil
	})
	if _, err := io.CopyN(sink, have, n); err != nil {
		return fmt.Errorf("%s: read what is there: %w", e.Payload.Name, err)
	}
	if s, ok := e.from.(interface{ Skip(n int64) error }); ok {
		if err := s.Skip(n); err != nil {
			e.err = fmt.Errorf("%s: %w", e.Payload.Name, cut(err, e.left)) // an io.EOF would say that all of it is right
		}
	} else if _, err := io.CopyN(io.Discard, e.from, n); err != nil {
		e.err = fmt.Errorf("%s: %w", e.Payload.Name, cut(err, e.left))
	}
	e.left -= n
	return e.err
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (e *Entry) check() error {
	_, want := e.Payload.Carried()
	if got := hex.EncodeToString(e.hash.Sum(nil)); got != want {
		return invalidf("%s: sha256 %s, want %s", e.Payload.Name, got, want)
	}
	if e.tree != nil && e.tree.err != nil {
		return invalidf("%s: %s", e.Payload.Name, e.tree.err)
	}
	return io.EOF
}

// cut turns an end of file into an error about the data.
func cut(err error, missing int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalidf("cut short: %d bytes are missing", missing)
	}
	return err
}

// NewReader reads a bundle from r, one byte after the other: the manifest and its signature now, the payloads with
// Next. It believes no size but the manifest's, and holds no more than the manifest in memory. Behind the archive r
// must end.
func NewReader(r io.Reader) (*Stream, error) { return newReader(r, true) }

// NewDeviceReader is NewReader for a bundle at the start of a block device: it reads up to the end of the archive, and
// what stands behind it there does not count.
func NewDeviceReader(r io.Reader) (*Stream, error) { return newReader(r, false) }

func newReader(r io.Reader, mustEnd bool) (*Stream, error) {
	a := &archive{r: r}
	raw, err := a.manifest()
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	s := &Stream{Manifest: m, Raw: raw, open: a.payload}
	s.finish = func() error { return a.end(mustEnd) }
	name, size, err := a.header()
	if err != nil {
		return nil, err
	}
	if name != SignatureName {
		a.peeked = &peek{name, size}
		return s, nil
	}
	if s.Signature, err = a.body(name, size, MaxSignature); err != nil {
		return nil, err
	}
	return s, nil
}

// archive walks through a tar.
type archive struct {
	r      io.Reader
	pad    int64 // bytes between the last body and the next header
	peeked *peek
}

type peek struct {
	name string
	size int64
}

// header reads the next header. At the end of the archive the name is empty.
func (a *archive) header() (string, int64, error) {
	if p := a.peeked; p != nil {
		a.peeked = nil
		return p.name, p.size, nil
	}
	if err := a.skipPadding(); err != nil {
		return "", 0, err
	}
	var h [blockSize]byte
	if err := a.full(h[:]); err != nil {
		return "", 0, err
	}
	if h == [blockSize]byte{} {
		return "", 0, nil
	}
	return parseHeader(h[:])
}

// skipPadding reads the zeros behind a body. Anything else there would be bytes that no digest covers.
func (a *archive) skipPadding() error {
	pad := make([]byte, a.pad)
	if err := a.full(pad); err != nil {
		return err
	}
	a.pad = 0
	for _, c := range pad {
		if c != 0 {
			return invalidf("bundle: bytes other than zero between two entries")
		}
	}
	return nil
}

func (a *archive) full(p []byte) error {
	n, err := io.ReadFull(a.r, p)
	if err != nil {
		return fmt.Errorf("bundle: %w", cut(err, int64(len(p)-n)))
	}
	return nil
}

// manifest reads the first entry. What is no bundle at all shows here.
func (a *archive) manifest() ([]byte, error) {
	var h [blockSize]byte
	n, err := io.ReadFull(a.r, h[:])
	what := KindOf(h[:n])
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("bundle: %w", err)
	case what != "" && !isTar(h[:n]):
		return nil, invalidf("not a bundle: it is %s", what)
	case err != nil:
		return nil, invalidf("not a bundle: it has only %d bytes", n)
	}
	name, size, err := parseHeader(h[:])
	if err != nil {
		return nil, invalidf("not a bundle: %v", err)
	}
	if name != ManifestName {
		return nil, invalidf("not a bundle: it begins with %.80q, want %s", name, ManifestName)
	}
	return a.body(name, size, MaxManifest)
}

func (a *archive) body(name string, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, invalidf("bundle: %s has %d bytes, want at most %d", name, size, limit)
	}
	data := make([]byte, size)
	if err := a.full(data); err != nil {
		return nil, err
	}
	a.pad = padding(size)
	return data, nil
}

// payload finds the header of p next and returns the reader of its body, which the caller reads to its end.
func (a *archive) payload(p *Payload) (io.Reader, error) {
	name, size, err := a.header()
	if err != nil {
		return nil, err
	}
	want, _ := p.Carried()
	switch {
	case name == "":
		return nil, invalidf("bundle: ends before %s", p.Name)
	case name != p.Name:
		return nil, invalidf("bundle: %.80q comes next, want %s", name, p.Name)
	case size != want:
		return nil, invalidf("bundle: %s has %d bytes, want %d", name, size, want)
	}
	a.pad = padding(size)
	return a.r, nil
}

// end reads the end of the archive: two blocks of zeros, and behind them nothing.
func (a *archive) end(mustEnd bool) error {
	name, _, err := a.header()
	if err != nil {
		return err
	}
	if name != "" {
		return invalidf("bundle: %.80q comes behind the last payload", name)
	}
	var h [blockSize]byte
	if err := a.full(h[:]); err != nil {
		return err
	}
	if h != [blockSize]byte{} {
		return invalidf("bundle: one block of zeros at its end, want two")
	}
	if !mustEnd {
		return nil
	}
	switch n, err := io.ReadFull(a.r, h[:1]); {
	case n > 0:
		return invalidf("bundle: bytes behind its end")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}
