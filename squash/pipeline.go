package squash

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// pipeline compresses blocks on all cores and writes them in the order they were given.
//
// One goroutine, the caller of the Writer, decides everything that the bytes of the image depend on: what is a
// block, which bytes go into which fragment, what is a duplicate. Workers only turn plain bytes into stored ones, and
// one goroutine places them. So the image cannot depend on timing.
type pipeline struct {
	w         io.WriterAt
	blockSize int
	work      chan *job
	order     chan *job // its length bounds the memory
	free      chan []byte
	workers   sync.WaitGroup
	placed    chan struct{} // closed when the placing goroutine is done

	// Owned by the placing goroutine until placed is closed.
	pos       int64
	high      int64 // the furthest byte ever written
	fragments []fragment
	failed    atomic.Pointer[error]
}

// fragment is where a fragment block is, as in the fragment table.
type fragment struct {
	start uint64
	size  uint32
}

type jobKind uint8

const (
	jobBlock    jobKind = iota // a block of run
	jobHoles                   // holes blocks of run that are zero
	jobFragment                // a fragment block
	jobDrop                    // run turned out to be a copy of an earlier one: its bytes are written over
)

type job struct {
	kind   jobKind
	run    *run
	holes  int
	plain  []byte
	stored []byte // nil: as plain
	err    error
	done   chan struct{}
}

// aheadBytes is how much is read ahead of the slowest worker at most, unless there are more workers than that: with many
// cores and large blocks four blocks a worker would add up to a gigabyte.
const aheadBytes = 32 << 20

func startPipeline(w io.WriterAt, pos int64, blockSize, workers int, codecs []Codec) *pipeline {
	ahead := min(4*workers, max(workers+2, aheadBytes/blockSize))
	p := &pipeline{w: w, blockSize: blockSize, pos: pos, high: pos,
		work: make(chan *job, workers), order: make(chan *job, ahead), free: make(chan []byte, 2*ahead), placed: make(chan struct{})}
	for i := range workers {
		p.workers.Add(1)
		go p.compress(codecs[i])
	}
	go p.place()
	return p
}

// buffer returns a block-sized slice, used or new. give hands one back.
func (p *pipeline) buffer() []byte {
	select {
	case b := <-p.free:
		return b[:p.blockSize]
	default:
		return make([]byte, p.blockSize)
	}
}

func (p *pipeline) give(b []byte) {
	if cap(b) < p.blockSize {
		return
	}
	select {
	case p.free <- b[:0]:
	default:
	}
}

// submit hands a job over, waiting while too many are under way.
func (p *pipeline) submit(j *job) {
	if j.kind == jobBlock || j.kind == jobFragment {
		j.done = make(chan struct{})
		p.order <- j
		p.work <- j
		return
	}
	p.order <- j
}

// err is the first error of compressing or writing; what comes after it is thrown away.
func (p *pipeline) err() error {
	if e := p.failed.Load(); e != nil {
		return *e
	}
	return nil
}

func (p *pipeline) compress(c Codec) {
	defer p.workers.Done()
	for j := range p.work {
		if !isNoise(j.plain) {
			j.stored, j.err = c.Compress(p.buffer()[:0], j.plain)
		}
		close(j.done)
	}
}

func (p *pipeline) place() {
	defer close(p.placed)
	for j := range p.order {
		if j.done != nil {
			<-j.done
		}
		if p.failed.Load() != nil {
			continue
		}
		if err := p.placeOne(j); err != nil {
			p.failed.Store(&err)
		}
	}
}

func (p *pipeline) placeOne(j *job) error {
	switch j.kind {
	case jobHoles:
		j.run.sizes = append(j.run.sizes, make([]uint32, j.holes)...)
		return nil
	case jobDrop:
		p.pos = int64(j.run.start)
		return nil
	}
	if j.err != nil {
		return fmt.Errorf("compress block for offset %d: %w", p.pos, j.err)
	}
	data, size := j.stored, uint32(len(j.stored))
	if data == nil || len(data) >= len(j.plain) {
		data, size = j.plain, uint32(len(j.plain))|blockPlain
	}
	if _, err := p.w.WriteAt(data, p.pos); err != nil {
		return fmt.Errorf("write block at offset %d: %w", p.pos, err)
	}
	if j.kind == jobFragment {
		p.fragments = append(p.fragments, fragment{uint64(p.pos), size})
	} else {
		if j.run.start == 0 {
			j.run.start = uint64(p.pos)
		}
		j.run.sizes = append(j.run.sizes, size)
	}
	p.pos += int64(len(data))
	p.high = max(p.high, p.pos)
	p.give(j.plain)
	p.give(j.stored)
	return nil
}

// stop waits until everything given is written, and ends the goroutines. It may be called again.
func (p *pipeline) stop() error {
	select {
	case <-p.placed:
		return p.err()
	default:
	}
	close(p.work)
	close(p.order)
	p.workers.Wait()
	<-p.placed
	return p.err()
}
