package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// FileNames lists every file of a slot set, in the order in which an install removes them: without its manifest a slot
// is not taken for a slot set.
func FileNames() []string {
	return []string{ManifestName, SignatureName, SlotCfgName, KernelName, InitrdName, RootfsName}
}

// ReadFolder reads a slot set folder: the manifest and its signature now, after checking that every payload is a
// regular file of the manifest's size; the payloads with Next, with their digests. Files of other names do not count.
//
// A folder without manifest.json is fs.ErrNotExist; content that is wrong wraps ErrInvalid. A file is opened once, when
// its turn comes, and closed at its end.
func ReadFolder(fsys fs.FS) (*Stream, error) {
	raw, err := readSmall(fsys, ManifestName, MaxManifest)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	signature, err := readSmall(fsys, SignatureName, MaxSignature)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, p := range m.Payloads {
		f, err := openPayload(fsys, &p)
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	s := &Stream{Manifest: m, Raw: raw, Signature: signature}
	var opened io.Closer
	closeLast := func() error {
		if opened == nil {
			return nil
		}
		last := opened
		opened = nil
		return last.Close()
	}
	s.finish = closeLast
	s.open = func(p *Payload) (io.Reader, error) {
		if err := closeLast(); err != nil {
			return nil, err
		}
		f, err := openPayload(fsys, p)
		if err != nil {
			return nil, err
		}
		opened = f
		return f, nil
	}
	for i := range m.Payloads { // what stands in the folder is the installed file, also if a delta made it
		s.fromDelta = s.fromDelta || m.Payloads[i].Delta != nil
		m.Payloads[i].Delta = nil
	}
	return s, nil
}

func openPayload(fsys fs.FS, p *Payload) (fs.File, error) {
	info, err := fs.Stat(fsys, p.Name) // before opening: a FIFO would wait for its writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, invalidf("%s: there is no such file", p.Name)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, invalidf("%s: not a regular file", p.Name)
	}
	f, err := fsys.Open(p.Name)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	if err == nil && info.Size() != p.Size {
		err = invalidf("%s has %d bytes, want %d", p.Name, info.Size(), p.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readSmall(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, invalidf("%s: not a regular file of at most %d bytes", name, limit)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, invalidf("%s: more than %d bytes", name, limit)
	}
	return data, nil
}

// Describe returns the payloads that describe the files of a slot set folder, in bundle order, with their sizes and
// digests. A missing slot.cfg is left out; another missing file is fs.ErrNotExist.
func Describe(fsys fs.FS) ([]Payload, error) {
	var payloads []Payload
	for _, name := range []string{SlotCfgName, KernelName, InitrdName, RootfsName} {
		p, err := describe(fsys, name)
		if errors.Is(err, fs.ErrNotExist) && name == SlotCfgName {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("describe slot set: %w", err)
		}
		payloads = append(payloads, p)
	}
	return payloads, nil
}

func describe(fsys fs.FS, name string) (Payload, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return Payload{}, err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	return Payload{Name: name, Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// Verify reads a slot set folder to its end and compares every byte with the manifest. It tells progress how many bytes
// it has read since the last call.
func Verify(fsys fs.FS, progress func(n int)) (*Manifest, error) {
	s, err := ReadFolder(fsys)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<20)
	for {
		entry, err := s.Next()
		if errors.Is(err, io.EOF) {
			return s.Manifest, nil
		}
		for err == nil {
			var n int
			n, err = entry.Read(buf)
			progress(n)
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
}
