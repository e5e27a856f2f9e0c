package main

import (
	"fmt"
	"strings"
)

// maxCmdline leaves room for what grub.cfg adds: the kernel keeps 2047 bytes of its command line.
const maxCmdline = 1500

// slotCfg returns the slot.cfg that hands args over to the kernel: a GRUB script, sourced by grub.cfg.
//
// GRUB splits arguments at spaces, and quotes and backslashes reach the kernel with a backslash added; so an argument
// with one of those is refused instead of changed, as are wildcards, which GRUB may expand, and the arguments by which
// grub.cfg tells init what it decided.
func slotCfg(args string) ([]byte, error) {
	args = strings.Join(strings.Fields(args), " ")
	if len(args) > maxCmdline {
		return nil, usage("--cmdline of %d bytes: want %d at most", len(args), maxCmdline)
	}
	for _, arg := range strings.Fields(args) {
		if i := strings.IndexFunc(arg, cannotPass); i >= 0 {
			return nil, usage("--cmdline: GRUB cannot pass %q of %q to the kernel", []rune(arg[i:])[0], arg)
		}
		name, _, _ := strings.Cut(arg, "=")
		switch name {
		case "slotboot.slot", "slotboot.count", "slotboot.limit", "slotboot.why", "slotboot.saved", "slotboot.fellback", "slotboot.data", "slotboot.env":
			return nil, usage("--cmdline: %s is grub.cfg's to set", name)
		case "--":
			return nil, usage("--cmdline: -- would hide what grub.cfg tells init")
		}
	}
	return fmt.Appendf(nil, "set slotboot_args=\"%s\"\n", strings.ReplaceAll(args, "$", `\$`)), nil
}

func cannotPass(r rune) bool {
	return r < ' ' || r == 0x7f || r == 0xfffd || strings.ContainsRune("\"'\\*?", r)
}
