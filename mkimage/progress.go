package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// meter shows how far one step has come: a bar on a terminal, else nothing until the step's closing line.
type meter struct{ bar *progressbar.ProgressBar }

// meter starts a step of total bytes; 0 means not known.
func (a *app) meter(what string, total int64) *meter {
	f, ok := a.err.(*os.File)
	if a.quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return &meter{}
	}
	if total <= 0 {
		total = -1
	}
	return &meter{progressbar.NewOptions64(total, progressbar.OptionSetDescription(fmt.Sprintf("%-7s", what)), progressbar.OptionSetWriter(f),
		progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))}
}

// set says how much is done, and of how much if that has become known.
func (m *meter) set(done, total int64) {
	if m.bar == nil {
		return
	}
	if total > 0 && m.bar.GetMax64() != total {
		m.bar.ChangeMax64(total)
	}
	m.bar.Set64(done)
}

// Write counts what is written to it.
func (m *meter) Write(p []byte) (int, error) {
	if m.bar != nil {
		m.bar.Add(len(p))
	}
	return len(p), nil
}

// done takes the bar off the terminal.
func (m *meter) done() {
	if m.bar != nil {
		m.bar.Finish()
	}
}

var _ io.Writer = (*meter)(nil)

// printJSON prints v for programs, indented.
func (a *app) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", text)
	return err
}

// size prints bytes for people: "75.3 MB", powers of ten as in design and README.
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
