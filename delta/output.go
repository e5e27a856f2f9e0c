package delta

import (
	"fmt"
	"hash"
	"io"
)

// output writes the target and keeps its digest. The first haveSize bytes are there already: they are read instead.
type output struct {
	dst      io.Writer
	sum      hash.Hash
	n        int64
	have     io.Reader
	haveSize int64
	progress func(int64)
}

func (o *output) write(p []byte) error {
	if have := min(int64(len(p)), o.haveSize-o.n); have > 0 {
		if _, err := io.CopyN(o.sum, o.have, have); err != nil {
			return fmt.Errorf("read target at %d: %w", o.n, noEOF(err))
		}
		o.n += have
		p = p[have:]
	}
	if len(p) > 0 {
		if _, err := o.dst.Write(p); err != nil {
			return fmt.Errorf("write target at %d: %w", o.n, err)
		}
		o.sum.Write(p)
		o.n += int64(len(p))
	}
	if o.progress != nil {
		o.progress(o.n)
	}
	return nil
}

// pass goes over n bytes that are there already.
func (o *output) pass(n int64) error {
	if _, err := io.CopyN(o.sum, o.have, n); err != nil {
		return fmt.Errorf("read target at %d: %w", o.n, noEOF(err))
	}
	if o.n += n; o.progress != nil {
		o.progress(o.n)
	}
	return nil
}

func (o *output) finish(want File) error {
	if o.n != want.Size {
		return damaged("target has %d bytes, want %d", o.n, want.Size)
	}
	if got := fmt.Sprintf("%x", o.sum.Sum(nil)); got != want.SHA256 {
		return damaged("target: sha256 %.8s, want %.8s", got, want.SHA256)
	}
	return nil
}
