package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/slotboot/slotboot/bundle"
)

// source is an opened SRC. Its one file stays open from the check to the last byte, so that what was checked is what is
// written; a folder's files are held against the manifest's digests as they pass.
type source struct {
	*bundle.Stream
	file   io.Closer
	folder os.FileInfo // of a slot set folder
}

// openSource opens a bundle file, a slot set folder or a block device, and reads and checks its manifest.
func openSource(path string) (*source, error) {
	if scheme, _, ok := strings.Cut(path, "://"); ok {
		return nil, usagef("%s:// is no source this slotctl installs from: want a bundle, a slot set folder or a block device", scheme)
	}
	info, err := os.Stat(path) // before opening: a FIFO would wait for its writer
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		s, err := bundle.ReadFolder(os.DirFS(path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, hinted{fmt.Errorf("%s is no slot set: it has no %s", path, bundle.ManifestName), "mkimage build makes slot sets, mkimage bundle makes bundles"}
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
	s, err := readBundle(f)
	if err == nil && s.Manifest.Deltas() { // the slot gets the manifest that the signature signs
		s.Raw, err = s.Manifest.Whole().Encode()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &source{Stream: s, file: f}, nil
}

func readBundle(f *os.File) (*bundle.Stream, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	switch kind := info.Mode().Type(); {
	case kind.IsRegular():
		return bundle.NewReader(in)
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
	return usagef("%s is neither a file, a folder nor a block device", path)
}
