package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/grub"
	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/disk"
	"github.com/slotboot/slotboot/mkimage/internal/vdisk"
	"github.com/slotboot/slotboot/slots"
	"github.com/spf13/cobra"
)

type diskFlags struct {
	size     string
	own      string
	limit    int
	firmware string
	args     string
	serial   int
	grubDir  string
	format   string
	to       string
	yes      bool
	asJSON   bool
}

func (a *app) diskCommand() *cobra.Command {
	var f diskFlags
	cmd := &cobra.Command{
		Use:   "disk [flags] SLOTSET FILE|--to DEVICE",
		Short: "Make a bootable disk of a slot set",
		Long: "Make a disk that boots a slot set: GPT, GRUB, the slot set as slot A, committed, and an\n" +
			"empty slot B. FILE is sparse. --to writes to a device, and reads back what it wrote.",
		Example: "mkimage disk --size 8G --firmware both kiosk-1.4 kiosk.img",
		Args: func(cmd *cobra.Command, args []string) error {
			if f.to != "" {
				return operands("SLOTSET")(cmd, args)
			}
			return operands("SLOTSET", "FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.disk(cmd.Context(), &f, args[0], append(args, "")[1])
		},
	}
	set := cmd.Flags()
	set.SortFlags = false
	set.StringVar(&f.size, "size", "", "of the disk: bytes, or `N`M, NG (default: room for two grown\nslot sets and 256 MiB of state)")
	set.StringVar(&f.own, "persistent", "", "add a partition of `N`M, NG for the device's own files")
	set.StringVar(&f.firmware, "firmware", "uefi", "`KIND` that starts the disk: uefi, bios or both")
	set.IntVar(&f.limit, "boot-limit", slots.DefaultLimit, "`N` boots for a trial before it falls back, 1 to 10")
	set.StringVar(&f.args, "default-args", grub.DefaultArgs, "kernel `ARGS` of both slots, one string")
	set.IntVar(&f.serial, "serial", 0, "show GRUB on the first serial port too, at this `SPEED`")
	set.StringVar(&f.grubDir, "grub-modules", "", "`DIR` of GRUB's modules (default /usr/lib/grub)")
	set.StringVar(&f.format, "format", "raw", "`FORM` of FILE: raw, qcow2, vmdk (ESXi, OVA), vhd (Azure)")
	set.StringVar(&f.to, "to", "", "write to `DEVICE`, such as /dev/sdb, instead of a file")
	set.BoolVar(&f.yes, "yes", false, "do not ask whether everything on DEVICE may go")
	set.BoolVar(&f.asJSON, "json", false, "print where everything is on the disk")
	return cmd
}

func (a *app) disk(ctx context.Context, f *diskFlags, dir, file string) error {
	opt, err := f.options()
	if err != nil {
		return err
	}
	var device *os.File
	if f.to == "" {
		err = (&output{path: file}).free()
	} else {
		device, opt.Size, err = disk.OpenDevice(f.to)
	}
	if errors.Is(err, disk.ErrInUse) {
		return withHint(err, "unmount what is mounted from it (lsblk %s shows it), swapoff, or stop what holds it", f.to)
	}
	if err != nil {
		return err
	}
	if device != nil {
		defer device.Close()
	}
	set, err := a.openSlotSet(ctx, dir)
	if err != nil {
		return err
	}
	if err := set.wouldBoot(); err != nil {
		return err
	}
	opt.Arch, opt.Time = set.Arch, set.Created
	// The manifest holds the digests of all files but its signature, which does not change what boots.
	opt.ID = fmt.Sprintf("%s limit %d args %s serial %d", digest(set.raw), f.limit, f.args, f.serial)
	if opt.Files, err = slotFiles(dir); err != nil {
		return err
	}
	layout, err := disk.Plan(opt)
	if err != nil {
		return planError(err)
	}
	loader, err := f.loader(layout)
	if err != nil {
		return err
	}
	if device != nil {
		if err := a.confirm(f.to, opt.Size, f.yes); err != nil {
			return err
		}
	}
	a.say("disk    %s, %s, %s", screen.Size(layout.Size), starters(layout.Firmware), layout.Arch)
	checked := ""
	if device == nil {
		_, err = disk.Write(ctx, file, opt, loader)
	} else {
		file, checked = f.to, ", read back"
		progress, end := a.steps(set.Size())
		defer end()
		opt.Progress = progress
		_, err = disk.Fill(ctx, device, opt, loader)
		end()
	}
	if err != nil {
		return err
	}
	if f.asJSON {
		return a.printJSON(layout)
	}
	fmt.Fprintf(a.out, "%s: %s, boots %s from %v, slot A committed, slot B empty%s\n", file, screen.Size(layout.Size), set.Version, starters(layout.Firmware), checked)
	return nil
}

// options returns what the flags say about the disk.
func (f *diskFlags) options() (opt disk.Options, err error) {
	if opt.Firmware, err = disk.ParseFirmware(f.firmware); err != nil {
		return opt, usage("--firmware: %w", err)
	}
	if opt.Size, err = parseSize(f.size); err != nil {
		return opt, usage("--size: %w", err)
	}
	if opt.Persistent, err = parseSize(f.own); err != nil {
		return opt, usage("--persistent: %w", err)
	}
	if f.limit < slots.MinLimit || f.limit > slots.MaxLimit {
		return opt, usage("--boot-limit %d: want %d to %d", f.limit, slots.MinLimit, slots.MaxLimit)
	}
	if opt.Format, err = vdisk.Parse(f.format); err != nil {
		return opt, usage("--format: %w", err)
	}
	switch {
	case f.to != "" && (f.size != "" || opt.Format != vdisk.Raw):
		return opt, usage("--to %s: the disk is as large as it is, and raw", f.to)
	case opt.Format != vdisk.Raw && opt.Size%(1<<20) != 0:
		return opt, usage("--size %s: want whole MiB for %v", f.size, opt.Format)
	case f.yes && f.to == "":
		return opt, usage("--yes is for --to")
	}
	return opt, nil
}

// loader returns the boot loader of a disk.
func (f *diskFlags) loader(layout disk.Layout) (disk.GRUB, error) {
	config, err := grub.Config(grub.Options{
		Limit: f.limit, Data: "PARTUUID=" + layout.Data.GUID.String(), Env: "PARTUUID=" + layout.Boot.GUID.String(),
		DataPartition: layout.Data.Number, DataUUID: layout.Data.FSUUID, Args: strings.Fields(f.args), SerialSpeed: f.serial,
	})
	if err != nil {
		return disk.GRUB{}, usageError{err}
	}
	env, err := freshEnv()
	return disk.GRUB{Config: config, Env: env, Modules: f.grubDir}, err
}

// starters returns the firmware that starts a disk, for people.
func starters(f disk.Firmware) string {
	return map[disk.Firmware]string{disk.UEFI: "UEFI", disk.BIOS: "BIOS", disk.Both: "UEFI and BIOS"}[f]
}

func planError(err error) error {
	if errors.Is(err, disk.ErrTooSmall) {
		return usageError{err}
	}
	return err
}

// slotFiles returns the files of the slot set at dir, and no other that may be there.
func slotFiles(dir string) ([]disk.File, error) {
	var files []disk.File
	for _, name := range bundle.FileNames() {
		path := filepath.Join(dir, name)
		fi, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the signature, or a slot set without arguments; the manifest was checked
		}
		if err != nil {
			return nil, fmt.Errorf("read slot set: %w", err)
		}
		files = append(files, disk.File{Name: name, Size: fi.Size(), Open: func() (io.ReadCloser, error) { return os.Open(path) }})
	}
	return files, nil
}

// freshEnv returns the environment block of a new disk.
func freshEnv() ([]byte, error) {
	block := grubenv.New()
	for _, v := range slots.Fresh().Env() {
		if err := block.Set(v.Name, v.Value); err != nil {
			return nil, err
		}
	}
	block.Promote(slots.Names()...)
	return block.Bytes()
}

// parseSize reads "512M", "8G", "1T" or bytes; powers of 1024, as fallocate and truncate take them. "" is 0.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits, shift := text, 0
	for i, unit := range "KMGT" {
		if rest, ok := strings.CutSuffix(strings.TrimSuffix(strings.TrimSuffix(text, "B"), "i"), string(unit)); ok {
			digits, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%s: want bytes or a number with M or G, such as 8G", cmp.Or(text, "nothing"))
	}
	return n << shift, nil
}
