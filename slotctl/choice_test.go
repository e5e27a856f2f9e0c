package main

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slotboot/slotboot/bundle"
)

// scriptIndex writes the index of the bundles in a folder.
func scriptIndex(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	x := &bundle.Index{Format: bundle.Format}
	paths, err := filepath.Glob(filepath.Join(dir, "*.bundle"))
	ts.Check(err)
	for _, path := range paths {
		f, err := os.Open(path)
		ts.Check(err)
		info, err := f.Stat()
		ts.Check(err)
		s, err := bundle.NewReader(f)
		ts.Check(err)
		ts.Check(f.Close())
		x.Version = s.Manifest.Version
		x.Choices = append(x.Choices, bundle.Choice{File: filepath.Base(path), Size: info.Size(), From: s.Manifest.Starts()})
	}
	data, err := x.Encode()
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, bundle.IndexName), data, 0o644))
}
