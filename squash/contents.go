package squash

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// Contents is Walk with what is in the files: r reads a regular file, and is nil for other paths. Blocks are decoded
// ahead on all cores, so this is the fast way to read a whole image. r is good until visit returns; visit need not read
// to the end. r is an io.WriterTo: it writes whole blocks without copying them, and to a writer that has a method
// Hole(size int) error it tells the blocks that are all zero and not stored, instead of writing them.
func (m *Image) Contents(visit func(f *Found, r io.Reader) error) error {
	return m.ContentsFrom(".", visit)
}

// ContentsFrom is Contents of name and what is below it, as WalkFrom walks there.
func (m *Image) ContentsFrom(name string, visit func(f *Found, r io.Reader) error) error {
	workers := runtime.GOMAXPROCS(0)
	a := &ahead{m: m, order: make(chan *piece, 4*workers), work: make(chan *piece, workers), stop: make(chan struct{}), free: make(chan []byte, 8*workers), fragment: noFragment}
	var group sync.WaitGroup
	for range workers {
		group.Go(a.decode)
	}
	var walkErr error
	group.Go(func() {
		walkErr = m.WalkFrom(name, a.give)
		close(a.work)
		close(a.order)
	})
	err := a.take(visit)
	close(a.stop)
	for range a.order { // lets the walk see that it is over
	}
	group.Wait()
	if err == nil && walkErr != errStopped {
		err = walkErr
	}
	return err
}

var errStopped = errors.New("stopped")

// ahead is the decoding of blocks before they are asked for.
type ahead struct {
	m     *Image
	order chan *piece // as they are asked for; its length bounds the memory
	work  chan *piece
	stop  chan struct{}
	free  chan []byte // from buffer
	// fragment is the one of the last tail. Only its first tail is worth a worker: the others find it in the cache.
	fragment uint32
}

// piece is a block of the file f, or the beginning of f.
type piece struct {
	f     *Found
	c     *content
	i     int64 // the block; -1 is the beginning
	size  int
	plain []byte // nil: a hole
	buf   []byte // what plain may be a part of
	err   error
	done  chan struct{} // nil: nobody decodes it ahead
}

// give is called by the walk.
func (a *ahead) give(f *Found) error {
	p := &piece{f: f, i: -1}
	if f.Mode.IsRegular() {
		p.c = a.m.content(f.n)
	}
	if !a.send(a.order, p) {
		return errStopped
	}
	if p.c == nil || f.Size == 0 {
		return nil
	}
	for i := int64(0); i*int64(a.m.sb.blockSize) < f.Size; i++ {
		b := &piece{f: f, c: p.c, i: i, size: p.c.plainSize(i)}
		known := i == p.c.blocks && f.n.fragment == a.fragment
		if !known {
			b.done = make(chan struct{})
		}
		if i == p.c.blocks {
			a.fragment = f.n.fragment
		}
		if !a.send(a.order, b) || !known && !a.send(a.work, b) {
			return errStopped
		}
	}
	return nil
}

func (a *ahead) send(to chan *piece, p *piece) bool {
	select {
	case to <- p:
		return true
	case <-a.stop:
		return false
	}
}

func (a *ahead) decode() {
	for p := range a.work {
		if p.i < p.c.blocks { // a tail comes from the cache
			select {
			case p.buf = <-a.free:
			default:
				p.buf = a.m.buffer()
			}
		}
		p.plain, p.err = p.c.block(p.i, p.buf, false)
		close(p.done)
	}
}

func (a *ahead) take(visit func(*Found, io.Reader) error) error {
	p, ok := <-a.order
	for ok {
		r := &aheadReader{a: a, f: p.f}
		var in io.Reader
		if p.c != nil {
			in = r
		}
		if err := visit(p.f, in); err != nil {
			return err
		}
		for { // what visit has not read
			if p, ok = r.peek(); !ok || p.f != r.f {
				break
			}
			r.next = nil
		}
	}
	return nil
}

// aheadReader reads the pieces of one file.
type aheadReader struct {
	a    *ahead
	f    *Found
	next *piece // the one after those read, of this file or the beginning of another
	now  *piece // being read
	off  int
	err  error
}

func (r *aheadReader) peek() (*piece, bool) {
	if r.next == nil {
		p, ok := <-r.a.order
		if !ok {
			return nil, false
		}
		r.next = p
	}
	return r.next, true
}

// piece makes r.now a piece with bytes left.
func (r *aheadReader) piece() error {
	if r.now != nil && r.off < r.now.size {
		return nil
	}
	if r.now != nil && r.now.buf != nil {
		select {
		case r.a.free <- r.now.buf:
		default:
		}
	}
	r.now, r.off = nil, 0
	p, ok := r.peek()
	if !ok || p.f != r.f {
		return io.EOF
	}
	r.next = nil
	if p.done != nil {
		<-p.done
	} else {
		p.plain, p.err = p.c.block(p.i, nil, false)
	}
	if p.err != nil {
		return fmt.Errorf("read %s: %w", r.f.Path, p.err)
	}
	r.now = p
	return nil
}

// Read implements io.Reader.
func (r *aheadReader) Read(b []byte) (int, error) {
	if r.err == nil {
		r.err = r.piece()
	}
	if r.err != nil || len(b) == 0 {
		return 0, r.err
	}
	n := min(len(b), r.now.size-r.off)
	if r.now.plain == nil {
		clear(b[:n])
	} else {
		n = copy(b[:n], r.now.plain[r.off:])
	}
	r.off += n
	return n, nil
}

// WriteTo implements io.WriterTo: blocks are not copied.
func (r *aheadReader) WriteTo(w io.Writer) (total int64, err error) {
	var zeros []byte
	holes, _ := w.(interface{ Hole(size int) error })
	for {
		if r.err == nil {
			r.err = r.piece()
		}
		if r.err == io.EOF {
			return total, nil
		}
		if r.err != nil {
			return total, r.err
		}
		b := r.now.plain
		if b == nil && holes != nil {
			n := r.now.size - r.off
			if err := holes.Hole(n); err != nil {
				return total, err
			}
			total += int64(n)
			r.off = r.now.size
			continue
		}
		if b == nil {
			if zeros == nil {
				zeros = make([]byte, r.a.m.sb.blockSize)
			}
			b = zeros[:r.now.size]
		}
		n, err := w.Write(b[r.off:])
		total += int64(n)
		r.off += n
		if err != nil {
			return total, err
		}
	}
}
