package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/screen"
)

// The names of the full bundle among the bundles of a release, and of the list of its pieces.
const (
	fullName   = "full.bundle"
	piecesName = "full.pieces"
)

// deltasReport is what mkimage delta --json prints of updates from several versions. Its keys are a promise.
type deltasReport struct {
	Version  string         `json:"version"`
	Build    string         `json:"build"`
	FullSize int64          `json:"full_size"` // bytes of the full bundle
	Updates  []updateReport `json:"updates"`
}

// updateReport is the update from one version.
type updateReport struct {
	From string `json:"from"`           // the version
	File string `json:"file,omitempty"` // absent if no delta is worth its while
	deltaReport
}

func (r *deltasReport) print(w io.Writer, dir string) {
	for _, u := range r.Updates {
		if u.File == "" {
			fmt.Fprintf(w, "from %-20s the full bundle: no delta is worth its while\n", u.From)
			continue
		}
		fmt.Fprintf(w, "from %-20s %10s  %.1f %% of the full bundle\n", u.From, screen.Size(u.Size), 100*float64(u.Size)/float64(max(r.FullSize, 1)))
	}
	fmt.Fprintf(w, "%s: version %s, %s, full bundle %s\n", dir, r.Version, screen.Count(len(r.Updates), "update"), screen.Size(r.FullSize))
}

// deltas makes a folder of bundles that all give next: a delta from each of olds, the full one, and an index by which a
// device finds the smallest that fits.
func (a *app) deltas(ctx context.Context, olds []string, newPath, dir string) (*deltasReport, error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(makeMemory))
	out, err := createOutput(dir, true)
	if err != nil {
		return nil, err
	}
	defer out.discard()
	next, err := a.openRelease(ctx, newPath)
	if err != nil {
		return nil, err
	}
	defer next.close()
	if next.manifest == nil {
		return nil, withHint(notIntact{fmt.Errorf("%s is a bare squashfs", newPath)}, "updates from several versions are for slot sets and bundles")
	}
	if err := next.canonical(); err != nil {
		return nil, err
	}
	full := &deltaReport{}
	if err := a.bundleIn(ctx, full, &release{}, next, filepath.Join(out.tmp, fullName)); err != nil {
		return nil, err
	}
	r := &deltasReport{Version: next.manifest.Version, Build: next.manifest.Build, FullSize: full.Size}
	index := &bundle.Index{Format: bundle.Format, Version: r.Version, Build: r.Build}
	for _, path := range olds {
		u, from, err := a.updateFrom(ctx, path, next, out.tmp)
		if err != nil {
			return nil, err
		}
		r.Updates = append(r.Updates, *u)
		if u.File != "" {
			index.Choices = append(index.Choices, bundle.Choice{File: u.File, Size: u.Size, From: from})
		}
	}
	if err := a.writePieces(ctx, out.tmp); err != nil {
		return nil, err
	}
	index.Choices = append(index.Choices, bundle.Choice{File: fullName, Size: full.Size, Pieces: piecesName})
	data, err := index.Encode()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(out.tmp, bundle.IndexName), data, 0o644); err != nil {
		return nil, err
	}
	return r, out.commit()
}

// writePieces lists the pieces of the full bundle in dir.
func (a *app) writePieces(ctx context.Context, dir string) error {
	full, err := a.openRelease(ctx, filepath.Join(dir, fullName))
	if err != nil {
		return err
	}
	defer full.close()
	f, err := os.Open(filepath.Join(dir, fullName))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var payloads []*io.SectionReader
	for _, p := range full.manifest.Payloads {
		payloads = append(payloads, full.files[p.Name])
	}
	pieces, err := bundle.CutBundle(io.NewSectionReader(f, 0, info.Size()), payloads)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, piecesName), bundle.EncodePieces(pieces), 0o644)
}

// bundleIn is deltaBundle for a new file.
func (a *app) bundleIn(ctx context.Context, r *deltaReport, old, next *release, path string) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return a.deltaBundle(ctx, r, old, next, path)
}

// updateFrom makes the delta bundle from one version, and returns what its deltas start from.
func (a *app) updateFrom(ctx context.Context, path string, next *release, dir string) (*updateReport, map[string]string, error) {
	old, err := a.openRelease(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer old.close()
	if old.manifest == nil {
		return nil, nil, withHint(notIntact{fmt.Errorf("%s is a bare squashfs", path)}, "updates from several versions are for slot sets and bundles")
	}
	u := &updateReport{From: old.manifest.Version}
	u.File = freeName(dir, old.manifest)
	if err := a.bundleIn(ctx, &u.deltaReport, old, next, filepath.Join(dir, u.File)); err != nil {
		return nil, nil, err
	}
	from := u.starts()
	if len(from) == 0 { // it is the full bundle once more
		err = os.Remove(filepath.Join(dir, u.File))
		u.File = ""
	}
	return u, from, err
}

// starts returns the digests of the old files that a bundle's deltas start from.
func (r *deltaReport) starts() map[string]string {
	from := map[string]string{}
	for _, p := range r.Payloads {
		if p.Delta {
			from[p.Name] = p.source
		}
	}
	return from
}

// freeName returns a file name for the update from a version, with its build if there are two of that version.
func freeName(dir string, m *bundle.Manifest) string {
	version := strings.Map(func(c rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+", c) {
			return c
		}
		return '_'
	}, m.Version)
	name := fmt.Sprintf("from-%.60s.bundle", version)
	if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
		name = fmt.Sprintf("from-%.60s-%.12s.bundle", version, m.Build)
	}
	return name
}
