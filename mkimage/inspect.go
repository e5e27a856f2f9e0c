package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/slotboot/slotboot/bundle"
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
	Kind     string           `json:"kind"` // slot set, bundle, squashfs, disk
	Size     int64            `json:"size"` // bytes
	Signed   bool             `json:"signed,omitempty"`
	Manifest *bundle.Manifest `json:"manifest,omitempty"`
	Squashfs *squashReport    `json:"squashfs,omitempty"`
	Disk     *diskReport      `json:"disk,omitempty"`
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
}

type partitionReport struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	GUID   string `json:"guid"`
	Start  int64  `json:"start"` // bytes
	Size   int64  `json:"size"`  // bytes
}

func (a *app) inspect(ctx context.Context, path string) (*report, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if fi.IsDir() {
		set, err := a.readSlotSet(ctx, path)
		if err != nil {
			return nil, err
		}
		return &report{Kind: "slot set", Size: set.Size(), Signed: set.signed, Manifest: set.Manifest}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	head := make([]byte, 1024)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	size, err := f.Seek(0, io.SeekEnd) // a block device has no other size
	if err != nil {
		return nil, err
	}
	r := &report{Size: size}
	switch {
	case strings.HasPrefix(string(head), "hsqs"):
		r.Kind = "squashfs"
		return r, r.readSquash(f)
	case len(head) == 1024 && string(head[512:520]) == "EFI PART":
		r.Kind = "disk"
		return r, r.readDisk(f)
	case strings.HasPrefix(string(head), bundle.ManifestName+"\x00"):
		r.Kind = "bundle"
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return r, r.readBundle(ctx, a, f)
	}
	if form, err := vdisk.Detect(path); err == nil && form != vdisk.Raw {
		return nil, withHint(fmt.Errorf("it is a disk as %v, want a raw one", form), "qemu-img convert -O raw %s %s.raw", path, path)
	}
	return nil, errors.New("neither a slot set, a bundle, a squashfs nor a disk")
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

func (r *report) readDisk(f *os.File) error {
	table, err := gpt.Read(f, 512, 512)
	if err != nil {
		return err
	}
	r.Disk = &diskReport{GUID: strings.ToLower(table.GUID)}
	for _, p := range table.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		r.Disk.Partitions = append(r.Disk.Partitions, partitionReport{p.Index, p.Name, strings.ToLower(p.GUID), p.GetStart(), p.GetSize()})
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
	if d := r.Disk; d != nil {
		for _, p := range d.Partitions {
			line(fmt.Sprintf("partition %d", p.Number), "%s, %s, PARTUUID=%s", p.Name, screen.Size(p.Size), p.GUID)
		}
		if s := d.State; s != nil {
			line("default slot", "%v, %s", s.Default, map[bool]string{true: "committed", false: fmt.Sprintf("on trial, boot %d of %d", s.Count, s.Limit)}[s.Verified])
			if s.Bad != slots.None {
				line("bad", "%v", s.Bad)
			}
			if s.Once != slots.None {
				line("boots once", "%v", s.Once)
			}
		}
	}
	return t.Flush()
}
