package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/fetch"
)

// source is an opened SRC. Its one file stays open from the check to the last byte, so that what was checked is what is
// written; a folder's files are held against the manifest's digests as they pass.
type source struct {
	*bundle.Stream
	file   io.Closer
	folder os.FileInfo // of a slot set folder
	plain  bool        // it comes over a connection that anybody can change
	beside bool        // it is a delta that was found beside what was asked for
}

// sourceOptions say how a source is opened.
type sourceOptions struct {
	id       fetch.Identity   // towards servers
	identity string           // a file with keys for encrypted bundles
	running  *bundle.Manifest // of the slot that deltas start from; nil: none is looked for
}

// openSource opens what src names, and reads and checks its manifest.
func (a *app) openSource(ctx context.Context, src string, o sourceOptions) (*source, error) {
	var s *source
	var err error
	switch scheme, rest, ok := strings.Cut(src, "://"); {
	case !ok:
		s, err = openPath(src, o.identity)
	case scheme == "https", scheme == "http":
		s, err = a.openURL(ctx, src, o)
	case scheme == "docker":
		s, err = a.openRegistry(ctx, rest, o)
	case scheme == "docker+http":
		s, err = a.openRegistry(ctx, rest, o, name.Insecure)
	default:
		err = usagef("%s:// is no source: want a bundle, a slot set folder, a block device, https:// or docker://", scheme)
	}
	if err == nil && s.folder == nil && s.Manifest.Deltas() { // the slot gets the manifest that the signature signs
		if s.Raw, err = s.Manifest.Whole().Encode(); err != nil {
			s.file.Close()
		}
	}
	if ctx.Err() != nil && err != nil {
		err = errInterrupted
	}
	return s, err
}

// openPath opens a bundle file, a slot set folder or a block device.
func openPath(path, identity string) (*source, error) {
	info, err := os.Stat(path) // before opening: a FIFO would wait for its writer
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		s, err := bundle.ReadFolder(os.DirFS(path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, hinted{notIntact{fmt.Errorf("%s is no slot set: it has no %s", path, bundle.ManifestName)}, "mkimage build makes slot sets, mkimage bundle makes bundles"}
		}
		if err != nil {
			return nil, err
		}
		return &source{Stream: s, file: io.NopCloser(nil), folder: info}, nil
	}
	if !readable(info.Mode()) {
		return nil, notSource(path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO that has come to be there would wait, too
	if err != nil {
		return nil, err
	}
	s, err := readBundle(f, identity)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &source{Stream: s, file: f}, nil
}

func readBundle(f *os.File, identity string) (*bundle.Stream, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	in, sealed, err := unseal(bufio.NewReaderSize(f, 1<<20), identity)
	if err != nil {
		return nil, err
	}
	switch kind := info.Mode().Type(); {
	case kind.IsRegular():
		return bundle.NewReader(in)
	case sealed:
		return nil, notIntact{fmt.Errorf("%s: an encrypted bundle must be a file: on a device nothing says where it ends", f.Name())}
	case kind&fs.ModeDevice != 0 && kind&fs.ModeCharDevice == 0:
		return bundle.NewDeviceReader(in)
	}
	return nil, notSource(f.Name())
}

// readable tells whether a bundle can be read from a file of this kind.
func readable(mode fs.FileMode) bool {
	return mode.IsRegular() || mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
}

func notSource(path string) error {
	return notIntact{fmt.Errorf("%s is neither a file, a folder nor a block device", path)}
}
