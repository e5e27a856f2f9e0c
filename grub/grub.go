// Package grub generates the grub.cfg that applies the boot policy of package slots before any kernel runs, and that
// hands its decision over on the kernel command line.
//
// The script is meant to be read: it stands in grub.cfg.tmpl, and as it lies on a disk in testdata/grub.cfg. Real GRUB
// runs its functions in the tests on every state there is, and package slots agrees row by row.
package grub

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"github.com/slotboot/slotboot/slots"
)

// The names of the files that the script looks for in ($data)/slots/A and ($data)/slots/B are those of a slot set:
// vmlinuz, initrd and, if it is there, slot.cfg. The environment block lies beside grub.cfg.
const (
	// EnvFile is the default name of the environment block.
	EnvFile = "grubenv"
	// DefaultArgs are the kernel arguments of every slot unless Options.Args says otherwise. Without panic= a kernel
	// that panics stands still, and a trial never falls back.
	DefaultArgs = "panic=10"
)

// Options describe the disk that a grub.cfg is for. The zero value of a field means its default, if it has one.
type Options struct {
	// Limit is the boot limit that counts when the block has none, slots.MinLimit..slots.MaxLimit. Default:
	// slots.DefaultLimit.
	Limit int
	// Data and Env are handed over as slotboot.data= and slotboot.env=: where init finds the data partition and the
	// file system with the environment block. PARTUUID=..., UUID=..., LABEL=... or a device path; Env may end in
	// :/path/of/grubenv. Empty: not handed over, init has its own defaults.
	Data, Env string
	// DataPartition is the number of the data partition in the GPT of the boot disk, 1..128.
	DataPartition int
	// DataUUID and DataLabel find the data partition by its file system when it is not on the boot disk. The UUID
	// goes first; the label, which another disk may carry as well, is searched only if there is no UUID. Default:
	// label "slotboot".
	DataUUID, DataLabel string
	// EnvFile is the name of the environment block beside grub.cfg. Default: EnvFile.
	EnvFile string
	// Args are the kernel arguments for both slots; those of slot.cfg come after them. Default: DefaultArgs.
	// GRUB splits them at spaces and has no way to keep a space inside an argument.
	Args []string
	// SerialSpeed, if not 0, makes GRUB's messages appear on the first serial port as well, at that many baud.
	SerialSpeed int
}

//go:embed grub.cfg.tmpl
var text string

// Config returns the grub.cfg for a disk. It is one file for UEFI and BIOS, it contains no time and no randomness, and
// it does not end: it boots a slot or restarts the machine.
//
// An option with a character that could mean something to GRUB's script language is an error, as is a number out of
// range.
func Config(opts Options) ([]byte, error) {
	values, err := opts.values()
	if err != nil {
		return nil, fmt.Errorf("generate grub.cfg: %w", err)
	}
	t, err := template.New("grub.cfg").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("generate grub.cfg: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("generate grub.cfg: %w", err)
	}
	return out.Bytes(), nil
}

// Modules returns what grub-mkimage must put into a GRUB image for target ("x86_64-efi", "arm64-efi", "i386-pc") so
// that the script runs: nothing is loaded from the disk later. For a BIOS image give grub-mkimage the prefix
// "(,gptN)/EFI/BOOT", which is partition N of the disk that the firmware booted; for UEFI "/EFI/BOOT" will do.
func Modules(target string) []string {
	modules := []string{
		"part_gpt", "fat", "ext2", // the boot partition and the data partition
		"normal", "configfile", "test", "regexp", "echo", "sleep", "reboot",
		"loadenv", "search", "search_fs_uuid", "search_label",
		"linux", "boot", "serial", "terminal",
	}
	switch {
	case target == "i386-pc":
		modules = append(modules, "biosdisk")
	case strings.HasSuffix(target, "-efi"):
		modules = append(modules, "efi_gop") // or a kernel without a graphics driver has no screen
	}
	return modules
}

// values are what the template inserts.
type values struct {
	Limit         int
	EnvFile       string
	Handover      string
	DefaultArgs   string
	DataPartition int
	Search        string
	SerialSpeed   int
}

func (o Options) values() (values, error) {
	v := values{
		Limit:         cmp.Or(o.Limit, slots.DefaultLimit),
		EnvFile:       cmp.Or(o.EnvFile, EnvFile),
		DefaultArgs:   strings.Join(o.Args, " "),
		DataPartition: o.DataPartition,
		SerialSpeed:   o.SerialSpeed,
	}
	if o.Args == nil {
		v.DefaultArgs = DefaultArgs
	}
	if o.Data != "" {
		v.Handover = "slotboot.data=" + o.Data
	}
	if o.Env != "" {
		v.Handover = strings.TrimSpace(v.Handover + " slotboot.env=" + o.Env)
	}
	v.Search = "--label " + cmp.Or(o.DataLabel, "slotboot")
	if o.DataUUID != "" {
		v.Search = "--fs-uuid " + o.DataUUID
	}
	return v, o.check(v)
}

// What may stand inside double quotes and unquoted without meaning anything to GRUB: no quote, $, backslash, #, brace,
// semicolon, wildcard, space or control character. Arguments of the kernel may be wider only by what the kernel needs.
var (
	word    = regexp.MustCompile(`^[A-Za-z0-9_./:=@,+%-]+$`)
	name    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	locator = regexp.MustCompile(`^((PART)?UUID=[A-Za-z0-9-]+|LABEL=[A-Za-z0-9_.-]+|/dev/[A-Za-z0-9_./:@+-]+)(:/[A-Za-z0-9_./-]+)?$`)
)

func (o Options) check(v values) error {
	if v.Limit < slots.MinLimit || v.Limit > slots.MaxLimit {
		return fmt.Errorf("boot limit %d: want %d to %d", v.Limit, slots.MinLimit, slots.MaxLimit)
	}
	if o.DataPartition < 1 || o.DataPartition > 128 {
		return fmt.Errorf("data partition number %d: want 1 to 128", o.DataPartition)
	}
	if o.SerialSpeed < 0 || o.SerialSpeed > 4_000_000 {
		return fmt.Errorf("serial speed %d: want 0 to 4000000", o.SerialSpeed)
	}
	for _, c := range []struct {
		what, text string
		form       *regexp.Regexp
	}{
		{"data partition", o.Data, locator},
		{"environment block", o.Env, locator},
		{"file system UUID", o.DataUUID, name},
		{"file system label", o.DataLabel, name},
		{"name of the environment block", o.EnvFile, name},
	} {
		if c.text != "" && !c.form.MatchString(c.text) {
			return fmt.Errorf("%s %q: not a form that can stand in a GRUB script", c.what, c.text)
		}
	}
	for _, arg := range o.Args {
		switch {
		case !word.MatchString(arg):
			return fmt.Errorf("kernel argument %q: not a form that can stand in a GRUB script", arg)
		case strings.HasPrefix(arg, "slotboot.slot="), arg == "--":
			return fmt.Errorf("kernel argument %q: reserved", arg)
		}
	}
	return nil
}
