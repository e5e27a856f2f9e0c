package squash

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// holdBytes is how much of a file is read before its compression starts: a copy of an earlier file that fits costs no
// compression at all. A longer copy is found at its end, and what was written of it is written over.
const holdBytes = 4 << 20

// holeMin is the smallest tail of zeros stored as a hole: a hole needs a longer inode.
const holeMin = 4096

// contentKey tells contents apart: 128 bits of SHA-256, and the length.
type contentKey struct {
	sum  [16]byte
	size int64
}

func (k *contentKey) hash() uint32 { return le32(k.sum[:]) }

type place struct{ fragment, offset uint32 }

// bodies cuts files into blocks and tails, finds copies, and feeds the pipeline.
type bodies struct {
	p         *pipeline
	blockSize int
	o         *Options
	zeros     []byte
	hash      hash.Hash
	runs      map[contentKey]*run
	tails     tails
	fragment  []byte // being filled
	fragments uint32 // fragment blocks submitted
	one       [1]byte

	copied int64 // bytes of files found to be copies
}

func newBodies(p *pipeline, o *Options) *bodies {
	return &bodies{p: p, blockSize: o.BlockSize, o: o, zeros: make([]byte, o.BlockSize), hash: sha256.New(),
		runs: map[contentKey]*run{}}
}

func (b *bodies) key(size int64) contentKey {
	k := contentKey{size: size}
	copy(k.sum[:], b.hash.Sum(nil))
	return k
}

// add reads the body of e and returns where its bytes will be.
func (b *bodies) add(e *Entry) (*file, error) {
	f := &file{size: e.Size, fragment: noFragment}
	if e.Size == 0 {
		return f, nil
	}
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	err = b.read(f, r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = b.p.err()
	}
	return f, err
}

// read takes the blocks, then the tail, then makes sure that this was all.
func (b *bodies) read(f *file, r io.Reader) error {
	g := growing{b: b, f: f, run: &run{}}
	b.hash.Reset()
	for left := f.size; left > 0; {
		n := int(min(left, int64(b.blockSize)))
		buf := b.p.buffer()[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return shortBody(err, f.size)
		}
		left -= int64(n)
		zero := (n == b.blockSize || n >= holeMin) && bytes.Equal(buf, b.zeros[:n])
		if n < b.blockSize && !zero && b.packs(f) {
			g.end()
			b.addTail(f, buf)
			b.p.give(buf)
			return b.checkEnd(r, f.size)
		}
		g.block(buf, zero)
		if err := b.p.err(); err != nil {
			return err
		}
	}
	g.end()
	return b.checkEnd(r, f.size)
}

// packs tells whether the tail of a file goes into a fragment.
func (b *bodies) packs(f *file) bool {
	return !b.o.NoFragments && (f.size < int64(b.blockSize) || !b.o.NoTailPacking)
}

func shortBody(err error, size int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("body ends before its %d bytes", size)
	}
	return err
}

func (b *bodies) checkEnd(r io.Reader, size int64) error {
	switch n, err := io.ReadFull(r, b.one[:]); {
	case n > 0:
		return fmt.Errorf("body is longer than its %d bytes", size)
	case err != io.EOF:
		return err
	}
	return nil
}

// growing is the row of blocks of the file being read.
type growing struct {
	b      *bodies
	f      *file
	run    *run
	held   []*job
	bytes  int64
	stored bool // something of it is not a hole
	given  bool // the pipeline has some of it
}

func (g *growing) block(buf []byte, zero bool) {
	g.bytes += int64(len(buf))
	g.b.hash.Write(buf)
	if zero {
		g.run.holes += int64(len(buf))
		g.b.p.give(buf)
		if n := len(g.held); n > 0 && g.held[n-1].kind == jobHoles {
			g.held[n-1].holes++
		} else {
			g.held = append(g.held, &job{kind: jobHoles, run: g.run, holes: 1})
		}
	} else {
		g.stored = true
		g.held = append(g.held, &job{kind: jobBlock, run: g.run, plain: buf})
	}
	if g.given || len(g.held)*g.b.blockSize > holdBytes {
		g.give()
	}
}

func (g *growing) give() {
	for _, j := range g.held {
		g.b.p.submit(j)
	}
	g.held, g.given = g.held[:0], true
}

// end settles which run the file has: its own, or that of an earlier file with the same bytes.
func (g *growing) end() {
	if g.bytes == 0 {
		return
	}
	g.f.run = g.run
	if g.stored && !g.b.o.NoDuplicates {
		k := g.b.key(g.bytes)
		if prior := g.b.runs[k]; prior != nil {
			g.f.run = prior
			g.drop()
			return
		}
		g.b.runs[k] = g.run
	}
	g.give()
}

func (g *growing) drop() {
	g.b.copied += g.bytes
	if g.given {
		g.give()
		g.b.p.submit(&job{kind: jobDrop, run: g.run})
		return
	}
	for _, j := range g.held {
		g.b.p.give(j.plain)
	}
}

// addTail puts the last bytes of f into the fragment being filled, unless an earlier tail is the same.
func (b *bodies) addTail(f *file, tail []byte) {
	var k contentKey
	if !b.o.NoDuplicates {
		b.hash.Reset()
		b.hash.Write(tail)
		k = b.key(int64(len(tail)))
		if at := b.tails.find(&k); at != nil {
			f.fragment, f.offset = at.fragment, at.offset
			b.copied += int64(len(tail))
			return
		}
	}
	if len(b.fragment)+len(tail) > b.blockSize {
		b.flush()
	}
	if b.fragment == nil {
		b.fragment = b.p.buffer()[:0]
	}
	f.fragment, f.offset = b.fragments, uint32(len(b.fragment))
	b.fragment = append(b.fragment, tail...)
	if !b.o.NoDuplicates {
		b.tails.add(&k, place{f.fragment, f.offset})
	}
}

// flush submits the fragment being filled.
func (b *bodies) flush() {
	if len(b.fragment) > 0 {
		b.p.submit(&job{kind: jobFragment, plain: b.fragment})
		b.fragment = nil
		b.fragments++
	}
}
