package main

import (
	"slices"

	"github.com/slotboot/slotboot/mkimage/internal/vmrun"
	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	var o vmrun.Options
	cmd := &cobra.Command{
		Use:   "run [flags] DISK",
		Short: "Boot a disk in QEMU, with its serial port on this terminal",
		Long: "Boot a disk in QEMU, with its serial port on this terminal. Ctrl-a x ends it. The machine\n" +
			"writes to the disk unless --snapshot is given. It needs qemu-system-x86 and, for UEFI, ovmf.",
		Example: "mkimage run --snapshot kiosk.img",
		Args:    operands("DISK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Disk = args[0]
			switch {
			case o.Memory < 1:
				return usage("--memory %d: want 1 or more MiB", o.Memory)
			case !slices.Contains([]string{"", "tcg", "kvm"}, o.Accel):
				return usage("--accel %s: want tcg or kvm", o.Accel)
			case !slices.Contains([]string{"", "uefi", "bios"}, o.Firmware):
				return usage("--firmware %s: want uefi or bios", o.Firmware)
			case !slices.Contains([]string{"", "amd64", "arm64"}, o.Arch):
				return usage("--arch %s: want amd64 or arm64", o.Arch)
			}
			return vmrun.Run(cmd.Context(), o, a.in, a.out)
		},
	}
	set := cmd.Flags()
	set.SortFlags = false
	set.BoolVar(&o.Snapshot, "snapshot", false, "throw away what the machine writes")
	set.IntVar(&o.Memory, "memory", vmrun.DefaultMemory, "of the machine, in `MiB`")
	set.StringVar(&o.Firmware, "firmware", "", "`KIND`, uefi or bios (default what the disk is made for)")
	set.StringVar(&o.Arch, "arch", "", "`ARCH`, amd64 or arm64 (default what the disk is made for)")
	set.BoolVar(&o.Network, "network", false, "let the machine reach what this one reaches")
	set.BoolVar(&o.NoReboot, "no-reboot", false, "end when the machine reboots")
	set.StringVar(&o.Accel, "accel", "", "`KIND`: kvm, or tcg, which works everywhere and is slow (default tcg)")
	return cmd
}
