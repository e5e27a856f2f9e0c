package main

import (
	"github.com/slotboot/slotboot/internal/screen"
)

// meter shows how far one step has come, of total bytes; 0 means not known.
func (a *app) meter(what string, total int64) *screen.Meter {
	if a.quiet {
		return &screen.Meter{}
	}
	return screen.NewMeter(a.err, what, total)
}

// printJSON prints v for programs.
func (a *app) printJSON(v any) error { return screen.WriteJSON(a.out, v) }
