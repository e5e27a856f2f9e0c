package main

import (
	"bytes"
	"io"
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
		c := bundle.Choice{File: filepath.Base(path), Size: info.Size(), From: s.Manifest.Starts()}
		if len(c.From) == 0 {
			c.Pieces = scriptPieces(ts, path, s.Manifest)
		}
		x.Choices = append(x.Choices, c)
	}
	data, err := x.Encode()
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, bundle.IndexName), data, 0o644))
}

// scriptPieces lists the pieces of a full bundle beside it, and returns the name of the list.
func scriptPieces(ts *testscript.TestScript, path string, m *bundle.Manifest) string {
	data, err := os.ReadFile(path)
	ts.Check(err)
	file := bytes.NewReader(data)
	var payloads []*io.SectionReader
	at := int64(0)
	for _, p := range m.Payloads {
		body, err := os.ReadFile(ts.MkAbs("v" + m.Version + "/" + p.Name))
		ts.Check(err)
		at += int64(bytes.Index(data[at:], body))
		payloads = append(payloads, io.NewSectionReader(file, at, p.Size))
		at += p.Size
	}
	pieces, err := bundle.CutBundle(io.NewSectionReader(file, 0, int64(len(data))), payloads)
	ts.Check(err)
	ts.Check(os.WriteFile(path+".pieces", bundle.EncodePieces(pieces), 0o644))
	return filepath.Base(path) + ".pieces"
}
