// Package vm runs machines under QEMU for tests: it starts them, reads their serial console line by line, types on it,
// and pulls their plug.
//
// The first serial port is QEMU's standard input and output, and for QMP it connects to a unix socket on which this
// package listens: there is no race at the start, and end of file means that QEMU is gone. (The serial port is no socket
// because QEMU writes single bytes: some 280 of them fill a socket's buffer, and a guest whose port stalls for a moment
// drops text. A pipe holds a mebibyte of them.) Emulation is plain TCG unless ACCEL=kvm is set: /dev/kvm may exist and
// still hang.
//
// Waiting never polls. Every wait has a time limit and a limit without output, because a machine shared with others
// has boots that take ten times as long as a quiet one; both are multiplied by the number in SLOTBOOT_TIME_SCALE.
// When a wait fails the test fails; and when a test fails, for whatever reason, its log has the whole transcript.
//
// The package imports the standard library only, so that tests of every floor can use it.
package vm

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// TB is what the package needs of a test; *testing.T and *testing.B are ones. A program that is no test can bring its
// own.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Log(args ...any)
	Skip(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
}

// Firmware is what runs before the first byte of the disk or the kernel.
type Firmware int

// The firmwares.
const (
	UEFI   Firmware = iota // OVMF or AAVMF, with a fresh copy of its variables
	BIOS                   // SeaBIOS; amd64 only
	Kernel                 // none: QEMU loads Config.Kernel itself
)

// Disk is a drive with a raw image.
type Disk struct {
	Path string
	// Snapshot discards what the machine writes. Without it the file is changed, and can be read after PowerCut.
	Snapshot bool
	// Device is QEMU's device model. Default: "virtio-blk-pci". "nvme" and "ide-hd" work too.
	Device   string
	ReadOnly bool
	// Log, if not empty, is the file that gets every write and flush in their order; see ReadWriteLog.
	Log string
}

// Config describes a machine. The zero value of a field means its default, if it has one.
type Config struct {
	Arch     string // "amd64" (default) or "arm64"
	Firmware Firmware
	Kernel   string // with Firmware Kernel: a bzImage, an arm64 Image, or a PVH ELF file
	Initrd   string
	Append   string // the kernel command line
	Disks    []Disk
	MemoryMB int // default: 512
	// NoReboot makes a restart end QEMU instead; see WaitExit.
	NoReboot bool
	// Limit is the time limit of a wait that has no own, Quiet the limit without any output. Defaults: 5 and 2
	// minutes. Choose at least ten times what a quiet machine needs.
	Limit, Quiet time.Duration
	Args         []string // more arguments for QEMU
}

// Machine is a running QEMU.
type Machine struct {
	tb      TB
	config  Config
	pid     int
	typed   *os.File // to the serial port
	printed *os.File // from it
	qmp     net.Conn
	replies chan error // to QMP commands, in their order
	console console
	gone    chan struct{} // closed when QEMU has ended
	stderr  bytes.Buffer  // QEMU's own messages; complete when gone is closed
}

// Start starts a machine and returns when QEMU has connected. The machine is killed when the test ends. Without QEMU
// or the firmware the test is skipped, or fails if REQUIRE_TOOLS=1.
func Start(tb TB, config Config) *Machine {
	tb.Helper()
	m := &Machine{tb: tb, config: config.withDefaults(), gone: make(chan struct{})}
	// Not tb.TempDir: its path has the test's name in it, and a socket's path must fit 108 bytes.
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	args, err := m.config.arguments(dir)
	if err != nil {
		absent(tb, err)
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		absent(tb, fmt.Errorf("%s is not installed: apt-get install %s", args[0], m.config.arch().qemuPackage))
	}
	m.console.init(m.config)
	qmps := listen(tb, filepath.Join(dir, "qmp"))
	cmd := exec.Command(program, args[1:]...)
	if err := m.connect(cmd); err != nil {
		tb.Fatalf("start QEMU: %v", err)
	}
	cmd.Stderr = &m.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = m.run(cmd)
	cmd.Stdin.(*os.File).Close()
	cmd.Stdout.(*os.File).Close()
	if err != nil {
		tb.Fatalf("start QEMU: %v", err)
	}
	tb.Cleanup(func() {
		m.PowerCut()
		if tb.Failed() {
			tb.Log(m.transcript())
		}
	})
	go m.console.read(m.printed)
	m.qmp = m.accept(qmps)
	m.openQMP()
	return m
}

// connect makes the pipes of the serial port. cmd gets the far ends, to be closed once it runs.
func (m *Machine) connect(cmd *exec.Cmd) error {
	in, typed, err := os.Pipe()
	if err != nil {
		return err
	}
	printed, out, err := os.Pipe()
	if err != nil {
		return err
	}
	const setPipeSize = 1031 // F_SETPIPE_SZ; if it is refused the usual 64 KiB must do
	syscall.Syscall(syscall.SYS_FCNTL, out.Fd(), setPipeSize, 1<<20)
	cmd.Stdin, cmd.Stdout = in, out
	m.typed, m.printed = typed, printed
	m.tb.Cleanup(func() { typed.Close(); printed.Close() })
	return nil
}

// run starts cmd on a thread of its own: the death signal comes when that thread ends, not the process.
func (m *Machine) run(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			m.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is of no interest: kills are normal here
			close(m.gone)
		}
	}()
	return <-started
}

func listen(tb TB, path string) *net.UnixListener {
	tb.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

// accept waits for QEMU to connect, or to die of a wrong argument.
func (m *Machine) accept(l *net.UnixListener) net.Conn {
	m.tb.Helper()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-m.gone:
			l.SetDeadline(time.Now())
		case <-done:
		}
	}()
	l.SetDeadline(time.Now().Add(scaled(time.Minute)))
	conn, err := l.Accept()
	if err != nil {
		m.kill()
		m.tb.Fatalf("start QEMU: it does not connect: %v\n%s", err, &m.stderr)
	}
	return conn
}

// kill ends QEMU and waits until it is gone.
func (m *Machine) kill() {
	select {
	case <-m.gone:
		return
	default:
	}
	syscall.Kill(m.pid, syscall.SIGKILL)
	<-m.gone
}

// PowerCut kills QEMU. What the guest had written to its disks, and nothing else, is in the images when it returns.
func (m *Machine) PowerCut() {
	m.kill()
	if m.qmp != nil {
		m.qmp.Close()
	}
}

// SendLine types text and a newline on the serial console.
func (m *Machine) SendLine(text string) {
	m.tb.Helper()
	if _, err := m.typed.WriteString(text + "\n"); err != nil {
		m.tb.Fatalf("type %q: %v", text, err)
	}
}

func (c Config) withDefaults() Config {
	if c.Arch == "" {
		c.Arch = "amd64"
	}
	if c.MemoryMB == 0 {
		c.MemoryMB = 512
	}
	if c.Limit == 0 {
		c.Limit = 5 * time.Minute
	}
	if c.Quiet == 0 {
		c.Quiet = 2 * time.Minute
	}
	return c
}

// arch is what QEMU needs to be told, and what it needs installed, for an architecture.
type arch struct {
	program, qemuPackage string
	machine, cpu         string
	code, vars           string // UEFI firmware
	firmwarePackage      string
}

func (c Config) arch() arch {
	if c.Arch == "arm64" {
		// -cpu max emulates pointer authentication: five times slower.
		return arch{"qemu-system-aarch64", "qemu-system-arm", "virt", "cortex-a57",
			"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd", "qemu-efi-aarch64"}
	}
	// Code and variables must be a pair of one size: another pair spins for ever.
	return arch{"qemu-system-x86_64", "qemu-system-x86", "pc", "",
		"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "ovmf"}
}

// arguments returns QEMU's command. Files that belong to the machine go to dir.
func (c Config) arguments(dir string) ([]string, error) {
	a := c.arch()
	accel := "tcg"
	if os.Getenv("ACCEL") == "kvm" {
		accel, a.cpu = "kvm", "host"
	}
	args := []string{a.program, "-accel", accel, "-machine", a.machine, "-smp", "1", "-m", strconv.Itoa(c.MemoryMB),
		"-nodefaults", "-nic", "none", "-display", "none",
		"-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0",
		"-chardev", "socket,id=qmp0,path=" + filepath.Join(dir, "qmp"), "-mon", "chardev=qmp0,mode=control"}
	if a.cpu != "" {
		args = append(args, "-cpu", a.cpu)
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	switch c.Firmware {
	case UEFI:
		vars := filepath.Join(dir, "vars.fd")
		content, err := os.ReadFile(a.vars)
		if err != nil {
			return nil, fmt.Errorf("%w: apt-get install %s", err, a.firmwarePackage)
		}
		if err := os.WriteFile(vars, content, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+a.code,
			"-drive", "if=pflash,format=raw,unit=1,file="+vars)
	case Kernel:
		args = append(args, "-kernel", c.Kernel)
		if c.Initrd != "" {
			args = append(args, "-initrd", c.Initrd)
		}
		if c.Append != "" {
			args = append(args, "-append", c.Append)
		}
	}
	args = append(args, c.Args...) // before the disks: a controller that Disk.Device names may be among them
	for i, disk := range c.Disks {
		device := disk.Device
		if device == "" {
			device = "virtio-blk-pci"
		}
		drive, err := disk.drive()
		if err != nil {
			return nil, err
		}
		drive += fmt.Sprintf(",id=disk%d", i)
		device += fmt.Sprintf(",drive=disk%d,serial=disk%d", i, i)
		if c.Firmware != Kernel { // the kernel takes the first place
			device += fmt.Sprintf(",bootindex=%d", i)
		}
		args = append(args, "-drive", drive, "-device", device)
	}
	return args, nil
}

// drive returns the -drive argument of d, without its id.
//
// Writes are unsafe only if the host crashes: those of QEMU survive its own death. SeaBIOS and GRUB know no flush, so
// that QEMU would wait for the host's disk after every sector: four times the time for a thousand saves.
func (d Disk) drive() (string, error) {
	path := strings.ReplaceAll(d.Path, ",", ",,")
	if d.Log == "" {
		drive := "if=none,format=raw,cache=unsafe,file=" + path
		if d.Snapshot {
			drive += ",snapshot=on"
		}
		if d.ReadOnly {
			drive += ",readonly=on"
		}
		return drive, nil
	}
	log, err := os.Create(d.Log) // QEMU wants it to be there
	if err != nil {
		return "", err
	}
	// The log must see the flushes, the files need none.
	return "if=none,driver=blklogwrites,cache.no-flush=off,file.driver=file,file.cache.no-flush=on,file.filename=" + path +
		",log.driver=file,log.cache.no-flush=on,log.filename=" + strings.ReplaceAll(d.Log, ",", ",,"), log.Close()
}

// absent skips the test because of what err says is not there, or fails it when REQUIRE_TOOLS=1.
func absent(tb TB, err error) {
	tb.Helper()
	if os.Getenv("REQUIRE_TOOLS") == "1" {
		tb.Fatal(err)
	}
	tb.Skip(err)
}

// scaled returns d times the number in SLOTBOOT_TIME_SCALE.
func scaled(d time.Duration) time.Duration {
	if scale, err := strconv.ParseFloat(os.Getenv("SLOTBOOT_TIME_SCALE"), 64); err == nil && scale > 0 {
		return time.Duration(float64(d) * scale)
	}
	return d
}
