package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slotboot/slotboot/overlay"
	"github.com/slotboot/slotboot/slots"
)

// config is what the kernel command line asks for.
type config struct {
	handedOver bool // a boot loader has chosen the slot: handover is its choice
	handover   slots.Handover
	saved      bool // the boot loader's save worked, or it had nothing to save
	fellBack   bool
	limit      int // boot limit baked into the boot loader's script; 0 if it says none

	data    source // zero: LABEL=slotboot
	env     source // zero: the EFI system partition on the disk of data
	envPath string // of the environment block within env

	overlay      overlay.Options
	wait         time.Duration // for the partitions to appear
	rescue       time.Duration // for input at the rescue prompt; 0: no prompt
	watchdog     time.Duration // for userland on a trial; 0: it is disarmed before userland
	verity       string        // what dm-verity does about a block that is not intact; "": whoever reads it gets EIO
	recordOrder  time.Duration // until which no new file is opened, to record the order of all; 0: do not
	keepSize     bool          // leave the data partition as large as it is
	init         string        // init=; "": the usual ones
	moduleParams map[string]string
	blacklist    map[string]bool

	notes []string // what was not understood
}

// source names a partition.
type source struct{ kind, value string } // kind: PARTUUID, UUID, LABEL, or path for a device node

func (s source) String() string {
	if s.kind == "path" {
		return s.value
	}
	return s.kind + "=" + s.value
}

const (
	defaultEnvPath = "/EFI/BOOT/grubenv"
	defaultWait    = 30 * time.Second
	defaultRescue  = 5 * time.Minute
	longest        = 24 * time.Hour // of any time on the command line
)

// handoverWords are what grub.cfg puts first on the command line, in front of the slot set's own arguments.
var handoverWords = []string{"slot", "count", "limit", "why", "saved", "data", "env"}

// parseCmdline reads /proc/cmdline. Of an argument given twice the last counts, as in the kernel; but of the boot
// loader's hand-over the first, because the slot set's arguments stand behind it and must not choose another slot. An
// argument that makes no sense counts as absent and leaves a note; nothing on the command line is an error, because a
// device that does not boot for a typing mistake cannot be repaired from afar.
func parseCmdline(text string) config {
	c := config{
		envPath: defaultEnvPath, overlay: overlay.DefaultOptions(), wait: defaultWait, rescue: defaultRescue,
		moduleParams: map[string]string{}, blacklist: map[string]bool{},
	}
	handed := map[string]bool{}
	for _, arg := range splitCmdline(text) {
		if arg == "--" { // the rest is for the image's init
			break
		}
		name, value, given := strings.Cut(arg, "=")
		switch {
		case strings.HasPrefix(name, "slotboot."):
			word := strings.TrimPrefix(name, "slotboot.")
			if handed[word] || !c.set(word, value) {
				c.note("ignored " + arg)
				continue
			}
			handed[word] = slices.Contains(handoverWords, word)
		case name == "init" && value != "":
			c.init = value
		case name == "modprobe.blacklist" || name == "module_blacklist":
			for _, module := range strings.Split(value, ",") {
				c.blacklist[moduleName(module)] = true
			}
		case strings.Contains(name, "."):
			module, param, _ := strings.Cut(name, ".")
			if given {
				param += "=" + value
			}
			key := moduleName(module)
			c.moduleParams[key] = strings.TrimSpace(c.moduleParams[key] + " " + param)
		}
	}
	if c.handedOver {
		c.checkHandover()
	}
	return c
}

// set applies slotboot.name=value and says whether it made sense.
func (c *config) set(name, value string) bool {
	switch name {
	case "slot":
		slot, err := slots.ParseSlot(value)
		c.handover.Slot, c.handedOver = slot, err == nil
		return err == nil
	case "count":
		return setNumber(&c.handover.Count, value, 0, slots.MaxLimit)
	case "limit":
		return setNumber(&c.limit, value, slots.MinLimit, slots.MaxLimit)
	case "why":
		c.handover.Why = slots.Why(value)
	case "saved":
		c.saved = value == "y"
		return value == "y" || value == "n"
	case "fellback":
		c.fellBack = value != "0" && value != "n" && value != "false"
	case "data":
		return setSource(&c.data, value)
	case "env":
		return c.setEnv(value)
	case "overlay":
		var err error
		if c.overlay, err = overlay.ParseOptions(value); err != nil {
			c.note(err.Error())
		}
	case "wait":
		return setSeconds(&c.wait, value)
	case "rescue":
		return setSeconds(&c.rescue, value)
	case "verity":
		mode, known := map[string]string{"eio": "", "restart": "restart_on_corruption", "panic": "panic_on_corruption"}[value]
		if known {
			c.verity = mode
		}
		return known
	case "grow":
		c.keepSize = value == "0" || value == "n"
		return c.keepSize || value == "1" || value == "y"
	case "record-order":
		if value == "" {
			c.recordOrder = defaultSettle
			return true
		}
		return setSeconds(&c.recordOrder, value)
	case "watchdog":
		return setSeconds(&c.watchdog, value)
	default:
		return false
	}
	return true
}

// checkHandover makes a hand-over complete. A slot without a rule that this program knows was chosen by a person who
// edited the command line: it boots as if asked for once.
func (c *config) checkHandover() {
	switch c.handover.Why {
	case slots.WhyOnce, slots.WhyCommitted, slots.WhyTrial, slots.WhyFallback, slots.WhyLastResort:
	default:
		c.note("slotboot.why=" + string(c.handover.Why) + " is not known, taken as once")
		c.handover.Why = slots.WhyOnce
	}
	c.fellBack = c.fellBack || c.handover.Why == slots.WhyFallback
}

func (c *config) note(text string) { c.notes = append(c.notes, text) }

func (c *config) setEnv(value string) bool {
	// The path begins behind the first ":/", so that a label may hold a colon.
	where, path := value, defaultEnvPath
	if i := strings.Index(value, ":/"); i >= 0 {
		where, path = value[:i], value[i+1:]
	}
	if !setSource(&c.env, where) || strings.Contains(path+"/", "/../") {
		return false
	}
	c.envPath = path
	return true
}

func setSource(to *source, text string) bool {
	if strings.HasPrefix(text, "/dev/") && len(text) > len("/dev/") {
		*to = source{"path", text}
		return true
	}
	kind, value, _ := strings.Cut(text, "=")
	switch {
	case value == "":
		return false
	case kind == "PARTUUID", kind == "UUID":
		*to = source{kind, strings.ToLower(value)}
	case kind == "LABEL":
		*to = source{kind, value}
	default:
		return false
	}
	return true
}

func setNumber(to *int, text string, lowest, highest int) bool {
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest {
		return false
	}
	*to = n
	return true
}

func setSeconds(to *time.Duration, text string) bool {
	var n int
	if !setNumber(&n, text, 0, int(longest/time.Second)) {
		return false
	}
	*to = time.Duration(n) * time.Second
	return true
}

// splitCmdline splits as the kernel does: at white space outside double quotes, which are then removed where they open
// or close a whole argument or a whole value.
func splitCmdline(text string) []string {
	var args []string
	var arg strings.Builder
	quoted := false
	flush := func() {
		if arg.Len() > 0 {
			args = append(args, unquote(arg.String()))
		}
		arg.Reset()
	}
	for _, r := range []byte(text) {
		switch {
		case r == '"':
			quoted = !quoted
			arg.WriteByte(r)
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			flush()
		default:
			arg.WriteByte(r)
		}
	}
	flush()
	return args
}

func unquote(arg string) string {
	if strings.HasPrefix(arg, `"`) {
		return strings.TrimSuffix(arg[1:], `"`)
	}
	name, value, ok := strings.Cut(arg, "=")
	if ok && strings.HasPrefix(value, `"`) {
		return name + "=" + strings.TrimSuffix(value[1:], `"`)
	}
	return arg
}
