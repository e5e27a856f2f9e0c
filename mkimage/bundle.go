package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/disk"
	"github.com/spf13/cobra"
)

func (a *app) bundleCommand() *cobra.Command {
	var recipients []string
	cmd := &cobra.Command{
		Use:   "bundle [flags] SLOTSET FILE",
		Short: "Put a slot set into one file, for slotctl install",
		Long: "Put a slot set into one file, its signature included. The file is a tar that can be\n" +
			"installed while it comes over the network. It is not compressed: what is in it is.\n" +
			"With --recipient it is encrypted, as age does it; age-keygen makes the keys.",
		Example: "mkimage bundle kiosk-1.4 kiosk-1.4.bundle",
		Args:    operands("SLOTSET", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bundle(cmd.Context(), args[0], args[1], recipients)
		},
	}
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "only who has the `KEY`, age1..., can install it; one flag each")
	return cmd
}

func (a *app) bundle(ctx context.Context, dir, file string, recipients []string) error {
	keys, err := ageRecipients(recipients)
	if err != nil {
		return err
	}
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
	defer m.Done()
	n, err := writeFile(out.tmp, func(w io.Writer) error {
		return sealed(w, keys, func(w io.Writer) error {
			return bundle.Write(&stoppable{ctx, io.MultiWriter(w, m)}, os.DirFS(dir))
		})
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
	if len(keys) > 0 {
		signed += ", encrypted"
	}
	fmt.Fprintf(a.out, "%s: version %s, build %.12s, %s, %s\n", file, set.Version, set.Build, signed, screen.Size(n))
	return nil
}

// ageRecipients reads public keys of age, X25519 or hybrid.
func ageRecipients(texts []string) ([]age.Recipient, error) {
	var keys []age.Recipient
	for _, text := range texts {
		found, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(found) != 1 {
			return nil, usage("--recipient %.80q: want a public key of age, age1...", text)
		}
		keys = append(keys, found[0])
	}
	return keys, nil
}

// sealed encrypts what write writes, if there are keys.
func sealed(w io.Writer, keys []age.Recipient, write func(w io.Writer) error) error {
	if len(keys) == 0 {
		return write(w)
	}
	in, err := age.Encrypt(w, keys...)
	if err != nil {
		return usage("--recipient: %w", err) // keys that do not go together
	}
	if err := write(in); err != nil {
		return err
	}
	return in.Close()
}

// writeFile fills the file at path, which exists, and returns its size.
func writeFile(path string, write func(io.Writer) error) (int64, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(disk.Nameless{File: f}, 1<<20)
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
