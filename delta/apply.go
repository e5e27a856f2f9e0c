package delta

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/slotboot/slotboot/squash"
)

// The items of the control column.
const (
	itemEnd    = iota
	itemCopy   // zigzag distance from the end of the last copy, length; CRC-32C in the check column
	itemWindow // plain length, number of ops, number of regions, the regions; ops in the length and seek columns
	itemText   // the same, then bytes that the ops make, number of placements, the placements
	itemLZ4    // plain length, number of ops, stored length
	itemZstd   // the same
)

// ApplyOptions says how a delta is applied. The zero value is good.
type ApplyOptions struct {
	Workers   int   // goroutines that compress; 0: GOMAXPROCS. It never changes the bytes
	MaxMemory int64 // refuse a delta whose header asks for more bytes; 0: 64 MB
	Want      File  // refuse a delta that makes another file; the zero File: whatever it makes
	// Have is what an interrupted run has written of the target: its first HaveSize bytes. They are read, not made and
	// not written again, so dst must stand behind them. If they are not what they should be Apply fails at the end.
	Have     io.Reader
	HaveSize int64
	// Progress is called with the number of target bytes done so far.
	Progress func(done int64)
}

// Apply reads a delta in one pass and writes the target to dst, in order. It reads old at the places the delta names.
//
// Nothing that was written counts before Apply has returned nil: only then the target has its size and digest. The
// errors to test for are ErrDamaged, ErrOtherSource and ErrUnsupported; others come from old, dst or delta.
func Apply(dst io.Writer, old io.ReaderAt, delta io.Reader, o ApplyOptions) (Header, error) {
	h, err := ReadHeader(delta)
	if err != nil {
		return h, err
	}
	limit := o.MaxMemory
	if limit == 0 {
		limit = maxMemory
	}
	if h.Memory > limit {
		return h, fmt.Errorf("%w: it needs %d bytes of memory, allowed are %d", ErrUnsupported, h.Memory, limit)
	}
	if o.Want != (File{}) && o.Want != h.Target {
		return h, damaged("it makes %d bytes, sha256 %.12s..., want %d, %.12s...", h.Target.Size, h.Target.SHA256, o.Want.Size, o.Want.SHA256)
	}
	return h, newApplier(dst, old, delta, h, o).run()
}

type applier struct {
	h       Header
	o       ApplyOptions
	old     io.ReaderAt
	out     *output
	demux   *demux
	cols    *[numColumns]*columnReader
	sources *sources
	copied  int64 // end of the last copy in the old file
	pos     int64 // in the old plain content
	made    int64 // target bytes that the items so far stand for
	rebuilt int64 // plain bytes that they have compressed
	kept    keeper
	members *assembler
	text    []byte // of a window with members, or of a pack
	packer  packer
	jobs    chan *job
	windows chan []byte // free window buffers: they bound what is in flight
}

// job is a piece of the target on its way. ready is closed when the bytes are there.
type job struct {
	region
	plain  []byte
	stored []byte
	err    error
	ready  chan struct{}
	there  bool   // an interrupted run has written it
	last   bool   // of its window, whose buffer goes back
	window []byte // then
	from   int64  // a copy: where in the old file
	sum    uint32
	length int64
}

func newApplier(dst io.Writer, old io.ReaderAt, delta io.Reader, h Header, o ApplyOptions) *applier {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	a := &applier{h: h, o: o, old: old, demux: newDemux(delta, h.Columns), jobs: make(chan *job), windows: make(chan []byte, 2),
		members: newAssembler(o.Workers)}
	a.out = &output{dst: dst, sum: sha256.New(), have: o.Have, haveSize: o.HaveSize, progress: o.Progress}
	a.windows <- nil
	a.windows <- nil
	return a
}

// run reads items on this goroutine; workers compress; one goroutine writes in order.
func (a *applier) run() error {
	var err error
	if a.cols, err = openColumns(a.demux, a.h.Columns); err != nil {
		return err
	}
	if a.sources, err = readSources(a.cols, a.old, a.h); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// As many pieces wait for the writer as can be compressed meanwhile; more would only cost memory.
	ordered := make(chan *job, 4*a.o.Workers)
	var workers sync.WaitGroup
	for range a.o.Workers {
		workers.Add(1)
		go func() {
			defer workers.Done()
			a.compress(ctx)
		}()
	}
	written := make(chan error, 1)
	go func() {
		err := a.write(ctx, ordered)
		cancel(err)
		written <- err
	}()
	readErr := a.read(ctx, ordered)
	if readErr != nil {
		cancel(readErr)
	}
	close(ordered)
	close(a.jobs)
	writeErr := <-written
	workers.Wait()
	if err := context.Cause(ctx); err != nil && readErr != nil && writeErr != nil {
		return err // the first of the two
	}
	if readErr != nil {
		return readErr
	}
	if writeErr != nil {
		return writeErr
	}
	return a.out.finish(a.h.Target)
}

// read reads items until the end and hands their pieces out.
func (a *applier) read(ctx context.Context, ordered chan<- *job) error {
	control := a.cols[colControl]
	needs := map[int64]string{itemText: gzipEncoder, itemLZ4: lz4Encoder, itemZstd: zstdEncoder}
	for range maxItems {
		item, err := control.uint(itemZstd)
		if err != nil {
			return err
		}
		if id := needs[item]; id != "" && !a.h.needs(id) {
			return damaged("item %d, but it does not need %s", item, id)
		}
		switch item {
		case itemEnd:
			return a.end()
		case itemCopy:
			err = a.readCopy(ctx, ordered)
		case itemWindow, itemText:
			err = a.readWindow(ctx, ordered, item == itemText)
		case itemLZ4, itemZstd:
			var j *job
			if j, err = a.readPack(ctx, lz4Block+kind(item-itemLZ4)); err == nil {
				err = send(ctx, ordered, j)
			}
		}
		if err != nil {
			return err
		}
	}
	return damaged("more than %d items", maxItems)
}

// end checks that everything has been used up.
func (a *applier) end() error {
	if a.made != a.h.Target.Size {
		return damaged("its items make %d bytes, want %d", a.made, a.h.Target.Size)
	}
	for _, c := range a.cols {
		if err := c.finish(); err != nil {
			return err
		}
	}
	return a.demux.finish()
}

// grow counts n more bytes of the target.
func (a *applier) grow(n int64) error {
	if n > a.h.Target.Size-a.made {
		return damaged("its items make more than the %d bytes of the target", a.h.Target.Size)
	}
	a.made += n
	return nil
}

// rebuild counts n more bytes that are compressed.
func (a *applier) rebuild(n int64) error {
	if a.rebuilt += n; a.rebuilt > a.h.Rebuild {
		return damaged("it compresses more than the %d bytes that it says", a.h.Rebuild)
	}
	return nil
}

func (a *applier) readCopy(ctx context.Context, ordered chan<- *job) error {
	seek, err := a.cols[colControl].int()
	if err != nil {
		return err
	}
	n, err := a.cols[colControl].uint(a.h.Source.Size)
	if err != nil {
		return err
	}
	from := a.copied + seek
	if from < 0 || from > a.h.Source.Size || n == 0 || n > a.h.Source.Size-from {
		return damaged("copy of %d bytes at %d, the old file has %d", n, from, a.h.Source.Size)
	}
	a.copied = from + n
	sum, err := readSum(a.cols)
	if err != nil {
		return err
	}
	if err := a.grow(n); err != nil {
		return err
	}
	j := &job{from: from, length: n, sum: sum, ready: make(chan struct{})}
	close(j.ready)
	return send(ctx, ordered, j)
}

// hand gives the regions of a patched window to the workers, and to the writer in order.
func (a *applier) hand(ctx context.Context, ordered chan<- *job, window []byte, regions []region) error {
	rest := window
	end := a.made
	for _, r := range regions {
		end -= int64(r.stored)
	}
	for i, r := range regions {
		j := &job{region: r, plain: rest[:r.plain], ready: make(chan struct{})}
		rest = rest[r.plain:]
		end += int64(r.stored)
		j.there = end <= a.o.HaveSize
		if i == len(regions)-1 {
			j.last, j.window = true, window
		}
		if err := send(ctx, ordered, j); err != nil {
			return err
		}
		if err := send(ctx, a.jobs, j); err != nil {
			return err
		}
	}
	return nil
}

// compress is one worker.
func (a *applier) compress(ctx context.Context) {
	var enc squash.Codec
	var err error
	if a.h.Encoder != "" {
		if enc, err = squash.NewCodec(a.h.Encoder, max(a.h.BlockSize, squash.MinBlockSize)); err != nil {
			err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	for j := range a.jobs {
		if j.there {
			close(j.ready)
			continue
		}
		if j.err = err; j.err == nil && ctx.Err() == nil {
			j.stored, j.err = encode(make([]byte, 0, j.region.stored+64), j.kind, enc, j.plain)
		}
		if j.err == nil && ctx.Err() == nil && len(j.stored) != j.region.stored {
			j.err = fmt.Errorf("%w: encoder %s makes %d bytes of a block, want %d", ErrUnsupported, a.h.Encoder, len(j.stored), j.region.stored)
		}
		close(j.ready)
	}
}

// write writes the pieces in their order.
func (a *applier) write(ctx context.Context, ordered <-chan *job) error {
	buf := make([]byte, 256<<10)
	for j := range ordered {
		select {
		case <-j.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := j.err
		switch {
		case err != nil:
		case j.there:
			err = a.out.pass(int64(j.region.stored))
		case j.length > 0:
			err = a.copyOld(j, buf)
		default:
			err = a.out.write(j.stored)
		}
		if err != nil {
			return err
		}
		if j.last {
			a.windows <- j.window
		}
	}
	return nil
}

// copyOld copies stored bytes of the old file.
func (a *applier) copyOld(j *job, buf []byte) error {
	var sum uint32
	for at, end := j.from, j.from+j.length; at < end; {
		part := buf[:min(int64(len(buf)), end-at)]
		if err := readOld(a.old, part, at); err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, part)
		if err := a.out.write(part); err != nil {
			return err
		}
		at += int64(len(part))
	}
	if sum != j.sum {
		return fmt.Errorf("%w: old file at %d, %d bytes: checksum %08x, want %08x", ErrOtherSource, j.from, j.length, sum, j.sum)
	}
	return nil
}

func send(ctx context.Context, to chan<- *job, j *job) error {
	select {
	case to <- j:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
