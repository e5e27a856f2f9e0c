package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrReadBack is wrapped by the error of Fill about a device that does not give back what was written to it.
var ErrReadBack = errors.New("it does not give back what was written")

// syncEvery bounds what is in the page cache alone, so that progress means the device and not memory.
const syncEvery = 64 << 20

// recorder is a device that notes what is written to it, to be read back.
type recorder struct {
	*os.File
	ctx      context.Context
	progress func(step string, done, total int64)
	spans    []span
	written  int64
	unsynced int64
}

type span struct {
	at, size int64
	sum      [sha256.Size]byte
}

// WriteAt implements io.WriterAt.
func (r *recorder) WriteAt(b []byte, at int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.File.WriteAt(b, at)
	if err != nil {
		return n, err
	}
	r.spans = append(r.spans, span{at, int64(n), sha256.Sum256(b)})
	r.written += int64(n)
	if r.unsynced += int64(n); r.unsynced >= syncEvery {
		r.unsynced = 0
		err = r.Sync()
	}
	r.say("write", r.written, 0)
	return n, err
}

func (r *recorder) say(step string, done, total int64) {
	if r.progress != nil {
		r.progress(step, done, total)
	}
}

// verify reads everything back from the medium, not from memory. Of a place that was written twice, the last counts.
func (r *recorder) verify() error {
	if err := r.Sync(); err != nil {
		return err
	}
	// Drops what is cached; a device that cannot is read as it is.
	if err := unix.IoctlSetInt(int(r.Fd()), unix.BLKFLSBUF, 0); err != nil && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("drop caches: %w", err)
	}
	var done int64
	buf := make([]byte, 0, 1<<20)
	for i, s := range r.spans {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		done += s.size
		if r.overwritten(i) {
			continue
		}
		if int64(cap(buf)) < s.size {
			buf = make([]byte, 0, s.size)
		}
		b := buf[:s.size]
		if _, err := r.ReadAt(b, s.at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read back at byte %d: %w", s.at, err)
		}
		if sha256.Sum256(b) != s.sum {
			return fmt.Errorf("%w at bytes %d to %d", ErrReadBack, s.at, s.at+s.size)
		}
		r.say("verify", done, r.written)
	}
	return nil
}

// overwritten tells whether a later write touched span i.
func (r *recorder) overwritten(i int) bool {
	s := r.spans[i]
	if s.size > 4096 { // only the sectors of the partition table are
		return false
	}
	for _, later := range r.spans[i+1:] {
		if later.at < s.at+s.size && s.at < later.at+later.size {
			return true
		}
	}
	return false
}
