package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
)

func (a *app) envCommand() *cobra.Command {
	c := &cobra.Command{Use: "env", Short: "Edit an environment block file, as grub-editenv does", Example: "  slotctl env set /boot/grubenv BOOT_LIMIT=5"}
	c.Long = "Edit an environment block file, as grub-editenv does: in place, synced,\nread back."
	c.Args = cobra.NoArgs
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	var asJSON bool
	list := command("list [--json] FILE", "Print the variables", "slotctl env list /boot/grubenv", operands("FILE"),
		func(_ *cobra.Command, args []string) error { return a.envList(args[0], asJSON) })
	list.Flags().BoolVar(&asJSON, "json", false, "for programs")
	c.AddCommand(list,
		command("set FILE NAME=VALUE...", "Set variables", "slotctl env set /boot/grubenv BOOT_LIMIT=5", operands("FILE", "NAME=VALUE..."),
			func(_ *cobra.Command, args []string) error { return a.envSet(args[0], args[1:]) }),
		command("unset FILE NAME...", "Remove variables", "slotctl env unset /boot/grubenv BOOT_LIMIT", operands("FILE", "NAME..."),
			func(_ *cobra.Command, args []string) error {
				return a.editBlock(args[0], func(b *grubenv.Block) error {
					for _, name := range args[1:] {
						b.Unset(name)
					}
					return nil
				})
			}),
		command("create FILE", "Make an empty block, or empty the block that is there", "slotctl env create /boot/grubenv", operands("FILE"),
			func(_ *cobra.Command, args []string) error { return a.envCreate(args[0]) }))
	return c
}

// variable is one element of env list --json. Its keys are a promise.
type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (a *app) envList(path string, asJSON bool) error {
	data, err := durable.Read(a.files, path)
	if err != nil {
		return missing(err, path)
	}
	block, err := grubenv.Parse(data)
	if err != nil {
		return damaged(path, data, err)
	}
	if !asJSON {
		for _, v := range block.Vars() {
			fmt.Fprintf(a.out, "%s=%s\n", v.Name, v.Value)
		}
		return nil
	}
	vars := []variable{}
	for _, v := range block.Vars() {
		vars = append(vars, variable(v))
	}
	return a.printJSON(vars)
}

func (a *app) envSet(path string, assignments []string) error {
	err := a.editBlock(path, func(b *grubenv.Block) error {
		for _, assignment := range assignments {
			name, value, ok := strings.Cut(assignment, "=")
			if !ok {
				return usagef("%q: want NAME=VALUE", assignment)
			}
			if err := b.Set(name, value); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, grubenv.ErrName) || errors.Is(err, grubenv.ErrValue) {
		return usageError{err}
	}
	return err
}

func (a *app) editBlock(path string, edit func(b *grubenv.Block) error) error {
	err := durable.UpdateIn(a.files, path, func(old []byte) ([]byte, error) {
		block, err := grubenv.Parse(old)
		if err != nil {
			return nil, damaged(path, old, err)
		}
		if err := edit(block); err != nil {
			return nil, err
		}
		return bootenv.Encode(block, len(old))
	})
	return missing(err, path)
}

// damaged is the error for a file that GRUB takes for no environment block. Only of one that holds nothing, as after an
// accident, the hint makes a block: whatever else is there may be somebody's.
func damaged(path string, data []byte, err error) error {
	if blank(data) {
		return hinted{notIntact{fmt.Errorf("%s is empty, no environment block", path)}, "slotctl env create " + path + " makes it one"}
	}
	return notIntact{fmt.Errorf("%s is no environment block: %w", path, err)}
}

func blank(data []byte) bool { return len(bytes.Trim(data, "\x00")) == 0 }

// envCreate keeps the file in its place if there is one.
func (a *app) envCreate(path string) error {
	empty, err := grubenv.New().Bytes()
	if err != nil {
		return err
	}
	err = durable.Create(a.files, path, filepath.Dir(path), empty)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.UpdateIn(a.files, path, func(old []byte) ([]byte, error) {
		if _, err := grubenv.Parse(old); err != nil && !blank(old) {
			return nil, hinted{notIntact{fmt.Errorf("%s exists, and is no environment block: %w (nothing changed)", path, err)}, "remove it first, if it is in the way"}
		}
		return bootenv.Encode(grubenv.New(), len(old))
	})
}
