package main

import (
	"context"
	"fmt"
	"io"

	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
)

func (a *app) catCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat [flags] X PATH",
		Short: "Print a file of a root file system",
		Long: "Print a file of the root file system in a squashfs, a slot set or a bundle. Symbolic links\n" +
			"are followed inside of it. Slot sets and bundles are compared with their digests first.",
		Example: "mkimage cat kiosk-1.4.bundle /etc/os-release",
		Args:    operands("X", "PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.cat(cmd.Context(), args[0], args[1]); err != nil {
				return fmt.Errorf("print %s: %w", args[0], err)
			}
			return nil
		},
	}
}

func (a *app) cat(ctx context.Context, x, path string) error {
	img, r, err := a.openRoot(ctx, x)
	if err != nil {
		return err
	}
	defer r.close()
	at, err := img.RealPath(inImage(path))
	if err != nil {
		return notThere(err)
	}
	fi, err := img.Lstat(at)
	if err != nil {
		return notThere(err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: it is a %s, not a file", printable(path), typeName(fi.Mode()))
	}
	return damage(img.ContentsFrom(at, func(_ *squash.Found, body io.Reader) error {
		_, err := io.Copy(&stoppable{ctx, a.out}, body)
		return err
	}))
}
