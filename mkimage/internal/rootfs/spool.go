package rootfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/slotboot/slotboot/mkimage/internal/source"
)

// spoolChunk is what is written at once. A chunk of zeros is left out, so that holes and bombs cost no disk.
const spoolChunk = 256 << 10

var zeros [spoolChunk]byte

// spool holds the bodies of all files, one after the other, in a file without a name.
type spool struct {
	mu   sync.Mutex
	file *os.File
	buf  []byte // what is not written yet, belongs at off
	off  int64
}

func newSpool(dir string) (*spool, error) {
	f, err := source.TempFile(dir)
	if err != nil {
		return nil, err
	}
	return &spool{file: f, buf: make([]byte, 0, spoolChunk)}, nil
}

// add copies a body to the end of the spool: up to limit bytes, and one more if there are more.
func (s *spool) add(r io.Reader, limit int64) (off, size int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	off = s.off + int64(len(s.buf))
	for size <= limit {
		room := s.buf[len(s.buf):cap(s.buf)]
		if int64(len(room)) > limit-size+1 {
			room = room[:limit-size+1]
		}
		n, err := r.Read(room)
		size += int64(n)
		s.buf = s.buf[:len(s.buf)+n]
		if len(s.buf) == cap(s.buf) {
			if err := s.write(); err != nil {
				return 0, 0, err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return off, size, nil
}

// write puts the buffer on the disk.
func (s *spool) write() error {
	if !bytes.Equal(s.buf, zeros[:len(s.buf)]) {
		if _, err := s.file.WriteAt(s.buf, s.off); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	s.off += int64(len(s.buf))
	s.buf = s.buf[:0]
	return nil
}

// flush makes everything that was added readable.
func (s *spool) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(); err != nil {
		return err
	}
	if err := s.file.Truncate(s.off); err != nil { // a hole at the end
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

func (s *spool) section(off, size int64) *io.SectionReader {
	return io.NewSectionReader(s.file, off, size)
}

func (s *spool) close() error { return s.file.Close() }
