package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
)

// The kinds of a release.
const (
	kindSlotSet  = "slot set"
	kindBundle   = "bundle"
	kindSquashfs = "squashfs"
)

// release is one end of a delta: a slot set, a bundle or a bare squashfs, whose files can be read at any place.
type release struct {
	kind           string
	manifest       *bundle.Manifest // nil for a bare squashfs
	raw, signature []byte
	files          map[string]*io.SectionReader // by payload name
	open           []io.Closer
}

func (r *release) close() {
	for _, c := range r.open {
		c.Close()
	}
}

// openRelease opens what is at path and compares it with its manifest. What is not intact wraps bundle.ErrInvalid.
func (a *app) openRelease(ctx context.Context, path string) (*release, error) {
	r := &release{files: map[string]*io.SectionReader{}}
	err := a.fillRelease(ctx, r, path)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (a *app) fillRelease(ctx context.Context, r *release, path string) error {
	in, err := openInput(path)
	if err != nil {
		return err
	}
	r.open = append(r.open, in)
	switch {
	case in.dir:
		return a.fillFromFolder(ctx, r, path)
	case in.isSquashfs():
		r.kind = kindSquashfs
		r.files[bundle.RootfsName] = io.NewSectionReader(stoppableAt{ctx, in}, 0, in.size)
		return nil
	case in.isBundle():
		return a.fillFromBundle(ctx, r, in.File)
	}
	return in.not("a slot set, a bundle or a squashfs")
}

func (a *app) fillFromFolder(ctx context.Context, r *release, dir string) error {
	set, err := readFolder(dir)
	if err != nil {
		return err
	}
	if err := a.readStream(ctx, set); err != nil {
		return err
	}
	r.kind, r.manifest, r.raw, r.signature = kindSlotSet, set.Manifest, set.Raw, set.Signature
	for _, p := range r.manifest.Payloads {
		f, err := os.Open(filepath.Join(dir, p.Name))
		if err != nil {
			return err
		}
		r.open = append(r.open, f)
		r.files[p.Name] = io.NewSectionReader(stoppableAt{ctx, f}, 0, p.Size)
	}
	return nil
}

// fillFromBundle notes where the payloads stand while it reads through them.
func (a *app) fillFromBundle(ctx context.Context, r *release, f *os.File) error {
	at := &position{r: f}
	s, err := bundle.NewReader(at)
	if err != nil {
		return err
	}
	if s.Manifest.Deltas() {
		return withHint(notIntact{errors.New("it is a delta itself")}, "mkimage apply makes the slot set of it")
	}
	r.kind, r.manifest, r.raw, r.signature = kindBundle, s.Manifest, s.Raw, s.Signature
	m := a.meter("check", s.Manifest.Size())
	defer m.Done()
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.files[e.Payload.Name] = io.NewSectionReader(stoppableAt{ctx, f}, at.n, e.Payload.Size)
		if _, err := io.Copy(&stoppable{ctx, m}, e); err != nil {
			return err
		}
	}
}

// digest returns the sha256 of a payload as the manifest has it, "" where there is none.
func (r *release) digest(name string) string {
	if r.manifest == nil {
		return ""
	}
	p, _ := r.manifest.Payload(name)
	return p.SHA256
}

// canonical checks that the manifest is what its content encodes to: a device puts it together from a delta bundle's.
func (r *release) canonical() error {
	raw, err := r.manifest.Whole().Encode()
	if err == nil && !bytes.Equal(raw, r.raw) {
		err = fmt.Errorf("%s is not as mkimage writes it", bundle.ManifestName)
	}
	return err
}

// position is a reader that knows how far it has come.
type position struct {
	r io.Reader
	n int64
}

func (p *position) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	return n, err
}

// stoppableAt is an io.ReaderAt that fails once ctx is done.
type stoppableAt struct {
	ctx context.Context
	io.ReaderAt
}

func (s stoppableAt) ReadAt(p []byte, off int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.ReaderAt.ReadAt(p, off)
}

// deltaError is an error of package delta with its exit status.
type deltaError struct{ error }

func (e deltaError) Unwrap() error { return e.error }

// Status implements statuser.
func (e deltaError) Status() int {
	switch {
	case errors.Is(e.error, delta.ErrOtherSource), errors.Is(e.error, delta.ErrUnsupported):
		return exitMisfit
	case errors.Is(e.error, delta.ErrDamaged), errors.Is(e.error, bundle.ErrInvalid):
		return exitNotIntact
	}
	return exitFailed
}

// deltaFailure marks the errors that package delta has names for. Others, such as a full disk, keep their status.
func deltaFailure(err error) error {
	if errors.Is(err, delta.ErrOtherSource) || errors.Is(err, delta.ErrUnsupported) || errors.Is(err, delta.ErrDamaged) {
		return deltaError{err}
	}
	return err
}
