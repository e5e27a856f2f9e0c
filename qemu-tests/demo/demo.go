package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// demo is one run.
type demo struct {
	*vm.Program
	bin, images, out string
	start            time.Time
	machine          *vm.Machine
}

func newDemo(bin, images, out string) *demo {
	return &demo{Program: &vm.Program{Name: "demo"}, bin: bin, images: images, out: out, start: time.Now()}
}

// run is the story.
func (d *demo) run() {
	d.build()
	d.say("power on", "under QEMU, with UEFI firmware and Debian's GRUB")
	d.machine = vm.Start(d, vm.Config{Firmware: vm.UEFI, MemoryMB: 768, Disks: []vm.Disk{
		{Path: d.path("disk.img")}, {Path: d.path("v2.bundle"), Snapshot: true},
	}})
	d.boot("A", "committed")
	d.guest("slotctl install /dev/vdb")
	d.restart("reboot: the update is on trial, and nobody will commit it")
	for range 3 {
		d.boot("B", "trial")
		d.restart("reset: nobody has committed")
	}
	d.boot("A", "fallback")
	d.guest("slotctl status")
	d.guest("slotctl install /dev/vdb")
	d.restart("reboot: the same update again")
	d.boot("B", "trial")
	d.guest("slotctl commit")
	d.restart("reboot")
	d.boot("B", "committed")
	d.guest("slotctl status")
	d.shell("poweroff", false)
	d.machine.WaitExit()
	d.say("power off", "the device stays on slot B, version v2")
}

// build turns the container images into a disk and a bundle.
func (d *demo) build() {
	d.must(os.RemoveAll(d.out))
	d.must(os.MkdirAll(d.out, 0o755))
	for _, version := range []string{"v1", "v2"} {
		d.mkimage("build", "--version", version, "--cmdline", "console=ttyS0 quiet systemd.show_status=no",
			"oci:"+d.images+":"+version, d.path(version))
	}
	d.mkimage("disk", d.path("v1"), d.path("disk.img"))
	d.mkimage("bundle", d.path("v2"), d.path("v2.bundle"))
}

func (d *demo) path(name string) string { return filepath.Join(d.out, name) }

// mkimage runs one mkimage command and says how long it took and what it made.
func (d *demo) mkimage(args ...string) {
	began := time.Now()
	cmd := exec.Command(filepath.Join(d.bin, "mkimage"), args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		d.Fatalf("mkimage %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	made := args[len(args)-1]
	d.say("mkimage "+args[0], fmt.Sprintf("%s, %s, %.1f s", filepath.Base(made), megabytes(made), time.Since(began).Seconds()))
}

// megabytes tells how much room a file or folder takes on the disk.
func megabytes(path string) string {
	var sum int64
	filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return fmt.Sprintf("%d MB", sum/1e6)
}

// boot waits until the image's own userland is up and checks which slot it came from and why.
func (d *demo) boot(slot, why string) {
	m := d.machine.WaitLine(`slotboot: boot slot=([AB]) why=(\S+) count=(\d+) limit=(\d+)`)
	what := fmt.Sprintf("slot %s, %s", m[1], m[2])
	if m[2] == "trial" {
		what += fmt.Sprintf(" %s/%s", m[3], m[4])
	}
	if m[1] != slot || m[2] != why {
		d.Fatalf("boot: %s, want slot %s, %s", what, slot, why)
	}
	up := d.machine.WaitLine(`appliance: version (\S+) is up`)
	d.machine.WaitPrompt("# ")
	d.say("boot", fmt.Sprintf("%-22s Debian is up, version %s", what, up[1]))
}

// guest runs a command on the device's console and shows what it prints.
func (d *demo) guest(command string) {
	d.say("device", "# "+command)
	for _, line := range d.shell(command, true) {
		fmt.Printf("%27s%s\n", "", line)
	}
}

// noise is what shares the serial console with a command's words: the progress bars that slotctl draws while it writes,
// and the kernel's messages.
var noise = regexp.MustCompile(`.*\[\d+m?\d*s:\d+m?\d*s\]\s*|^\[ *\d+\.\d+\] .*`)

// shell types a command; with wait it returns the lines printed until the prompt is back.
func (d *demo) shell(command string, wait bool) []string {
	before := len(d.machine.Lines())
	if !wait {
		d.machine.SendLine(command)
		return nil
	}
	d.machine.SendLine(command + "; echo status=$?")
	d.machine.WaitLine(`^\s*status=\d+`)
	d.machine.WaitPrompt("# ")
	var lines []string
	for _, line := range d.machine.Lines()[before:] {
		text := strings.TrimRight(noise.ReplaceAllString(line.Text, ""), " ")
		if text != "" && !strings.Contains(text, "status=") {
			lines = append(lines, text)
		}
	}
	return lines
}

func (d *demo) restart(why string) {
	if strings.HasPrefix(why, "reset") {
		d.machine.Reset()
	} else {
		d.shell("reboot", false)
	}
	d.say("device", why)
}

// say prints one row of the timeline.
func (d *demo) say(who, what string) {
	t := time.Since(d.start)
	fmt.Printf("%2d:%02d  %-20s %s\n", int(t.Minutes()), int(t.Seconds())%60, who, what)
}

func (d *demo) must(err error) {
	if err != nil {
		d.Fatal(err)
	}
}
