package overlay

import (
	"fmt"
	"strings"
)

// The places of a boot, in the initramfs and, but for NewRoot, in the booted system.
const (
	Base    = "/run/slotboot"
	Data    = Base + "/data"    // the data partition
	Rootfs  = Base + "/rootfs"  // the slot's squashfs
	Overlay = Base + "/overlay" // the tmpfs that takes what the system writes
	Env     = Base + "/env"     // the partition of the environment block, only while init needs it
	NewRoot = "/sysroot"        // the merged root, until it becomes /

	upper = Overlay + "/upper"
	work  = Overlay + "/work"
)

// Flags say how to mount.
type Flags uint

// The mount flags that plans use.
const (
	ReadOnly Flags = 1 << iota
	NoSuid
	NoDev
	NoExec
	Move    // move the mount at Source to Target
	Remount // change the flags of the mount at Target
	Bind    // show the file system at Source at Target as well, without what is mounted below
	Private // keep what happens at Target, and below, from other mount namespaces and peers
)

// Mount is one mount as a value. Target and the folders in Make are created when they are missing.
type Mount struct {
	Source, Target, Type string
	Flags                Flags
	Data                 string // options of the file system, as mount(2) takes them
	Make                 []string
}

// String returns the mount as a person would type it.
func (m Mount) String() string {
	switch {
	case m.Flags&Move != 0:
		return "move " + m.Source + " to " + m.Target
	case m.Flags&Remount != 0 && m.Flags&ReadOnly != 0:
		return "remount " + m.Target + " read-only"
	case m.Flags&Remount != 0:
		return "remount " + m.Target + " read-write"
	case m.Flags&Bind != 0:
		return "bind " + m.Source + " to " + m.Target
	case m.Flags&Private != 0:
		return "make " + m.Target + " private"
	}
	return "mount " + m.Type + " " + m.Source + " on " + m.Target
}

// Early returns the mounts that come first, before anything can be read or loaded.
//
// /run is executable: systemd looks for /run/initramfs/shutdown with access(2), which a noexec mount refuses.
func Early() []Mount {
	return []Mount{
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Flags: NoSuid, Data: "mode=0755"},
		{Source: "proc", Target: "/proc", Type: "proc", Flags: NoSuid | NoDev | NoExec},
		{Source: "sysfs", Target: "/sys", Type: "sysfs", Flags: NoSuid | NoDev | NoExec},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: NoSuid | NoDev, Data: "mode=0755"},
	}
}

// Plan returns the mounts that make the root of a boot at NewRoot: the squashfs on device below, a tmpfs above.
func Plan(device string, o Options) []Mount {
	return []Mount{
		{Source: device, Target: Rootfs, Type: "squashfs", Flags: ReadOnly},
		{Source: "tmpfs", Target: Overlay, Type: "tmpfs", Flags: NoSuid | NoDev, Data: o.String()},
		{
			Source: "overlay", Target: NewRoot, Type: "overlay", Make: []string{upper, work},
			Data: "lowerdir=" + Rootfs + ",upperdir=" + upper + ",workdir=" + work,
		},
	}
}

// Moves returns the mounts that go along into the new root: what Early mounted, with everything mounted below.
func Moves() []Mount {
	var moves []Mount
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		moves = append(moves, Mount{Source: dir, Target: NewRoot + dir, Flags: Move})
	}
	return moves
}

// Options are the settings of the tmpfs in slotboot.overlay=.
type Options struct {
	Size   string // tmpfs size: bytes, with k, m or g behind it, or a share of the RAM with %
	Mode   string // permissions of the tmpfs itself, octal; the merged root has those of the image's root folder
	Inodes string // most files and folders, with k, m or g behind it; empty: as many as tmpfs wants
}

// DefaultOptions is what counts where slotboot.overlay= says nothing: half the RAM, as tmpfs itself has it.
func DefaultOptions() Options { return Options{Size: "50%", Mode: "0755"} }

// ParseOptions reads the value of slotboot.overlay=, for example "size=25%,mode=0755". What it does not understand
// keeps its default and is named in the error, which the caller reports but need not stop for: a typing mistake must
// not cost a boot.
func ParseOptions(text string) (Options, error) {
	o := DefaultOptions()
	var bad []string
	for _, field := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(field, "=")
		switch {
		case field == "":
		case name == "size" && isAmount(value, "kKmMgG%"):
			o.Size = value
		case name == "mode" && isMode(value):
			o.Mode = value
		case name == "nr_inodes" && isAmount(value, "kKmMgG"):
			o.Inodes = value
		default:
			bad = append(bad, field)
		}
	}
	if len(bad) > 0 {
		return o, fmt.Errorf("read overlay options %q: not understood: %s", text, strings.Join(bad, ", "))
	}
	return o, nil
}

// String returns the options as tmpfs takes them.
func (o Options) String() string {
	text := "size=" + o.Size + ",mode=" + o.Mode
	if o.Inodes != "" {
		text += ",nr_inodes=" + o.Inodes
	}
	return text
}

// isAmount accepts a decimal above zero, for tmpfs takes zero as "no limit at all", with one of units behind it. Nine
// digits keep any unit within 64 bits.
func isAmount(text, units string) bool {
	if n := len(text); n > 0 && strings.IndexByte(units, text[n-1]) >= 0 {
		text = text[:n-1]
	}
	digits := strings.TrimLeft(text, "0")
	return digits != "" && len(digits) <= 9 && strings.Trim(digits, "0123456789") == ""
}

func isMode(text string) bool {
	return (len(text) == 3 || len(text) == 4) && strings.Trim(text, "01234567") == ""
}
