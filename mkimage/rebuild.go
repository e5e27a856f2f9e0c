package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) rebuildCheckCommand() *cobra.Command {
	var f rebuildFlags
	cmd := &cobra.Command{
		Use:   "rebuild-check [flags] SLOTSET IMAGE",
		Short: "Build again and compare: is this slot set made of that image?",
		Long: "Build a slot set again from its image, with the options that its manifest records, and\n" +
			"compare what boots. Status 0: byte for byte the same; 4: not.",
		Example: "mkimage rebuild-check kiosk-1.4 docker://registry.example/kiosk:1.4",
		Args:    operands("SLOTSET", "IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rebuildCheck(cmd.Context(), &f, args[0], args[1])
		},
	}
	set := cmd.Flags()
	set.StringVar(&f.init, "init", "", "the init `FILE` that it was built with, if not the embedded one")
	set.StringVar(&f.kernelFile, "kernel-file", "", "the kernel `FILE` that it was built with, if not the image's")
	set.StringVar(&f.modulesDir, "modules-dir", "", "the `DIR` of its modules")
	set.StringVar(&f.order, "order", "", "the order `FILE` that it was built with")
	set.StringVar(&f.keep, "keep", "", "keep what was built as `DIR`")
	set.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

type rebuildFlags struct {
	init, kernelFile, modulesDir, order, keep string
	asJSON                                    bool
}

// rebuildReport is what mkimage rebuild-check --json prints. Its keys are a promise.
type rebuildReport struct {
	Same      bool         `json:"same"`
	Build     string       `json:"build"`
	Rebuilt   string       `json:"rebuilt"` // the build that came out
	Different []difference `json:"different"`
}

// difference is a file that came out different.
type difference struct {
	Name string `json:"name"`
	Got  string `json:"sha256"`
	Want string `json:"want_sha256"`
}

func (d difference) String() string {
	return fmt.Sprintf("%s: sha256 %.12s..., want %.12s...", d.Name, d.Got, d.Want)
}

// differentError says that a build did not come out the same.
type differentError struct{ list []difference }

func (e *differentError) Error() string {
	var texts []string
	for _, d := range e.list {
		texts = append(texts, d.String())
	}
	return "the slot set is not what the image makes: " + strings.Join(texts, "; ")
}

// Status is that of content that is not what it says.
func (e *differentError) Status() int { return exitNotIntact }

func (a *app) rebuildCheck(ctx context.Context, f *rebuildFlags, dir, ref string) error {
	set, err := a.openSlotSet(ctx, dir)
	if err != nil {
		return err
	}
	if set.Tool != tool {
		a.warn(fmt.Sprintf("the slot set was built by %s, this is %s: other versions may make other bytes", set.Tool, tool))
	}
	bf, options, err := f.flagsOf(set.Manifest)
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", dir, err)
	}
	out := f.keep
	if out == "" {
		scratch, err := os.MkdirTemp("", "mkimage-rebuild-*")
		if err != nil {
			return fmt.Errorf("rebuild %s: %w", dir, err)
		}
		defer os.RemoveAll(scratch)
		out = filepath.Join(scratch, "slotset")
	}
	quiet := *a
	quiet.out = io.Discard
	b := build{app: &quiet, f: bf, options: options, fixed: set.Created}
	if err := b.run(ctx, ref, out); err != nil {
		return err
	}
	again, err := a.openSlotSet(ctx, out)
	if err != nil {
		return err
	}
	list := compare(again.Manifest, set.Manifest)
	if f.asJSON {
		if err := a.printJSON(rebuildReport{len(list) == 0, set.Build, again.Build, append([]difference{}, list...)}); err != nil {
			return err
		}
	}
	if len(list) > 0 {
		err := &differentError{list}
		if got, want := again.Source.Manifest, set.Source.Manifest; got != "" && want != "" && got != want {
			return withHint(err, "it was made from the image %s, %s is now %s", want, ref, got)
		}
		return err
	}
	if !f.asJSON {
		fmt.Fprintf(a.out, "%s: the same, build %.12s\n", dir, set.Build)
	}
	return nil
}

// flagsOf returns the flags that make m again, and what to record of them. Files of the machine that built it must be
// given again, and are compared with the digests that the manifest has of them.
func (f *rebuildFlags) flagsOf(m *bundle.Manifest) (*buildFlags, []string, error) {
	bf := &buildFlags{}
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	bf.add(set)
	files := map[string]string{"init": f.init, "kernel-file": f.kernelFile, "order": f.order}
	for _, opt := range m.Options {
		name, value, ok := strings.Cut(opt, "=")
		if file, isFile := files[name]; isFile {
			if err := sameFile(file, name, strings.TrimPrefix(value, "sha256:")); err != nil {
				return nil, nil, err
			}
			continue
		}
		if !ok || set.Lookup(name) == nil {
			return nil, nil, fmt.Errorf("option %q: this mkimage does not know it", opt)
		}
		if err := set.Set(name, value); err != nil {
			return nil, nil, fmt.Errorf("option %q: %w", opt, err)
		}
	}
	bf.init, bf.kernelFile, bf.modulesDir, bf.order = f.init, f.kernelFile, f.modulesDir, f.order
	return bf, bf.recorded(set), nil
}

func sameFile(file, flag, want string) error {
	if file == "" {
		return withHint(fmt.Errorf("it was built with --%s, sha256 %.12s...", flag, want), "give the same file with --%s FILE", flag)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if got := digest(data); got != want {
		return notIntact{fmt.Errorf("--%s %s: sha256 %.12s..., want %.12s...", flag, file, got, want)}
	}
	return nil
}

// compare returns the payloads of got that are not those of want, by their bytes.
func compare(got, want *bundle.Manifest) []difference {
	var list []difference
	for _, p := range want.Payloads {
		q, _ := got.Payload(p.Name)
		if q.SHA256 != p.SHA256 {
			list = append(list, difference{p.Name, q.SHA256, p.SHA256})
		}
	}
	return list
}
