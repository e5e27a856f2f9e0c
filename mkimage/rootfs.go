package main

import (
	"context"
	"fmt"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
)

func (a *app) rootfsCommand() *cobra.Command {
	var f imageFlags
	cmd := &cobra.Command{
		Use:     "rootfs [flags] IMAGE FILE",
		Short:   "Turn a container image into a squashfs alone",
		Long:    "Turn a container image into a squashfs. IMAGE is as for mkimage build; it needs no kernel.",
		Example: "mkimage rootfs --no-clean oci:build:latest root.squashfs",
		Args:    operands("IMAGE", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rootfs(cmd.Context(), &f, args[0], args[1])
		},
	}
	cmd.Flags().SortFlags = false
	f.add(cmd.Flags())
	helpAll(cmd)
	return cmd
}

func (a *app) rootfs(ctx context.Context, f *imageFlags, ref, file string) error {
	fixed, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	if _, err := f.squashOptions(0, fixed); err != nil {
		return err
	}
	out, err := createOutput(file, false)
	if err != nil {
		return err
	}
	defer out.discard()
	a.say("read    %s", ref)
	img, tree, err := a.openTree(ctx, ref, f)
	if err != nil {
		return err
	}
	defer img.Close()
	defer tree.Close()
	if _, err := archOf(f.platform, img); err != nil {
		return err
	}
	epoch, err := epochOf(fixed, img, tree)
	if err != nil {
		return err
	}
	if err := a.clean(tree, f); err != nil {
		return err
	}
	if !f.noClean {
		if err := prepare(tree, epoch); err != nil {
			return err
		}
	}
	opt, err := f.squashOptions(squash.Zstd, epoch)
	if err != nil {
		return err
	}
	sum, err := a.writeSquash(ctx, tree, out.tmp, opt)
	if err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s, %s, %v %s\n", file, screen.Count(sum.Inodes, "inode"), screen.Size(sum.FileBytes), opt.Compression, screen.Size(sum.Size))
	return nil
}
