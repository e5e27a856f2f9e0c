package main

import (
	"context"
	"io"
	"io/fs"

	"github.com/slotboot/slotboot/internal/screen"
)

// meter shows how far a step has come, of total bytes.
func (a *app) meter(what string, total int64) *screen.Meter {
	return screen.NewMeter(a.err, what, total)
}

// watched is a reader that tells a meter what passes, and that ends when ctx does.
type watched struct {
	io.Reader
	ctx   context.Context
	meter *screen.Meter
}

func (w watched) Read(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := w.Reader.Read(p)
	w.meter.Add(n)
	return n, err
}

// printJSON prints v for programs.
func (a *app) printJSON(v any) error { return screen.WriteJSON(a.out, v) }

// short is a build as people compare it.
func short(build string) string { return build[:min(len(build), 12)] }

// interruptible is a folder whose files cannot be read on when ctx has ended.
type interruptible struct {
	fs.FS
	ctx context.Context
}

type interruptibleFile struct {
	fs.File
	ctx context.Context
}

func (i interruptible) Open(name string) (fs.File, error) {
	f, err := i.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return interruptibleFile{f, i.ctx}, nil
}

func (i interruptible) Stat(name string) (fs.FileInfo, error) { return fs.Stat(i.FS, name) }

func (f interruptibleFile) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		return 0, errInterrupted
	}
	return f.File.Read(p)
}
