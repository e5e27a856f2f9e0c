// Package vmrun starts a disk in QEMU, with its serial port on the terminal.
package vmrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// DefaultMemory is enough for a Debian with systemd, in MiB.
const DefaultMemory = 1024

// Options says how to start a disk.
type Options struct {
	Disk string // raw or qcow2
	// Arch is amd64 or arm64, and Firmware uefi or bios; "" is what the disk looks like, see Detect.
	Arch     string
	Firmware string
	Memory   int  // MiB; 0 = DefaultMemory
	Snapshot bool // throw away what the machine writes
	Network  bool // let the machine reach what the host reaches
	NoReboot bool // end when the machine reboots
	// Accel is kvm, or tcg, which emulates and works everywhere; "" is what $ACCEL says, else tcg. kvm is never
	// guessed: where /dev/kvm can be opened the machine may still hang.
	Accel string
	// Kernel is loaded with Initrd and Cmdline instead of what the disk's firmware finds.
	Kernel, Initrd, Cmdline string
	// Scratch is a second disk, raw and written to, with a serial number to find it by.
	Scratch, ScratchSerial string
}

// MissingError says that a program or file that QEMU needs is not on this machine.
type MissingError struct {
	What    string
	Package string // the Debian package that has it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing: apt-get install %s", e.What, e.Package)
}

// Run runs the machine until it powers off, the user ends it (Ctrl-a x), or ctx is done, which is no error. What
// QEMU itself has to say becomes the text of the error.
func Run(ctx context.Context, o Options, stdin io.Reader, stdout io.Writer) error {
	cmd, err := Command(ctx, o)
	if err != nil {
		return err
	}
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &errs
	err = cmd.Run()
	// The copying of a stdin that is no file may outlive the machine.
	if ctx.Err() != nil || err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return fmt.Errorf("run %s: %s: %w: %s", o.Disk, cmd.Args[0], err, strings.TrimSpace(errs.String()))
}

// Command returns the QEMU that Run would start. When ctx is done it is asked to end, which gives the terminal back
// as it was, and killed if it has not ended 5 seconds later.
func Command(ctx context.Context, o Options) (*exec.Cmd, error) {
	args, err := o.args(exec.LookPath, os.Stat)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", o.Disk, err)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// args returns the command line, program first.
func (o Options) args(look func(string) (string, error), stat func(string) (os.FileInfo, error)) ([]string, error) {
	format, err := o.complete()
	if err != nil {
		return nil, err
	}
	m, ok := machines[o.Arch]
	if !ok {
		return nil, fmt.Errorf("architecture %q, want amd64 or arm64", o.Arch)
	}
	program, err := look(m.program)
	if err != nil {
		return nil, &MissingError{m.program, m.qemuPackage}
	}
	args := []string{program, "-nodefaults", "-display", "none", "-serial", "mon:stdio", "-m", fmt.Sprint(o.Memory)}
	args = append(args, m.args...)
	switch o.Accel {
	case "tcg":
		args = append(args, "-accel", "tcg", "-cpu", m.cpu)
	case "kvm":
		if err := usable("/dev/kvm"); err != nil {
			return nil, fmt.Errorf("acceleration kvm: %w", err)
		}
		args = append(args, "-accel", "kvm", "-cpu", "host")
	default:
		return nil, fmt.Errorf("acceleration %q, want tcg or kvm", o.Accel)
	}
	switch {
	case o.Kernel != "":
		args = append(args, "-kernel", o.Kernel, "-initrd", o.Initrd, "-append", o.Cmdline)
	case o.Firmware == "uefi":
		fw, err := m.find(stat)
		if err != nil {
			return nil, err
		}
		// What the firmware stores about boot entries is thrown away: the disk must start on a new machine.
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(fw.code),
			"-drive", "if=pflash,unit=1,format=raw,snapshot=on,file="+escape(fw.vars))
	case o.Firmware != "bios" || o.Arch != "amd64":
		return nil, fmt.Errorf("firmware %q for %s, want uefi, or bios for amd64", o.Firmware, o.Arch)
	}
	drive := "if=none,id=disk,format=" + format + ",file=" + escape(o.Disk)
	if o.Snapshot {
		drive += ",snapshot=on"
	}
	args = append(args, "-drive", drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1")
	if o.Scratch != "" {
		args = append(args, "-drive", "if=none,id=scratch,format=raw,file="+escape(o.Scratch), "-device", "virtio-blk-pci,drive=scratch,serial="+o.ScratchSerial)
	}
	if o.Network {
		args = append(args, "-nic", "user,model=virtio-net-pci")
	} else {
		args = append(args, "-nic", "none")
	}
	if o.NoReboot {
		args = append(args, "-no-reboot")
	}
	return args, nil
}

// complete fills in what is not set, and returns the format of the disk.
func (o *Options) complete() (format string, err error) {
	found, err := Detect(o.Disk)
	if err != nil {
		return "", err
	}
	if o.Arch == "" {
		o.Arch = found.Arch
	}
	if o.Firmware == "" {
		o.Firmware = found.Firmware
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < 0 {
		return "", fmt.Errorf("memory of %d MiB", o.Memory)
	}
	if o.Accel == "" {
		o.Accel = os.Getenv("ACCEL")
	}
	if o.Accel == "" {
		o.Accel = "tcg"
	}
	return found.Format, nil
}

// usable opens path as QEMU would: the file is often there without the right to open it.
func usable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// escape doubles commas, which else end a value.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// machine is how QEMU imitates an architecture.
type machine struct {
	program, qemuPackage string
	cpu                  string // for tcg
	args                 []string
	firmware             []firmware
	firmwarePackage      string
}

// firmware is a UEFI in two parts that belong together: a mixed pair never starts.
type firmware struct{ code, vars string }

// The paths are those of Debian and Ubuntu, Fedora, Arch, and openSUSE.
var machines = map[string]machine{
	"amd64": {
		program: "qemu-system-x86_64", qemuPackage: "qemu-system-x86", cpu: "qemu64", firmwarePackage: "ovmf",
		firmware: []firmware{
			{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
			{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
			{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
			{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
			{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
		},
	},
	"arm64": {
		// The largest cpu model emulates pointer authentication, at a quarter of the speed.
		program: "qemu-system-aarch64", qemuPackage: "qemu-system-arm", cpu: "cortex-a57", args: []string{"-M", "virt"},
		firmwarePackage: "qemu-efi-aarch64",
		firmware: []firmware{
			{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
			{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
			{"/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"},
			{"/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"},
		},
	},
}

func (m machine) find(stat func(string) (os.FileInfo, error)) (firmware, error) {
	for _, fw := range m.firmware {
		_, err := stat(fw.code)
		_, verr := stat(fw.vars)
		if errors.Join(err, verr) == nil {
			return fw, nil
		}
	}
	return firmware{}, &MissingError{"UEFI firmware (" + m.firmware[0].code + ")", m.firmwarePackage}
}
