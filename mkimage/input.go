package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/slotboot/slotboot/bundle"
)

// input is a file, a block device or a folder that a command was given.
type input struct {
	*os.File
	path string
	dir  bool
	size int64  // bytes
	head []byte // the first bytes; enough to tell what it is
}

// openInput opens what is at path. A pipe is refused rather than waited for: what mkimage reads, it reads at any place.
func openInput(path string) (*input, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if kind := fi.Mode().Type(); !fi.IsDir() && kind != 0 && (kind&fs.ModeDevice == 0 || kind&fs.ModeCharDevice != 0) {
		return nil, notIntact{errors.New("neither a file, a folder nor a block device")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	in := &input{File: f, path: path, dir: fi.IsDir()}
	if in.dir {
		return in, nil
	}
	if err := in.look(); err != nil {
		f.Close()
		return nil, err
	}
	return in, nil
}

// look reads the size and the first bytes.
func (in *input) look() error {
	head := make([]byte, 1024)
	n, err := in.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	in.head = head[:n]
	if in.size, err = in.Seek(0, io.SeekEnd); err != nil { // a block device has no other size
		return err
	}
	_, err = in.Seek(0, io.SeekStart)
	return err
}

func (in *input) begins(magic string) bool { return strings.HasPrefix(string(in.head), magic) }

func (in *input) isSquashfs() bool { return in.begins("hsqs") }
func (in *input) isBundle() bool   { return in.begins(bundle.ManifestName + "\x00") }
func (in *input) isDisk() bool     { return len(in.head) >= 520 && string(in.head[512:520]) == "EFI PART" }

// not is the error for an input that is not what is wanted: it says what it looks like.
func (in *input) not(want string) error {
	what := bundle.KindOf(in.head)
	switch {
	case in.dir:
		what = "a folder"
	case what == "":
		return notIntact{fmt.Errorf("not %s", want)}
	}
	err := error(notIntact{fmt.Errorf("not %s: it is %s", want, what)})
	if in.isBundle() && strings.HasPrefix(want, "a slot set") {
		err = withHint(err, "a full bundle is a tar of a slot set: mkdir DIR && tar -xf %s -C DIR", in.path)
	}
	return err
}

// notIntact is an error about an input that is not intact, or not of the kind that the command takes: of what was meant
// to be one, nobody can tell which it is.
type notIntact struct{ error }

func (e notIntact) Unwrap() error { return e.error }

// Status implements statuser.
func (e notIntact) Status() int { return exitNotIntact }
