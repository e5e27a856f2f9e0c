package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/built"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/mkimage/internal/source"
	"github.com/slotboot/slotboot/mkimage/internal/vdisk"
	"github.com/spf13/cobra"
)

// Exit statuses. docs/mkimage.md lists them for people.
const (
	exitFailed    = 1 // nothing changed
	exitUsage     = 2
	exitNotIntact = 4 // not authentic, not intact or not of the kind that is wanted
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

// group is some commands under a title.
type group struct {
	title    string
	commands []*cobra.Command
}

// groups returns every subcommand that -h lists. A new one is a file with its constructor and a word here.
func (a *app) groups() []group {
	return []group{
		{"Make and try", []*cobra.Command{a.buildCommand(), a.rootfsCommand(), a.diskCommand(), a.runCommand(), a.bootOrderCommand()}},
		{"Update", []*cobra.Command{a.bundleCommand(), a.deltaCommand(), a.applyCommand(), a.pushCommand()}},
		{"Look into", []*cobra.Command{a.inspectCommand(), a.diffCommand(), a.lsCommand(), a.catCommand(), a.extractCommand()}},
		{"Trust", []*cobra.Command{a.keygenCommand(), a.signCommand(), a.verifyCommand(), a.rebuildCheckCommand()}},
	}
}

// run executes one command line and returns its exit status.
func run(ctx context.Context, args []string, std stdio) int {
	signal.Ignore(syscall.SIGPIPE) // whoever reads the progress may go: what is half done is then done, or removed
	a := &app{stdio: std}
	root := &cobra.Command{
		Use:           "mkimage",
		Short:         "Turn container images into slot sets, bundles and bootable disks",
		Example:       "mkimage build docker://registry.example/kiosk:1.4 kiosk-1.4",
		Version:       built.Line(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.ran = true
		},
	}
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but errors and warnings")
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.SetVersionTemplate("mkimage {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, g := range a.groups() {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.versionCommand())
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) && p.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE) {
		return exitFailed // as of ls | head: whoever has read enough needs no message
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
const usageTemplate = `{{if .HasAvailableSubCommands}}{{.Short}}. Usage: {{.CommandPath}} COMMAND [-h] [-q]{{$all := .Commands}}{{range $g := .Groups}}
{{$g.Title}}:{{range $all}}{{if eq .GroupID $g.ID}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{else}}Usage: {{.UseLine}}

Flags:
{{.Flags.FlagUsages | trimTrailingWhitespaces}}
{{end}}
Example: {{.Example}}
`

const helpTemplate = `{{with .Long}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

// operands makes sure that there are as many arguments as names.
func operands(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			last := len(names) - 1
			want := strings.TrimPrefix(strings.Join(names[:last], ", ")+" and "+names[last], " and ")
			return fmt.Errorf("want %s, got %s", want, gotten(args))
		}
		return nil
	}
}

// gotten says what the arguments are.
func gotten(args []string) string {
	switch len(args) {
	case 0:
		return "nothing"
	case 1:
		return fmt.Sprintf("%q alone", args[0])
	}
	return fmt.Sprintf("%d arguments: %.200q", len(args), args)
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
	case errors.As(err, &bad), errors.Is(err, source.ErrName):
		return exitUsage
	case errors.As(err, &st):
		return st.Status()
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitNoSpace
	case errors.Is(err, source.ErrCorrupt), errors.Is(err, bundle.ErrInvalid), errors.Is(err, minisig.ErrUntrusted), errors.Is(err, vdisk.ErrNoDisk),
		errors.Is(err, syscall.EISDIR): // a folder where a file is wanted
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
