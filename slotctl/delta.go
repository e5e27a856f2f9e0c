package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/screen"
)

// A delta is installed like a full payload: what it makes out of the running slot's file streams into the target. The
// running slot is only read, so that it stays what the device falls back to.

// checkDeltas compares the files that the deltas start from with the running slot's manifest.
func (i *installation) checkDeltas() error {
	here := i.manifest(i.running)
	for _, p := range i.Manifest.Payloads {
		d := p.Delta
		switch {
		case d == nil:
			continue
		case d.Format != delta.Format:
			return misfit{hinted{fmt.Errorf("%s is a delta of format %s, which this slotctl cannot apply", p.Name, d.Format), "install the full bundle"}}
		case here == nil:
			return misfit{hinted{fmt.Errorf("%s is a delta, but slot %s, which runs, has no manifest to compare with", p.Name, i.running), "install the full bundle"}}
		}
		if have, ok := here.Payload(p.Name); !ok || have.SHA256 != d.From {
			return misfit{hinted{fmt.Errorf("it is a delta from another version: it needs the %s with sha256 %s, slot %s runs %s with %s",
				p.Name, short(d.From), i.running, here.Version, short(have.SHA256)), "install the full bundle, or the delta from " + here.Version}}
		}
	}
	return nil
}

// content returns the installed bytes of a payload, and what to close once they have been read: those of the entry
// itself, or those that its delta makes. The first n bytes are in have, and are left away.
func (i *installation) content(e *bundle.Entry, have io.Reader, n int64) (io.Reader, io.Closer, error) {
	p := e.Payload
	if p.Delta == nil {
		if n == 0 {
			return e, io.NopCloser(nil), nil
		}
		return e, io.NopCloser(nil), e.Have(have, n)
	}
	old, err := os.Open(filepath.Join(i.slotDir(i.running), p.Name))
	if err != nil {
		return nil, nil, err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := p.ApplyDelta(w, old, watched{e, i.ctx, &screen.Meter{}}, delta.ApplyOptions{Have: have, HaveSize: n})
		old.Close()
		w.CloseWithError(deltaFailure(p.Name, err))
	}()
	return r, applying{r, done}, nil
}

// applying is a delta on its way. Closing it waits until it is out of the source and of the old file.
type applying struct {
	*io.PipeReader
	done <-chan struct{}
}

func (a applying) Close() error {
	err := a.PipeReader.Close()
	<-a.done
	return err
}

// deltaFailure gives the errors of package delta their exit status.
func deltaFailure(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, delta.ErrOtherSource), errors.Is(err, delta.ErrUnsupported):
		return misfit{hinted{fmt.Errorf("%s: %w", name, err), "install the full bundle"}}
	case errors.Is(err, delta.ErrDamaged):
		return fmt.Errorf("%s: %w: %w", name, bundle.ErrInvalid, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// deltaMemory is the heap at which the garbage collector works harder while deltas are applied: a delta promises to
// need no more than 64 MB, and what is above the heap are stacks, the program and the collector's own tables.
const deltaMemory = 44 << 20

// sparingly makes this process keep to the memory that a delta promises, until the returned function is called.
func sparingly() func() {
	percent, limit := debug.SetGCPercent(25), debug.SetMemoryLimit(deltaMemory)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}
