package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/spf13/cobra"
)

func (a *app) deltaCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "delta [flags] OLD... NEW FILE",
		Short: "Make the update from one slot set, or several, to another",
		Long: "Make the update from OLD to NEW: slot sets, bundles or bare squashfs. A device that runs OLD\n" +
			"installs FILE as it would install the bundle of NEW, and gets the same files bit for bit, with\n" +
			"NEW's signature. A payload that is cheaper in full is carried in full. Of two squashfs, FILE is\n" +
			"the bare delta. With several OLDs, FILE is a folder: a delta from each, the full bundle, and\n" +
			"update.json, by which slotctl install finds the smallest that fits.",
		Example: "mkimage delta kiosk-1.3 kiosk-1.4 kiosk-1.3-to-1.4.bundle",
		Args:    operandsWith(3, 1000, "OLD, NEW and FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last := len(args) - 1; last > 2 {
				r, err := a.deltas(cmd.Context(), args[:last-1], args[last-1], args[last])
				if err != nil {
					return fmt.Errorf("make deltas: %w", err)
				}
				if asJSON {
					return a.printJSON(r)
				}
				r.print(a.out, args[last])
				return nil
			}
			r, err := a.delta(cmd.Context(), args[0], args[1], args[2])
			if err != nil {
				return fmt.Errorf("make delta: %w", err)
			}
			if asJSON {
				return a.printJSON(r)
			}
			r.print(a.out, args[2])
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the delta is made of as JSON")
	return cmd
}

// deltaReport is what mkimage delta --json prints. Its keys are a promise.
type deltaReport struct {
	Size     int64           `json:"size"`      // bytes of FILE
	FullSize int64           `json:"full_size"` // bytes of NEW's payloads
	Payloads []payloadReport `json:"payloads"`
}

// payloadReport is one payload of a delta.
type payloadReport struct {
	Name    string           `json:"name"`
	Size    int64            `json:"size"`    // bytes of the installed file
	Carried int64            `json:"carried"` // bytes in FILE
	Delta   bool             `json:"delta"`   // else it is carried in full
	Copied  int64            `json:"copied"`  // bytes stored the same in OLD
	Rebuilt int64            `json:"rebuilt"` // plain bytes that are patched and compressed again
	Literal int64            `json:"literal"` // bytes of blocks that the encoder does not reproduce
	Memory  int64            `json:"memory"`  // bytes that applying needs
	Encoder string           `json:"encoder,omitempty"`
	Columns []delta.Column   `json:"columns,omitempty"`
	Files   []delta.FileCost `json:"files,omitempty"` // what each brought, before compression

	source string // sha256 of the old file
}

// costs estimates how many bytes of the delta each path takes: its share of the columns, as well as they compress.
func (p *payloadReport) costs() map[string]int64 {
	var extra, changed float64 // compressed bytes for each that a file brought
	total := 0
	for _, f := range p.Files {
		total += f.Changed
	}
	for _, c := range p.Columns {
		switch c.Name {
		case "extra":
			extra = float64(c.Stored) / float64(max(c.Plain, 1))
		case "diff":
			changed = float64(c.Stored) / float64(max(total, 1))
		}
	}
	costs := map[string]int64{}
	for _, f := range p.Files {
		costs[f.Path] = int64(extra*float64(f.Extra) + changed*float64(f.Changed))
	}
	return costs
}

func (r *deltaReport) print(w io.Writer, file string) {
	for _, p := range r.Payloads {
		how := "full"
		if p.Delta {
			how = fmt.Sprintf("delta, %.1f %% of %s", 100*float64(p.Carried)/float64(max(p.Size, 1)), screen.Size(p.Size))
		}
		fmt.Fprintf(w, "%-16s %10s  %s\n", p.Name, screen.Size(p.Carried), how)
		if p.Literal > p.Size/100 {
			fmt.Fprintf(w, "%-16s %10s  of blocks that no encoder here makes again\n", "", screen.Size(p.Literal))
		}
	}
	fmt.Fprintf(w, "%s: %s, %.1f %% of %s\n", file, screen.Size(r.Size), 100*float64(r.Size)/float64(max(r.FullSize, 1)), screen.Size(r.FullSize))
}

// worthwhile is how much of a payload its delta may be: beyond that, applying it is not worth the device's time.
const worthwhile = 0.7

// makeMemory is the heap at which the garbage collector works harder, so that making a delta stays below 1 GB.
const makeMemory = 640 << 20

func (a *app) delta(ctx context.Context, oldPath, newPath, file string) (*deltaReport, error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(makeMemory))
	out, err := createOutput(file, false)
	if err != nil {
		return nil, err
	}
	defer out.discard()
	old, err := a.openRelease(ctx, oldPath)
	if err != nil {
		return nil, err
	}
	defer old.close()
	next, err := a.openRelease(ctx, newPath)
	if err != nil {
		return nil, err
	}
	defer next.close()
	r := &deltaReport{}
	if next.manifest == nil {
		err = a.bareDelta(r, old, next, out.tmp)
	} else if err = next.canonical(); err == nil {
		err = a.deltaBundle(ctx, r, old, next, out.tmp)
	}
	if err != nil {
		return nil, err
	}
	return r, out.commit()
}

// bareDelta makes the delta of the root file systems alone.
func (a *app) bareDelta(r *deltaReport, old, next *release, path string) (err error) {
	r.Size, err = writeFile(path, func(w io.Writer) error {
		p, err := a.makeDelta(w, old, next, bundle.Payload{Name: bundle.RootfsName})
		r.Payloads = []payloadReport{p}
		return err
	})
	r.FullSize = next.files[bundle.RootfsName].Size()
	return err
}

// makeDelta writes the delta of one payload to w.
func (a *app) makeDelta(w io.Writer, old, next *release, p bundle.Payload) (payloadReport, error) {
	from, to := old.files[p.Name], next.files[p.Name]
	m := a.meter(p.Name, 0)
	defer m.Done()
	to, err := p.DeltaTarget(to)
	if err != nil {
		return payloadReport{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	rep, err := delta.Make(w, from, to, from.Size(), to.Size(), delta.MakeOptions{Encoder: p.Encoder, Progress: m.Set})
	if err != nil {
		return payloadReport{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	h := rep.Header
	return payloadReport{Name: p.Name, Size: next.files[p.Name].Size(), Carried: rep.Size, Delta: true, Copied: rep.Copied, Rebuilt: rep.Rebuilt, Literal: rep.Literal,
		Memory: h.Memory, Encoder: h.Encoder, Columns: h.Columns, Files: rep.Files, source: h.Source.SHA256}, nil
}

// deltaBundle writes next as a bundle whose payloads are deltas where that pays.
func (a *app) deltaBundle(ctx context.Context, r *deltaReport, old, next *release, path string) error {
	m := next.manifest.Whole()
	bodies := map[string]io.Reader{}
	for i := range m.Payloads {
		p := &m.Payloads[i]
		bodies[p.Name] = io.NewSectionReader(next.files[p.Name], 0, p.Size)
		one := payloadReport{Name: p.Name, Size: p.Size, Carried: p.Size}
		if old.files[p.Name] != nil && p.Size > 0 {
			f, err := os.CreateTemp("", "mkimage-delta-")
			if err != nil {
				return err
			}
			defer f.Close()
			if err := os.Remove(f.Name()); err != nil {
				return err
			}
			sum := sha256.New()
			made, err := a.makeDelta(io.MultiWriter(f, sum), old, next, *p)
			if err != nil {
				return err
			}
			if float64(made.Carried) <= worthwhile*float64(p.Size) {
				one = made
				p.Delta = &bundle.Delta{Format: delta.Format, Size: made.Carried, SHA256: fmt.Sprintf("%x", sum.Sum(nil)), From: made.source}
				bodies[p.Name] = io.NewSectionReader(f, 0, made.Carried)
			}
		}
		r.Payloads = append(r.Payloads, one)
		r.FullSize += p.Size
	}
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	s, err := bundle.NewStream(raw, next.signature, func(p *bundle.Payload) (io.Reader, error) { return bodies[p.Name], nil })
	if err != nil {
		return err
	}
	r.Size, err = writeFile(path, func(w io.Writer) error { return bundle.WriteStream(&stoppable{ctx, w}, s) })
	return err
}
