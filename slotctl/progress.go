package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// meter shows how far a step has come: a bar on a terminal, else nothing. A serial console that does not know its width
// is none: at 115,200 baud, bars would cost more time than what they measure.
type meter struct{ bar *progressbar.ProgressBar }

func (a *app) meter(what string, total int64) *meter {
	f, ok := a.err.(*os.File)
	if !ok {
		return &meter{}
	}
	if width, _, err := term.GetSize(int(f.Fd())); err != nil || width == 0 {
		return &meter{}
	}
	return &meter{progressbar.NewOptions64(total, progressbar.OptionSetDescription(fmt.Sprintf("%-10s", what)), progressbar.OptionSetWriter(f),
		progressbar.OptionShowBytes(true), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond))}
}

func (m *meter) add(n int) {
	if m.bar != nil {
		m.bar.Add(n)
	}
}

// done takes the bar off the terminal.
func (m *meter) done() {
	if m.bar != nil {
		m.bar.Finish()
	}
}

// watched is a reader that tells a meter what passes, and that ends when ctx does.
type watched struct {
	io.Reader
	ctx   context.Context
	meter *meter
}

func (w watched) Read(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := w.Reader.Read(p)
	w.meter.add(n)
	return n, err
}

// printJSON prints v for programs.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// size prints bytes for people, in powers of ten.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

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
