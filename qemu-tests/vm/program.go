package vm

import (
	"fmt"
	"os"
	"slices"
)

// Program is a TB for a program that is no test: a failure ends it.
type Program struct {
	Name     string // stands before messages
	cleanups []func()
	failed   bool
}

// Helper does nothing: no line numbers are printed.
func (p *Program) Helper() {}

// Cleanup has f called by Close.
func (p *Program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// Failed says whether Fatal has been called.
func (p *Program) Failed() bool { return p.failed }

// Log prints to standard error.
func (p *Program) Log(args ...any) { fmt.Fprintln(os.Stderr, args...) }

// Skip ends the program: what it needs is not there.
func (p *Program) Skip(args ...any) { p.Fatal(args...) }

// Fatal ends the program with exit status 1.
func (p *Program) Fatal(args ...any) { p.Fatalf("%s", fmt.Sprint(args...)) }

// Fatalf ends the program with exit status 1.
func (p *Program) Fatalf(format string, args ...any) {
	p.failed = true
	p.Close()
	fmt.Fprintf(os.Stderr, p.Name+": "+format+"\n", args...)
	os.Exit(1)
}

// TempDir makes a folder that Close removes.
func (p *Program) TempDir() string {
	dir, err := os.MkdirTemp("", p.Name+"-")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Close calls what Cleanup collected, last first.
func (p *Program) Close() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
	p.cleanups = nil
}
