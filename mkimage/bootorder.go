package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/vmrun"
	"github.com/spf13/cobra"
)

// bootOrderFlags are the flags of mkimage boot-order.
type bootOrderFlags struct {
	vm              vmrun.Options
	settle, timeout time.Duration
}

func (a *app) bootOrderCommand() *cobra.Command {
	var f bootOrderFlags
	cmd := &cobra.Command{
		Use:   "boot-order [flags] DISK [FILE]",
		Short: "Boot a disk in QEMU and list what it reads, for --order",
		Long: "Boot the default slot of a disk in QEMU and write the files of its root to FILE, or print\n" +
			"them, in the order in which they are opened, until the boot has settled. mkimage build\n" +
			"--order FILE puts them first. The disk is not written to. It needs qemu-system-x86.",
		Example: "mkimage boot-order kiosk.img kiosk.order",
		Args:    operandsWith(1, 2, "DISK", "[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.vm.Disk = args[0]
			if err := f.check(); err != nil {
				return err
			}
			if err := a.bootOrder(cmd.Context(), &f, append(args, "")[1]); err != nil {
				return fmt.Errorf("record %s: %w", args[0], err)
			}
			return nil
		},
	}
	set := cmd.Flags()
	set.SortFlags = false
	set.DurationVar(&f.settle, "settle", 20*time.Second, "`TIME` without a new file after which the boot is over")
	set.DurationVar(&f.timeout, "timeout", 15*time.Minute, "`TIME` after which to give up")
	set.IntVar(&f.vm.Memory, "memory", vmrun.DefaultMemory, "of the machine, in `MiB`")
	set.BoolVar(&f.vm.Network, "network", false, "let the machine reach what this one reaches")
	set.StringVar(&f.vm.Accel, "accel", "", "`KIND`: kvm, or tcg, which works everywhere and is slow (default tcg)")
	return cmd
}

func (f *bootOrderFlags) check() error {
	switch {
	case f.settle < time.Second || f.settle > time.Hour:
		return usage("--settle %v: want 1s to 1h", f.settle)
	case f.timeout < f.settle:
		return usage("--timeout %v: want at least --settle, %v", f.timeout, f.settle)
	case f.vm.Memory < 1:
		return usage("--memory %d: want 1 or more MiB", f.vm.Memory)
	case !slices.Contains([]string{"", "tcg", "kvm"}, f.vm.Accel):
		return usage("--accel %s: want tcg or kvm", f.vm.Accel)
	}
	return nil
}

// The disk that init writes the list to: one line of text, and the list behind it. See init/recordorder.go.
const (
	orderSerial  = "slotboot-order"
	orderText    = 4096
	orderDisk    = 64 << 20
	orderPolling = 500 * time.Millisecond
)

func (a *app) bootOrder(ctx context.Context, f *bootOrderFlags, file string) error {
	if file != "" {
		if err := (&output{path: file}).free(); err != nil {
			return err
		}
	}
	set, err := readBootSet(f.vm.Disk)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mkimage-boot-order-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	f.vm.Scratch, f.vm.ScratchSerial = filepath.Join(scratch, "order"), orderSerial
	f.vm.Kernel, f.vm.Initrd = filepath.Join(scratch, "vmlinuz"), filepath.Join(scratch, "initrd")
	f.vm.Snapshot, f.vm.NoReboot = true, true
	f.vm.Cmdline = fmt.Sprintf("slotboot.slot=%v slotboot.count=0 slotboot.why=committed slotboot.saved=y slotboot.data=PARTUUID=%s panic=10 slotboot.record-order=%d %s",
		set.slot, set.data, int(f.settle.Seconds()), set.args)
	for name, data := range map[string][]byte{f.vm.Kernel: set.kernel, f.vm.Initrd: set.initrd, f.vm.Scratch: nil} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return err
		}
	}
	if err := os.Truncate(f.vm.Scratch, orderDisk); err != nil {
		return err
	}
	a.say("boot    slot %v with %d MiB, until %v without a new file", set.slot, f.vm.Memory, f.settle)
	list, err := a.watchBoot(ctx, f)
	if err != nil {
		return err
	}
	return a.writeOrder(list, file)
}

func (a *app) writeOrder(list []byte, file string) error {
	if file == "" {
		_, err := a.out.Write(list)
		return err
	}
	out, err := createOutput(file, false)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := os.WriteFile(out.tmp, list, 0o644); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s\n", file, screen.Count(bytes.Count(list, []byte("\n")), "file"))
	return nil
}

// watchBoot runs the machine until init has the whole list.
func (a *app) watchBoot(ctx context.Context, f *bootOrderFlags) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	console := &lastLines{}
	ended := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- vmrun.Run(run, f.vm, nil, console) }()
	tick := time.NewTicker(orderPolling)
	defer tick.Stop()
	var list []byte
	said := 0
	for {
		over := false
		select {
		case err := <-ended:
			switch {
			case err != nil:
				return nil, err
			case ctx.Err() == nil:
				return nil, withHint(errors.New("the machine stopped before the boot had settled"), "it said last: %s", console)
			case errors.Is(ctx.Err(), context.Canceled):
				return nil, ctx.Err()
			}
			over = true
		case <-tick.C:
		}
		now, done, err := readOrderDisk(f.vm.Scratch)
		if err != nil {
			return nil, err
		}
		if now != nil {
			list = now
		}
		if n := bytes.Count(list, []byte("\n")); n >= said+500 {
			said = n
			a.say("order   %d files", n)
		}
		if done {
			stop()
			<-ended
			return list, nil
		}
		if over {
			return nil, withHint(fmt.Errorf("not settled after %v, with %d files", f.timeout, bytes.Count(list, []byte("\n"))),
				"is its init slotboot's of this version? It said last: %s", console)
		}
	}
}

// readOrderDisk returns the list as init has written it by now, nil if that is not whole, and whether it is the last.
func readOrderDisk(path string) (list []byte, done bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	head := make([]byte, 512)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, false, err
	}
	line, _, _ := strings.Cut(string(head), "\n")
	var length int
	var sum uint32
	var state string
	if n, _ := fmt.Sscanf(line, "slotboot order 1 size=%d crc32=%x state=%s", &length, &sum, &state); n != 3 || length < 0 || length > orderDisk-orderText {
		return nil, false, nil
	}
	list = make([]byte, length)
	if _, err := f.ReadAt(list, orderText); err != nil {
		return nil, false, err
	}
	if crc32.ChecksumIEEE(list) != sum {
		return nil, false, nil // being written
	}
	return list, state == "done", nil
}

// lastLines keeps the end of what is written to it.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if most := 2048; len(l.text) > most {
		l.text = append([]byte(nil), l.text[len(l.text)-most:]...)
	}
	return len(p), nil
}

// String is the last line with something in it, in a form that does not steer a terminal.
func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(l.text)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return printable(last)
	}
	return "nothing; --cmdline console=ttyS0 of mkimage build would let it speak"
}
