package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/mkimage/internal/source"
	"github.com/spf13/cobra"
)

// version is what `mkimage version` prints and what manifests record as the tool. The bytes that mkimage makes of one
// image may change between two versions, never within one.
const version = "0.1.0"

// Exit statuses. docs/mkimage.md lists them for people.
const (
	exitFailed    = 1 // nothing changed
	exitUsage     = 2
	exitNotIntact = 4 // not authentic or not intact
	exitNoSpace   = 5
	exitMisfit    = 6 // a delta that does not fit
)

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// app is what all subcommands share.
type app struct {
	stdio
	quiet bool
	// ran is set once a subcommand has begun: an error before that is wrong usage.
	ran bool
}

// commands returns every subcommand. A new one is a file with its constructor and a line here.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.buildCommand(),
		a.rootfsCommand(),
		a.diskCommand(),
		a.bundleCommand(),
		a.pushCommand(),
		a.deltaCommand(),
		a.applyCommand(),
		a.diffCommand(),
		a.inspectCommand(),
		a.lsCommand(),
		a.catCommand(),
		a.extractCommand(),
		a.keygenCommand(),
		a.signCommand(),
		a.verifyCommand(),
		a.rebuildCheckCommand(),
		a.runCommand(),
		a.bootOrderCommand(),
		a.versionCommand(),
	}
}

// run executes one command line and returns its exit status.
func run(ctx context.Context, args []string, std stdio) int {
	a := &app{stdio: std}
	root := &cobra.Command{
		Use:           "mkimage",
		Short:         "Turn container images into slot sets, bundles and bootable disks",
		Long:          "mkimage makes slot sets of container images, and bundles and disks of slot sets, without root.",
		Example:       "mkimage build docker://registry.example/kiosk:1.4 kiosk-1.4",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.ran = true
		},
	}
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but errors and warnings")
	root.SetUsageTemplate(usageTemplate)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.commands()...)
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(std.err, "mkimage: %v\n", err)
	if hint := source.Hint(err); hint != "" {
		fmt.Fprintf(std.err, "mkimage: hint: %s\n", hint)
	}
	if !a.ran {
		fmt.Fprintf(std.err, "mkimage: hint: %s -h\n", cmd.CommandPath())
		return exitUsage
	}
	return status(err)
}

// usageTemplate is cobra's in fewer lines, so that -h fits a screen.
const usageTemplate = `Usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND [-h] [-q]{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{.UseLine}}

Flags:
{{.Flags.FlagUsages | trimTrailingWhitespaces}}{{end}}

Example: {{.Example}}
`

// operands makes sure that there are as many arguments as names.
func operands(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			got := fmt.Sprintf("%d arguments", len(args))
			if len(args) == 1 {
				got = fmt.Sprintf("%q alone", args[0])
			}
			return fmt.Errorf("want %s, got %s", strings.Join(names, " and "), got)
		}
		return nil
	}
}

// usageError is wrong usage that only the command itself can see.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// statuser is an error that knows its exit status.
type statuser interface{ Status() int }

// status returns the exit status that err means.
func status(err error) int {
	var bad usageError
	var st statuser
	switch {
	case errors.As(err, &bad):
		return exitUsage
	case errors.As(err, &st):
		return st.Status()
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitNoSpace
	case errors.Is(err, source.ErrCorrupt), errors.Is(err, bundle.ErrInvalid), errors.Is(err, minisig.ErrUntrusted):
		return exitNotIntact
	}
	return exitFailed
}

// hinted is an error with advice, printed on a line of its own.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

func withHint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// say prints a line about what is going on. Results go to out, this does not.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

func (a *app) warn(text string) { fmt.Fprintf(a.err, "mkimage: warning: %s\n", text) }
