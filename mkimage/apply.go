package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/spf13/cobra"
)

func (a *app) applyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apply [flags] OLD DELTA OUT",
		Short: "Make the new slot set from the old one and a delta",
		Long: "Make what mkimage delta was given as NEW from OLD and the delta, bit for bit. OUT is of OLD's\n" +
			"kind: a slot set makes a slot set, a bundle a bundle, a squashfs a squashfs.",
		Example: "mkimage apply kiosk-1.3 kiosk-1.3-to-1.4.bundle kiosk-1.4",
		Args:    operands("OLD", "DELTA", "OUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.apply(cmd.Context(), args[0], args[1], args[2]); err != nil {
				return fmt.Errorf("apply %s: %w", args[1], deltaFailure(err))
			}
			return nil
		},
	}
}

// applyMemory is the heap at which the garbage collector works harder. The limit that a delta promises is 64 MB for the
// whole process; what is above the heap are stacks, the program and the collector's own tables.
const applyMemory = 44 << 20

func (a *app) apply(ctx context.Context, oldPath, deltaPath, outPath string) error {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(applyMemory))
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	if err := (&output{path: outPath}).free(); err != nil { // before minutes of work, not after
		return err
	}
	f, bare, err := openDelta(deltaPath)
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := a.openRelease(ctx, oldPath)
	if err != nil {
		return err
	}
	defer old.close()
	out, err := createOutput(outPath, old.kind == kindSlotSet)
	if err != nil {
		return err
	}
	defer out.discard()
	var m *bundle.Manifest
	switch {
	case bare && old.kind != kindSquashfs:
		return withHint(fmt.Errorf("%w: it is the delta of a squashfs, %s is a %s", delta.ErrOtherSource, oldPath, old.kind), "apply it to the %s in there", bundle.RootfsName)
	case bare:
		err = a.applyBare(ctx, old, f, out.tmp, nil)
	case old.kind == kindSquashfs:
		err = a.applyBundleRoot(ctx, old, f, out.tmp)
	default:
		m, err = a.applyBundle(ctx, old, f, out.tmp)
	}
	if err != nil {
		return err
	}
	fi, err := os.Stat(out.tmp)
	if err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	if m == nil {
		fmt.Fprintf(a.out, "%s: squashfs, %s\n", outPath, screen.Size(fi.Size()))
	} else {
		fmt.Fprintf(a.out, "%s: %s, version %s, build %.12s, %s\n", outPath, old.kind, m.Version, m.Build, screen.Size(m.Size()))
	}
	return nil
}

// bareMagic begins the delta of a squashfs alone. That of a slot set is a bundle.
const bareMagic = "SBDELTA\n"

// openDelta opens the delta at path and tells which of the two it is.
func openDelta(path string) (f *os.File, bare bool, err error) {
	in, err := openInput(path)
	if err != nil {
		return nil, false, err
	}
	if in.isBundle() || in.begins(bareMagic) {
		return in.File, !in.isBundle(), nil
	}
	in.Close()
	return nil, false, withHint(in.not("a delta"), "OLD comes first, then what mkimage delta made")
}

// applyBare writes the root file system that a delta makes to the file at path.
func (a *app) applyBare(ctx context.Context, old *release, from io.Reader, path string, want *bundle.Payload) error {
	_, err := writeFile(path, func(w io.Writer) error {
		return a.applyPayload(&stoppable{ctx, w}, old, bundle.RootfsName, from, want)
	})
	return err
}

// applyPayload writes the new file of one delta to w, which is the payload want, or of a bare delta (nil) whatever it
// makes. Its old file must be at hand.
func (a *app) applyPayload(w io.Writer, old *release, name string, from io.Reader, want *bundle.Payload) error {
	src := old.files[name]
	if src == nil {
		return fmt.Errorf("%w: OLD has no %s", delta.ErrOtherSource, name)
	}
	var total int64
	if want != nil {
		total = want.Size
	}
	m := a.meter(name, total)
	defer m.Done()
	o := delta.ApplyOptions{Progress: func(n int64) { m.Set(n, total) }}
	var err error
	if want != nil {
		err = want.ApplyDelta(w, src, from, o)
	} else {
		_, err = delta.Apply(w, src, from, o)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// applyBundleRoot makes the root file system alone, of a bundle whose other payloads are not wanted.
func (a *app) applyBundleRoot(ctx context.Context, old *release, f io.Reader, path string) error {
	s, err := bundle.NewReader(f)
	if err != nil {
		return err
	}
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Payload.Name != bundle.RootfsName {
			continue
		}
		if e.Payload.Delta == nil {
			_, err = writeFile(path, func(w io.Writer) error { return copyTo(&stoppable{ctx, w}, e) })
		} else {
			err = a.applyBare(ctx, old, e, path, &e.Payload)
		}
		if err != nil {
			return err
		}
	}
}

// applyBundle makes a slot set or a bundle at path, whichever old is, and returns what it holds.
func (a *app) applyBundle(ctx context.Context, old *release, f io.Reader, path string) (*bundle.Manifest, error) {
	s, err := bundle.NewReader(f)
	if err != nil {
		return nil, err
	}
	dir := path
	if old.kind == kindBundle {
		if dir, err = os.MkdirTemp(filepath.Dir(path), ".mkimage-apply-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	if err := a.applyFiles(ctx, old, s, dir); err != nil {
		return nil, err
	}
	if old.kind == kindSlotSet {
		return s.Manifest.Whole(), nil
	}
	_, err = writeFile(path, func(w io.Writer) error { return bundle.Write(&stoppable{ctx, w}, os.DirFS(dir)) })
	return s.Manifest.Whole(), err
}

// applyFiles writes every file of the slot set that s gives into dir.
func (a *app) applyFiles(ctx context.Context, old *release, s *bundle.Stream, dir string) error {
	for _, p := range s.Manifest.Payloads {
		if p.Delta != nil && p.Delta.From != old.digest(p.Name) {
			return fmt.Errorf("%w: it is made from the %s with sha256 %.12s..., OLD's is %.12s...", delta.ErrOtherSource, p.Name, p.Delta.From, old.digest(p.Name))
		}
	}
	raw, err := s.Manifest.Whole().Encode()
	if err != nil {
		return err
	}
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		p := e.Payload
		err = createFile(filepath.Join(dir, p.Name), func(w io.Writer) error {
			if p.Delta == nil {
				return copyTo(&stoppable{ctx, w}, e)
			}
			return a.applyPayload(&stoppable{ctx, w}, old, p.Name, e, &p)
		})
		if err != nil {
			return err
		}
	}
	if s.Signature != nil {
		if err := createFile(filepath.Join(dir, bundle.SignatureName), writeBytes(s.Signature)); err != nil {
			return err
		}
	}
	return createFile(filepath.Join(dir, bundle.ManifestName), writeBytes(raw))
}

// createFile makes a file with mode 0644 whatever the umask.
func createFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := firstError(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	_, err = writeFile(path, write)
	return err
}

func copyTo(w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, r)
	return err
}

func writeBytes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}
