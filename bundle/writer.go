package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Write writes the slot set in the folder fsys as a bundle. The same slot set gives the same bytes: every file belongs
// to root and has the manifest's creation time. It reads what ReadFolder reads and returns its errors; after an error w
// holds half a bundle, which NewReader refuses.
func Write(w io.Writer, fsys fs.FS) error {
	s, err := ReadFolder(fsys)
	if err != nil {
		return err
	}
	return WriteStream(w, s)
}

// WriteStream writes the slot set that s gives as a bundle.
func WriteStream(w io.Writer, s *Stream) error {
	if s.fromDelta {
		return errors.New("write bundle: the manifest describes the delta that made this slot set")
	}
	a := &archiveWriter{w: w, manifest: s.Manifest}
	a.file(ManifestName, s.Raw)
	if s.Signature != nil {
		a.file(SignatureName, s.Signature)
	}
	for a.err == nil {
		entry, err := s.Next()
		if errors.Is(err, io.EOF) {
			a.write(make([]byte, 2*blockSize))
			break
		}
		if err != nil {
			return err
		}
		size, _ := entry.Payload.Carried()
		a.entry(entry.Payload.Name, size, entry)
	}
	return a.err
}

// NewStream puts a slot set together from its manifest.json, a signature or nil, and a function that opens the bytes
// that a bundle carries for each payload: how a delta bundle is made. Sizes and digests are checked as they pass.
func NewStream(raw, signature []byte, open func(p *Payload) (io.Reader, error)) (*Stream, error) {
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	return &Stream{Manifest: m, Raw: raw, Signature: signature, open: open, finish: func() error { return nil }}, nil
}

// archiveWriter writes a tar and keeps its first error.
type archiveWriter struct {
	w        io.Writer
	manifest *Manifest
	err      error
}

func (a *archiveWriter) write(p []byte) {
	if a.err == nil {
		if _, err := a.w.Write(p); err != nil {
			a.err = fmt.Errorf("write bundle: %w", err)
		}
	}
}

func (a *archiveWriter) file(name string, data []byte) {
	a.write(entryHeader(name, int64(len(data)), a.manifest.Created))
	a.write(data)
	a.write(make([]byte, padding(int64(len(data)))))
}

func (a *archiveWriter) entry(name string, size int64, body io.Reader) {
	a.write(entryHeader(name, size, a.manifest.Created))
	if a.err != nil {
		return
	}
	if _, err := io.Copy(a.w, body); err != nil {
		a.err = fmt.Errorf("write bundle: %w", err)
		return
	}
	a.write(make([]byte, padding(size)))
}
