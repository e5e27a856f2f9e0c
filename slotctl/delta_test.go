package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
)

// delta OLD NEW FILE: the bundle that makes the slot set NEW of the slot set OLD, slot.cfg in full and the rest as
// deltas.
func scriptDelta(ts *testscript.TestScript, _ bool, args []string) {
	raw := ts.ReadFile(args[1] + "/" + bundle.ManifestName)
	m, err := bundle.ParseManifest([]byte(raw))
	ts.Check(err)
	bodies := make(map[string][]byte)
	for i := range m.Payloads {
		p := &m.Payloads[i]
		next := []byte(ts.ReadFile(args[1] + "/" + p.Name))
		if bodies[p.Name] = next; p.Name == bundle.SlotCfgName {
			continue
		}
		old := []byte(ts.ReadFile(args[0] + "/" + p.Name))
		var out bytes.Buffer
		made, err := delta.Make(&out, bytes.NewReader(old), bytes.NewReader(next), int64(len(old)), int64(len(next)), delta.MakeOptions{})
		ts.Check(err)
		bodies[p.Name] = out.Bytes()
		p.Delta = &bundle.Delta{Format: delta.Format, Size: made.Size, SHA256: fmt.Sprintf("%x", sha256.Sum256(out.Bytes())), From: made.Header.Source.SHA256}
	}
	text, err := m.Encode()
	ts.Check(err)
	s, err := bundle.NewStream(text, nil, func(p *bundle.Payload) (io.Reader, error) { return bytes.NewReader(bodies[p.Name]), nil })
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[2]))
	ts.Check(err)
	ts.Check(bundle.WriteStream(f, s))
	ts.Check(f.Close())
}
