package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/fat"
	"github.com/slotboot/slotboot/mkimage/internal/source"
	"github.com/slotboot/slotboot/mkimage/internal/vdisk"
	"github.com/slotboot/slotboot/slots"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
)

func (a *app) inspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] X",
		Short: "Say what a slot set, bundle, squashfs or disk holds",
		Long: "Say what a slot set, a bundle, a squashfs or a disk holds. Slot sets and bundles are read\n" +
			"to their end and every digest is checked; whether to trust them is for mkimage verify.",
		Example: "mkimage inspect --json kiosk-1.4.bundle",
		Args:    operands("X"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.inspect(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("inspect %s: %w", args[0], err)
			}
			if asJSON {
				return a.printJSON(r)
			}
			return r.print(a.out, args[0])
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// report is what inspect found out. Kind says which of the others is there.
type report struct {
	Kind     string           `json:"kind"` // slot set, bundle, squashfs, disk, delta (a bare one), index (update.json)
	Size     int64            `json:"size"` // bytes
	Signed   bool             `json:"signed,omitempty"`
	Manifest *bundle.Manifest `json:"manifest,omitempty"`
	Squashfs *squashReport    `json:"squashfs,omitempty"`
	Disk     *diskReport      `json:"disk,omitempty"`
	Delta    *delta.Header    `json:"delta,omitempty"`
	Index    *bundle.Index    `json:"index,omitempty"`
}

type squashReport struct {
	Compression string    `json:"compression"`
	BlockSize   int       `json:"block_size"`
	Inodes      int       `json:"inodes"`
	Created     time.Time `json:"created"`
}

type diskReport struct {
	GUID       string            `json:"guid"`
	Partitions []partitionReport `json:"partitions"`
	State      *slots.State      `json:"state,omitempty"` // of the environment block; absent when there is none
	Slots      map[string]held   `json:"slots,omitempty"` // by slot; absent when there is no data partition
}

// held is the slot set that a slot holds, empty if it holds none.
type held struct {
	Version string `json:"version"`
	Build   string `json:"build"`
}

type partitionReport struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	GUID   string `json:"guid"`
	Start  int64  `json:"start"` // bytes
	Size   int64  `json:"size"`  // bytes
}

func (a *app) inspect(ctx context.Context, path string) (*report, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if in.dir {
		set, err := a.readSlotSet(ctx, path)
		if err != nil {
			return nil, err
		}
		return &report{Kind: "slot set", Size: set.Size(), Signed: set.signed, Manifest: set.Manifest}, nil
	}
	r := &report{Size: in.size}
	switch {
	case in.isSquashfs():
		r.Kind = "squashfs"
		return r, damage(r.readSquash(in.File))
	case in.isDisk():
		r.Kind = "disk"
		return r, r.readDisk(in.File)
	case in.isBundle():
		r.Kind = "bundle"
		return r, r.readBundle(ctx, a, in.File)
	case in.begins(bareMagic):
		r.Kind = "delta"
		header, err := delta.ReadHeader(in.File)
		r.Delta = &header
		return r, deltaFailure(err)
	case in.begins("{"):
		r.Kind = "index"
		return r, r.readIndex(in)
	}
	if form, err := vdisk.Detect(path); err == nil && form != vdisk.Raw {
		return nil, withHint(notIntact{fmt.Errorf("it is a disk as %v, want a raw one", form)}, "qemu-img convert -O raw %s %s.raw", path, path)
	}
	return nil, in.not("a slot set, a bundle, a squashfs or a disk")
}

func (r *report) readSquash(f *os.File) error {
	img, err := openSquash(f, r.Size)
	if err != nil {
		return err
	}
	i := img.Info()
	r.Squashfs = &squashReport{i.Compression.String(), i.BlockSize, i.Inodes, i.ModTime.UTC()}
	return nil
}

// openSquash opens the squashfs of size bytes in r.
func openSquash(r io.ReaderAt, size int64) (*squash.Image, error) {
	head := make([]byte, 48)
	if _, err := r.ReadAt(head, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, cutShort(size, int64(len(head)))
		}
		return nil, err
	}
	// bytes_used of the superblock; the tables that Open reads lie at the end, and would be missing first.
	if want := int64(binary.LittleEndian.Uint64(head[40:])); want > size {
		return nil, cutShort(size, want)
	}
	return squash.Open(r)
}

func cutShort(got, want int64) error {
	return fmt.Errorf("%w: squashfs is cut short: %d bytes, want %d", source.ErrCorrupt, got, want)
}

func (r *report) readBundle(ctx context.Context, a *app, f *os.File) error {
	s, err := bundle.NewReader(f)
	if err != nil {
		return err
	}
	r.Manifest, r.Signed = s.Manifest, s.Signature != nil
	return a.readStream(ctx, s)
}

func (r *report) readIndex(in *input) error {
	data, err := io.ReadAll(io.LimitReader(in, bundle.MaxIndex+1))
	if err != nil {
		return err
	}
	if r.Index, err = bundle.ParseIndex(data); err != nil {
		return fmt.Errorf("it is JSON, but no %s: %w", bundle.IndexName, err)
	}
	return nil
}

func (r *report) readDisk(f *os.File) error {
	table, err := gpt.Read(f, 512, 512)
	if err != nil {
		return damage(err)
	}
	r.Disk = &diskReport{GUID: strings.ToLower(table.GUID)}
	for _, p := range table.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		part := partitionReport{p.Index, p.Name, strings.ToLower(p.GUID), p.GetStart(), p.GetSize()}
		r.Disk.Partitions = append(r.Disk.Partitions, part)
		if p.Name == dataName {
			r.Disk.Slots = readHeld(f, part)
		}
		if p.Type != gpt.EFISystemPartition {
			continue
		}
		raw, _, err := fat.ReadFile(io.NewSectionReader(f, p.GetStart(), p.GetSize()), "EFI/BOOT/grubenv")
		if err != nil {
			continue // somebody else's disk
		}
		if block, err := grubenv.Parse(raw); err == nil {
			state := slots.FromEnv(block.Get, 0)
			r.Disk.State = &state
		}
	}
	return nil
}

// print prints the report for people.
func (r *report) print(w io.Writer, name string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", key, fmt.Sprintf(format, args...)) }
	line(r.Kind, "%s, %s", name, screen.Size(r.Size))
	if m := r.Manifest; m != nil {
		line("version", "%s", m.Version)
		line("build", "%s", m.Build)
		line("created", "%s", m.Created.Format("2006-01-02 15:04:05 MST"))
		line("kernel", "%s %s", m.Arch, m.Kernel)
		line("source", "%s", strings.TrimSpace(m.Source.Kind+" "+m.Source.Name+" "+m.Source.Manifest))
		line("signed", "%s", map[bool]string{true: "yes, not checked here", false: "no"}[r.Signed])
		for _, p := range m.Payloads {
			n, digest := p.Carried()
			kind := ""
			if p.Delta != nil {
				kind = ", delta for " + screen.Size(p.Size)
			}
			line(p.Name, "%s%s, sha256 %.16s...", screen.Size(n), kind, digest)
		}
	}
	if s := r.Squashfs; s != nil {
		line("compression", "%s, blocks of %d bytes", s.Compression, s.BlockSize)
		line("inodes", "%d", s.Inodes)
		line("created", "%s", s.Created.Format("2006-01-02 15:04:05 MST"))
	}
	if d := r.Delta; d != nil {
		line("from", "squashfs, %s, sha256 %.16s...", screen.Size(d.Source.Size), d.Source.SHA256)
		line("to", "squashfs, %s, sha256 %.16s...", screen.Size(d.Target.Size), d.Target.SHA256)
		line("needs", "%s of memory", screen.Size(d.Memory))
	}
	if i := r.Index; i != nil {
		line("version", "%s", i.Version)
		line("build", "%s", i.Build)
		for _, c := range i.Choices {
			what := "full"
			if len(c.From) > 0 {
				what = "delta"
			}
			line(c.File, "%s, %s", screen.Size(c.Size), what)
		}
	}
	if d := r.Disk; d != nil {
		for _, p := range d.Partitions {
			line(fmt.Sprintf("partition %d", p.Number), "%s, %s, PARTUUID=%s", p.Name, screen.Size(p.Size), p.GUID)
		}
		if s := d.State; s != nil {
			line("default slot", "%v, %s", s.Default, map[bool]string{true: "committed", false: fmt.Sprintf("on trial, boot %d of %d", s.Count, s.Limit)}[s.Verified])
			if s.Bad != slots.None && (d.Slots == nil || d.Slots[s.Bad.String()].Build != "") {
				line("bad", "%v", s.Bad)
			}
			if s.Once != slots.None {
				line("boots once", "%v", s.Once)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(d.Slots)) {
			if h := d.Slots[name]; h.Build == "" {
				line("slot "+name, "empty")
			} else {
				line("slot "+name, "version %s, build %.12s", h.Version, h.Build)
			}
		}
	}
	return t.Flush()
}
