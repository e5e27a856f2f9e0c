package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/internal/sys"
	"golang.org/x/term"
)

// confirm shows what is on a device and asks whether all of it may go.
func (a *app) confirm(device string, bytes int64, yes bool) error {
	fmt.Fprintf(a.err, "%s: %s\n", device, describeDisk("/sys", device, bytes))
	for _, line := range describeContent("/sys", device) {
		fmt.Fprintf(a.err, "  %s\n", line)
	}
	if yes {
		return nil
	}
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usage("--to %s: want --yes, because nobody can be asked here", device)
	}
	fmt.Fprintf(a.err, "Everything on %s will be lost. Type yes to go on: ", device)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(fmt.Errorf("not confirmed: %s is as it was", device), err)
	}
	return nil
}

// describeDisk says what a disk is, by what the kernel tells in the folder sysfs.
func describeDisk(sysfs, device string, bytes int64) string {
	folder := filepath.Join(sysfs, "class/block", deviceName(device))
	words := []string{}
	for _, file := range []string{"device/vendor", "device/model"} {
		if text := attribute(folder, file); text != "" {
			words = append(words, text)
		}
	}
	parts := []string{screen.Size(bytes)}
	if len(words) > 0 {
		parts = append([]string{strings.Join(words, " ")}, parts...)
	}
	if attribute(folder, "removable") == "1" {
		parts = append(parts, "removable")
	}
	return strings.Join(parts, ", ")
}

// describeContent says what is on a disk, a line for each partition.
func describeContent(sysfs, device string) []string {
	name := deviceName(device)
	entries, _ := filepath.Glob(filepath.Join(sysfs, "class/block", name, name+"*", "partition"))
	var lines []string
	for _, entry := range entries {
		part := filepath.Base(filepath.Dir(entry))
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%-12s %s", part, describeFS("/dev/"+part)), " "))
	}
	slices.Sort(lines)
	if fs := describeFS(device); len(lines) == 0 && fs != "" {
		lines = append(lines, fs)
	}
	if len(lines) == 0 {
		lines = append(lines, "no partitions, nothing that mkimage knows")
	}
	return lines
}

func describeFS(node string) string {
	f, err := os.Open(node)
	if err != nil {
		return ""
	}
	defer f.Close()
	id, err := sys.Identify(f)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(id.Type + " " + id.Label)
}

func deviceName(device string) string {
	if real, err := filepath.EvalSymlinks(device); err == nil {
		device = real
	}
	return filepath.Base(device)
}

func attribute(folder, file string) string {
	text, _ := os.ReadFile(filepath.Join(folder, file))
	return strings.Join(strings.Fields(string(text)), " ")
}

// steps shows the progress of several steps, one after the other.
func (a *app) steps(estimate int64) (progress func(step string, done, total int64), end func()) {
	var m *screen.Meter
	current := ""
	progress = func(step string, done, total int64) {
		if total == 0 {
			total = max(estimate, done)
		}
		if step != current {
			if m != nil {
				m.Done()
			}
			m, current = a.meter(step, total), step
		}
		m.Set(done, total)
	}
	return progress, func() {
		if m != nil {
			m.Done()
		}
	}
}
