package main

import (
	"fmt"
	"os"
	"slices"
)

// The methods that package vm needs of a test: here a failure ends the program.

// Helper does nothing: no line numbers are printed.
func (d *demo) Helper() {}

// Cleanup has f called at the end.
func (d *demo) Cleanup(f func()) { d.cleanups = append(d.cleanups, f) }

// Failed says whether the demo has gone wrong.
func (d *demo) Failed() bool { return d.failed }

// Log prints to standard error.
func (d *demo) Log(args ...any) { fmt.Fprintln(os.Stderr, args...) }

// Skip ends the demo: what it needs is not there.
func (d *demo) Skip(args ...any) { d.Fatal(args...) }

// Fatal ends the demo.
func (d *demo) Fatal(args ...any) { d.Fatalf("%s", fmt.Sprint(args...)) }

// Fatalf ends the demo.
func (d *demo) Fatalf(format string, args ...any) {
	d.failed = true
	d.close()
	fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...)
	os.Exit(1)
}

// close runs what Cleanup collected, last first.
func (d *demo) close() {
	for _, f := range slices.Backward(d.cleanups) {
		f()
	}
	d.cleanups = nil
}

// TempDir makes a folder that goes away at the end.
func (d *demo) TempDir() string {
	dir, err := os.MkdirTemp("", "demo-")
	d.must(err)
	d.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
