package initrd

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrForeign is wrapped by the error of ReadKeys about an initrd in a form that Write does not make.
var ErrForeign = errors.New("not an initrd that mkimage made")

// maxKey bounds a key file, in bytes. Real ones have about 110.
const maxKey = 4096

// ReadKeys returns the public keys in an initrd, with paths below KeysFolder: init boots only what they have signed, if
// there are any.
func ReadKeys(r io.Reader) ([]File, error) {
	var keys []File
	br := bufio.NewReader(r)
	for {
		head, err := br.Peek(6)
		switch {
		case len(head) > 0 && head[0] == 0: // between two archives
			br.Discard(1)
			continue
		case len(head) == 0 && errors.Is(err, io.EOF):
			return keys, nil
		case len(head) < 6:
			return nil, fmt.Errorf("read initrd: %w", io.ErrUnexpectedEOF)
		case string(head) == "070701":
			if keys, err = readArchive(br, keys); err != nil {
				return nil, fmt.Errorf("read initrd: %w", err)
			}
			continue
		}
		plain, err := unpacker(head, br)
		if err != nil {
			return nil, fmt.Errorf("read initrd: %w", err)
		}
		// Nothing stands behind a packed archive.
		more, err := ReadKeys(plain)
		return append(keys, more...), err
	}
}

func unpacker(head []byte, r io.Reader) (io.Reader, error) {
	switch {
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte{0x02, 0x21, 0x4c, 0x18}):
		return lz4.NewReader(r), nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	}
	return nil, fmt.Errorf("%w: it begins %x", ErrForeign, head)
}

// readArchive reads one newc archive to its trailer. Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
func readArchive(r *bufio.Reader, keys []File) ([]File, error) {
	head := make([]byte, 110)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, noEOF(err)
		}
		size, err1 := strconv.ParseUint(string(head[54:62]), 16, 32)
		nameSize, err2 := strconv.ParseUint(string(head[94:102]), 16, 32)
		if err := errors.Join(err1, err2); err != nil || string(head[:6]) != "070701" || nameSize > 4096 {
			return nil, fmt.Errorf("%w: entry %q", ErrForeign, head)
		}
		name := make([]byte, (110+nameSize+3)/4*4-110)
		if _, err := io.ReadFull(r, name); err != nil {
			return nil, noEOF(err)
		}
		path := strings.TrimRight(string(name), "\x00")
		if path == "TRAILER!!!" {
			return keys, nil
		}
		padded := (int64(size) + 3) / 4 * 4
		key, ok := strings.CutPrefix(path, KeysFolder+"/")
		if !ok || !strings.HasSuffix(key, ".pub") || size > maxKey {
			if _, err := io.CopyN(io.Discard, r, padded); err != nil {
				return nil, noEOF(err)
			}
			continue
		}
		data := make([]byte, padded)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, noEOF(err)
		}
		keys = append(keys, File{key, data[:size]})
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
