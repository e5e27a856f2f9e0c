package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/slotboot/slotboot/bundle"
	"github.com/spf13/cobra"
)

func (a *app) bundleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bundle [flags] SLOTSET FILE",
		Short: "Put a slot set into one file, for slotctl install",
		Long: "Put a slot set into one file, its signature included. The file is a tar that can be\n" +
			"installed while it comes over the network. It is not compressed: what is in it is.",
		Example: "mkimage bundle kiosk-1.4 kiosk-1.4.bundle",
		Args:    operands("SLOTSET", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bundle(cmd.Context(), args[0], args[1])
		},
	}
}

func (a *app) bundle(ctx context.Context, dir, file string) error {
	out, err := createOutput(file, false)
	if err != nil {
		return err
	}
	defer out.discard()
	// Checked first, so that the message is about the slot set. Writing checks again what it writes.
	set, err := a.openSlotSet(ctx, dir)
	if err != nil {
		return err
	}
	m := a.meter("bundle", set.Size())
	defer m.done()
	n, err := writeFile(out.tmp, func(w io.Writer) error {
		return bundle.Write(&stoppable{ctx, io.MultiWriter(w, m)}, os.DirFS(dir))
	})
	if err != nil {
		return fmt.Errorf("write bundle %s: %w", file, err)
	}
	if err := out.commit(); err != nil {
		return err
	}
	signed := "not signed"
	if set.signed {
		signed = "signed"
	}
	fmt.Fprintf(a.out, "%s: version %s, build %.12s, %s, %s\n", file, set.Version, set.Build, signed, size(n))
	return nil
}

// writeFile fills the file at path, which exists, and returns its size.
func writeFile(path string, write func(io.Writer) error) (int64, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	fi, serr := f.Stat()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil || serr != nil {
		return 0, firstError(err, serr)
	}
	return fi.Size(), nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// stoppable is a writer that fails once ctx is done.
type stoppable struct {
	ctx context.Context
	io.Writer
}

func (s *stoppable) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Writer.Write(p)
}
