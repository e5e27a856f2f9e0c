package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/built"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/fetch"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/slots"
)

// Exit statuses, as docs/slotctl.md lists them.
const (
	exitFailed   = 1 // nothing changed, or what changed is said in the message
	exitUsage    = 2
	exitRefused  = 3 // by the boot policy, or meant for another device
	exitInvalid  = 4 // not authentic, not intact or not of the kind that is wanted
	exitNoSpace  = 5
	exitMisfit   = 6  // the delta does not fit this slot
	exitFellBack = 10 // status: the device fell back, and nobody has answered
)

// stdio is where a command writes.
type stdio struct{ out, err io.Writer }

// app is what all subcommands share.
type app struct {
	stdio
	effects
	given given
	ran   bool // a subcommand has begun: an error before that is wrong usage
}

// effects is everything slotctl does to the machine, so that tests can put something under it.
type effects struct {
	files  durable.FS
	mounts mounter
	base   string // where init leaves its report and the mounts: /run/slotboot
	etc    string // where the image says who may update it: /etc/slotboot
	pstore string // where the kernel shows what the firmware kept through a crash
	arch   string // GOARCH of the device
	reboot func() error
	watchdog
	fetch fetch.Options // how patient it is with servers

	markEvery int64 // see the constant
}

// given holds the flags that name a device other than the running one.
type given struct{ grubenv, data, running string }

// run executes one command line and returns its exit status.
func run(ctx context.Context, args []string, std stdio, on effects) int {
	a := &app{stdio: std, effects: on}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(std.out)
	root.SetErr(std.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !a.ran {
		err = usageError{err}
	}
	return a.report(cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "slotctl",
		Short:         "Show, install, commit and roll back slots",
		Long:          "slotctl shows, installs, commits and rolls back the two slots of this device.",
		Example:       "  slotctl install --reboot update.bundle",
		Version:       built.Line(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.ran = true
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.given.grubenv, "grubenv", "", "off the device: the environment block `FILE`")
	flags.StringVar(&a.given.data, "data", "", "off the device: the `DIR` that holds slots/")
	flags.StringVar(&a.given.running, "running", "", "off the device: the `SLOT` that is running, A or B")
	root.InitDefaultHelpFlag()
	root.Flags().Lookup("help").Hidden = true // its line is one too many for a screen
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("slotctl {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpTemplate(helpTemplate)
	for _, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Look", []*cobra.Command{a.statusCommand(), a.explainCommand(), a.simulateCommand(), a.verifyCommand()}},
		{"Update", []*cobra.Command{a.installCommand(), a.commitCommand(), a.rollbackCommand()}},
		{"Slots", []*cobra.Command{a.markBadCommand(), a.markGoodCommand(), a.bootOnceCommand()}},
		{"Files", []*cobra.Command{a.envCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.versionCommand())
	return root
}

// The help of a command fits a screen and ends with its example.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}{{end}}

{{.UsageString}}`

const usageTemplate = `Usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{$all := .Commands}}{{range $g := .Groups}}
{{$g.Title}}:{{range $all}}{{if eq .GroupID $g.ID}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{else}}{{.UseLine}}{{end}}{{if and .HasParent .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if or (not .HasParent) (and (ne .Parent.Name "env") (ne .Name "env"))}}

Off the device: --grubenv FILE --data DIR --running A|B{{end}}{{if .HasExample}}

Example:
{{.Example}}{{end}}
`

// usageError is wrong usage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// refusal is an intact slot set that is not meant for this device.
type refusal struct{ error }

func (e refusal) Unwrap() error { return e.error }

// misfit is a delta that does not fit the slot it would be applied to.
type misfit struct{ error }

func (e misfit) Unwrap() error { return e.error }

// hinted is an error with advice, which is printed on a line of its own.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// Errors that only choose an exit status or a text.
var (
	errFellBack    = errors.New("fell back and not yet answered")
	errNoSpace     = errors.New("no space")
	errInterrupted = errors.New("interrupted")
)

// status returns the exit status that err means.
func status(err error) int {
	switch {
	case as[usageError](err):
		return exitUsage
	case as[*slots.Refused](err), as[refusal](err):
		return exitRefused
	case as[misfit](err):
		return exitMisfit
	case errors.Is(err, bundle.ErrInvalid), errors.Is(err, minisig.ErrUntrusted),
		errors.Is(err, syscall.EISDIR), errors.Is(err, fs.ErrInvalid): // a folder, a pipe or a film where a small file is wanted
		return exitInvalid
	case errors.Is(err, errNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitNoSpace
	case errors.Is(err, errFellBack):
		return exitFellBack
	}
	return exitFailed
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// report tells a person what happened and returns the exit status.
func (a *app) report(cmd *cobra.Command, err error) int {
	code := status(err)
	if code == exitFellBack {
		return code // status has said it in its own words
	}
	fmt.Fprintf(a.err, "slotctl: %v\n", err)
	var advice hinted
	var policy *slots.Refused
	switch {
	case errors.As(err, &advice):
		a.hint(advice.hint)
	case errors.As(err, &policy) && policy.Hint != "":
		hint := policy.Hint
		if policy.Forced && cmd.Flags().Lookup("force") != nil {
			hint += ", or --force"
		}
		a.hint(hint)
	case code == exitUsage:
		a.hint(cmd.CommandPath() + " -h")
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EPERM):
		a.hint("slotctl needs root")
	}
	return code
}

func (a *app) hint(text string) { fmt.Fprintf(a.err, "slotctl: hint: %s\n", text) }

func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "slotctl: warning: "+format+"\n", args...)
}

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }

// command is cobra.Command with what all of ours have in common. Its errors begin with its name.
func command(use, short, example string, args cobra.PositionalArgs, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: "  " + example, Args: args, DisableFlagsInUseLine: true}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := do(cmd, args); err != nil {
			return fmt.Errorf("%s: %w", nameOf(cmd), err)
		}
		return nil
	}
	return c
}

// nameOf is what people call a command: "install", "env list".
func nameOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}
