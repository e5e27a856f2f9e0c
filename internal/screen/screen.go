// Package screen is how mkimage and slotctl show what they do: bars and sizes to people, JSON to programs.
package screen

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Meter shows how far a step has come: a bar on a terminal, else nothing. The zero value shows nothing.
type Meter struct{ bar *progressbar.ProgressBar }

// NewMeter starts a step of total bytes, 0 if that is not known, on w. A terminal that does not know its width, such as a
// serial console, is none: at 115,200 baud bars would cost more time than what they measure.
func NewMeter(w io.Writer, what string, total int64) *Meter {
	f, ok := w.(*os.File)
	if !ok {
		return &Meter{}
	}
	if width, _, err := term.GetSize(int(f.Fd())); err != nil || width == 0 {
		return &Meter{}
	}
	if total <= 0 {
		total = -1
	}
	return &Meter{progressbar.NewOptions64(total, progressbar.OptionSetDescription(fmt.Sprintf("%-9s", what)), progressbar.OptionSetWriter(f),
		progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))}
}

// Shown tells whether anybody sees the meter.
func (m *Meter) Shown() bool { return m.bar != nil }

// Set says how much is done, and of how much if that has become known.
func (m *Meter) Set(done, total int64) {
	if m.bar == nil {
		return
	}
	if total > 0 && m.bar.GetMax64() != total {
		m.bar.ChangeMax64(total)
	}
	m.bar.Set64(done)
}

// Add says that n more bytes are done.
func (m *Meter) Add(n int) {
	if m.bar != nil {
		m.bar.Add(n)
	}
}

// Write counts what is written to it.
func (m *Meter) Write(p []byte) (int, error) {
	m.Add(len(p))
	return len(p), nil
}

// Done takes the bar off the terminal.
func (m *Meter) Done() {
	if m.bar != nil {
		m.bar.Finish()
	}
}

// Size is a number of bytes for people: "75.3 MB", in powers of ten.
func Size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return Count(int(n), "byte")
}

// Count is a number of things: "1 file", "2 files".
func Count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// WriteJSON prints v for programs, indented.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
