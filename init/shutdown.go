package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
)

// dataAside is where the data partition is moved during a shutdown.
const dataAside = "/data"

// shutdown is what systemd runs as process 1 when all else has ended, with the old root at /oldroot and the way to end
// as the first argument: see "man bootup", "the shutdown initrd". It unmounts the old root and ends.
//
// The old root cannot be unmounted from the deepest mount upwards: it is an overlay over a squashfs in a loop device
// over a file on the data partition, which is mounted below the old root itself. So the data partition moves out first.
func shutdown(m sys.Machine, args []string) {
	how := ending(args)
	mounts := readMounts(m)
	if len(mounts) == 0 { // systemd moves /proc along; another caller may not
		m.Mount(overlay.Mount{Source: "proc", Target: "/proc", Type: "proc"})
		mounts = readMounts(m)
	}
	m.Mount(overlay.Mount{Target: "/", Flags: overlay.Private}) // a shared mount cannot be moved
	for _, target := range mounts {
		if strings.HasSuffix(target, overlay.Data) {
			m.Mount(overlay.Mount{Source: target, Target: dataAside, Flags: overlay.Move})
			break
		}
	}
	left := unmountOld(m)
	for _, target := range left {
		m.Mount(overlay.Mount{Target: target, Flags: overlay.Remount | overlay.ReadOnly}) // better than dirty
		m.Note("slotboot: note still mounted: " + target)
	}
	m.Say("slotboot: shutdown how=" + how.String() + " left=" + strconv.Itoa(len(left)))
	err := m.Reboot(how)
	m.Say("slotboot: note " + err.Error())
	m.Reboot(sys.Restart)
}

func ending(args []string) sys.Ending {
	if len(args) == 0 {
		return sys.Restart
	}
	switch args[0] {
	case "poweroff", "exit":
		return sys.PowerOff
	case "halt":
		return sys.Halt
	case "kexec":
		return sys.Kexec
	}
	return sys.Restart
}

// unmountPatience is how long a shutdown waits for mounts that are still busy.
const unmountPatience = 2 * time.Second

// unmountOld unmounts the old root and the data partition, and returns what stays. Each round takes away what the round
// before had kept busy. Loop and dm-verity devices go away by themselves, but only some time after their last user.
func unmountOld(m sys.Machine) []string {
	for deadline := m.Uptime() + unmountPatience; ; {
		var left []string
		progress := false
		mounts := readMounts(m)
		for i := len(mounts) - 1; i >= 0; i-- {
			if !ofOldRoot(mounts[i]) {
				continue
			}
			if m.Unmount(mounts[i]) == nil {
				progress = true
			} else {
				left = append(left, mounts[i])
			}
		}
		if len(left) == 0 || !progress && m.Uptime() >= deadline {
			return left
		}
		if !progress {
			m.Wait(20 * time.Millisecond)
		}
	}
}

func ofOldRoot(target string) bool {
	return target == "/oldroot" || strings.HasPrefix(target, "/oldroot/") || target == dataAside ||
		strings.HasPrefix(target, overlay.Base+"/")
}

// readMounts returns the places where something is mounted, in the order in which it was mounted.
func readMounts(m sys.Machine) []string {
	text, err := os.ReadFile(m.Path("/proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	var targets []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 {
			targets = append(targets, unescapeMount(f[4]))
		}
	}
	return targets
}

// unescapeMount undoes the octal escapes of space, tab, newline and backslash, see proc(5).
func unescapeMount(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}
