package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slotboot/slotboot/bundle"
)

// slotSet is a slot set folder whose files are those of its manifest, byte for byte.
type slotSet struct {
	dir string
	*bundle.Manifest
	raw    []byte // of the manifest
	signed bool
}

// openSlotSet reads the slot set at dir to its end. What is not intact wraps bundle.ErrInvalid.
func (a *app) openSlotSet(ctx context.Context, dir string) (*slotSet, error) {
	set, err := a.readSlotSet(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("read slot set %s: %w", dir, err)
	}
	return set, nil
}

func (a *app) readSlotSet(ctx context.Context, dir string) (*slotSet, error) {
	in, err := openInput(dir)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if !in.dir {
		return nil, in.not("a slot set, which is a folder")
	}
	s, err := readFolder(dir)
	if err != nil {
		return nil, err
	}
	if err := a.readStream(ctx, s); err != nil {
		return nil, err
	}
	return &slotSet{dir, s.Manifest, s.Raw, s.Signature != nil}, nil
}

// readFolder opens the slot set at dir.
func readFolder(dir string) (*bundle.Stream, error) {
	if _, err := os.Lstat(filepath.Join(dir, bundle.ManifestName)); errors.Is(err, fs.ErrNotExist) {
		return nil, notIntact{fmt.Errorf("not a slot set: it has no %s", bundle.ManifestName)}
	}
	return bundle.ReadFolder(os.DirFS(dir))
}

// readStream reads the payloads of s, so that every digest is checked.
func (a *app) readStream(ctx context.Context, s *bundle.Stream) error {
	var total int64
	for _, p := range s.Manifest.Payloads {
		n, _ := p.Carried()
		total += n
	}
	m := a.meter("check", total)
	defer m.Done()
	buf := make([]byte, 1<<20)
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		for err == nil {
			if err = ctx.Err(); err != nil {
				return err
			}
			var n int
			n, err = e.Read(buf)
			m.Write(buf[:n])
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
	}
}
