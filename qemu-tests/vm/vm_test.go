package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// bootSector prints a line with an escape sequence in front, then echoes what is typed; "R" restarts the machine and
// "P" powers it off. In the source of the GNU assembler:
//
//	cld; xorw %ax,%ax; movw %ax,%ds; movw $0x7c3d,%si
//	1: lodsb; testb %al,%al; jz 2f; call put; jmp 1b                # print the text
//	2: movw $0x3fd,%dx; inb %dx,%al; testb $1,%al; jz 2b            # wait for a byte
//	movw $0x3f8,%dx; inb %dx,%al
//	cmpb $'R',%al; je 3f; cmpb $'P',%al; je 4f; call put; jmp 2b
//	3: movb $0xfe,%al; outb %al,$0x64; hlt                          # the keyboard controller's reset line
//	4: movw $0x604,%dx; movw $0x2000,%ax; outw %ax,%dx; hlt         # ACPI's S5
//	put: movw $0x3f8,%dx; outb %al,%dx; ret
const bootSector = "\xfc\x31\xc0\x8e\xd8\xbe\x3d\x7c" +
	"\xac\x84\xc0\x74\x05\xe8\x28\x00\xeb\xf6" +
	"\xba\xfd\x03\xec\xa8\x01\x74\xf8" +
	"\xba\xf8\x03\xec" +
	"\x3c\x52\x74\x09\x3c\x50\x74\x0a\xe8\x0f\x00\xeb\xe7" +
	"\xb0\xfe\xe6\x64\xf4" +
	"\xba\x04\x06\xb8\x00\x20\xef\xf4" +
	"\xba\xf8\x03\xee\xc3" +
	"\x1b[2J\x1b[01;01Hhello from the boot sector\r\n\x00"

func startBootSector(t *testing.T, change func(*Config)) *Machine {
	t.Helper()
	sector := make([]byte, 512)
	copy(sector, bootSector)
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "boot, sector.img") // with a comma, which QEMU wants doubled
	if err := os.WriteFile(path, append(sector, make([]byte, 1<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{Firmware: BIOS, MemoryMB: 32, Disks: []Disk{{Path: path, Snapshot: true}}}
	if change != nil {
		change(&config)
	}
	return Start(t, config)
}

func TestAMachineIsReadTypedOnResetAndCut(t *testing.T) {
	m := startBootSector(t, nil)
	if got := m.WaitLine(`^hello from the (.*)$`); got[1] != "boot sector" {
		t.Fatalf("WaitLine = %q", got)
	}
	m.SendLine("as typed")
	m.WaitLine(`^as typed$`)
	if memory := m.Memory(); len(memory) != 32<<20 || string(memory[0x7c00:][:len(bootSector)]) != bootSector {
		t.Errorf("the boot sector is not in the %d bytes of memory", len(memory))
	}
	m.Reset()
	m.WaitLine(`^vm: QMP event: RESET$`)
	m.WaitLine(`hello from the boot sector$`)
	m.SendLine("before\nand a R")
	m.WaitPrompt("and a ")
	which, _ := m.WaitAny(`no such line`, `hello`)
	if which != 1 {
		t.Errorf("WaitAny = %d, want 1", which)
	}
	m.PowerCut()
	n := 0
	for _, line := range m.Lines() {
		if strings.Contains(line.Text, "hello") {
			n++
		}
	}
	if n != 3 {
		t.Errorf("the boot sector said hello %d times, want 3", n)
	}
}

func TestAMachineThatPowersOffOrRestartsEndsAWait(t *testing.T) {
	m := startBootSector(t, nil)
	m.WaitLine(`hello`)
	m.SendLine("P")
	m.WaitExit()

	m = startBootSector(t, func(c *Config) { c.NoReboot = true })
	m.WaitLine(`hello`)
	m.SendLine("R")
	m.WaitExit()
}

// failing runs do with a testing.TB that records the first failure instead of ending the test.
func failing(t *testing.T, m *Machine, do func()) (failure string) {
	fake := &recorder{TB: t}
	m.tb = fake
	done := make(chan struct{})
	go func() { // Fatalf must not return, and only ending the goroutine ends do
		defer close(done)
		do()
	}()
	<-done
	m.tb = t
	return fake.failure
}

type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAWaitEndsAtItsLimits(t *testing.T) {
	m := startBootSector(t, nil)
	m.WaitLine(`hello`)
	m.console.quiet = 50 * time.Millisecond
	if got := failing(t, m, func() { m.WaitLine(`never`) }); !strings.Contains(got, "no output for") {
		t.Errorf("WaitLine on a silent machine fails with %q", got)
	}
	m.console.limit, m.console.quiet = 50*time.Millisecond, time.Hour
	if got := failing(t, m, func() { m.WaitPrompt("login: ") }); !strings.Contains(got, "not within") {
		t.Errorf("WaitPrompt fails with %q", got)
	}
	m.console.limit = time.Hour
	m.PowerCut()
	if got := failing(t, m, func() { m.WaitLine(`never`) }); !strings.Contains(got, "QEMU has ended") {
		t.Errorf("WaitLine on a dead machine fails with %q", got)
	}
	if log := m.transcript(); !strings.Contains(log, "hello from the boot sector\n") {
		t.Errorf("the transcript lacks what the machine printed: %q", log)
	}
}

func TestHalfALineMatchesNothing(t *testing.T) {
	var c console
	c.init(Config{Limit: time.Minute, Quiet: time.Minute})
	c.add([]byte("whole\r\nhal"), false)
	if len(c.lines) != 1 || c.lines[0].Text != "whole" {
		t.Fatalf("lines = %v, want one", c.lines)
	}
	c.add([]byte("f\n"), true)
	texts := []string{c.lines[0].Text, c.lines[1].Text}
	if !slices.Equal(texts, []string{"whole", "half"}) {
		t.Errorf("lines = %q", texts)
	}
}

func TestEscapeSequencesAreNotText(t *testing.T) {
	for raw, want := range map[string]string{
		"\x1b[0m\x1b[30m\x1b[40mGRUB\r": "GRUB",
		"\x1b[2J\x1b[01;01Hx":           "x",
		"\x1b[?25hcursor\x1b7":          "cursor",
		"\x1b(Bset":                     "set",
		"\xffbyte":                      "?byte",
	} {
		if got := clean([]byte(raw)); got != want {
			t.Errorf("clean(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestTheTimeScaleStretchesLimits(t *testing.T) {
	t.Setenv("SLOTBOOT_TIME_SCALE", "2.5")
	if got := scaled(time.Second); got != 2500*time.Millisecond {
		t.Errorf("scaled(1s) = %v", got)
	}
	t.Setenv("SLOTBOOT_TIME_SCALE", "-1")
	if got := scaled(time.Second); got != time.Second {
		t.Errorf("scaled(1s) with a senseless scale = %v", got)
	}
}

func TestAWrongArgumentFailsWithQEMUsOwnWords(t *testing.T) {
	fake := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Start(fake, Config{Firmware: BIOS, MemoryMB: 32, Args: []string{"-no-such-option"}})
	}()
	<-done
	if !strings.Contains(fake.failure, "no-such-option") {
		t.Errorf("Start fails with %q, want QEMU's message", fake.failure)
	}
}

func TestPartitionsRefusesWhatIsNoGPT(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if _, err := Partitions(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Partitions of no file: %v", err)
	}
	for _, content := range []string{"", strings.Repeat("x", 4096)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if parts, err := Partitions(path); err == nil {
			t.Errorf("Partitions of %d bytes of rubbish = %v, %v", len(content), parts, err)
		}
	}
}
