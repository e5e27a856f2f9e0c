package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slotboot/slotboot/internal/sys"
)

// alwaysFile lists the modules that every machine gets: one a line in load order, relative to the release's folder.
const alwaysFile = "/etc/slotboot/modules"

// modules loads kernel modules from the initramfs by the tables that depmod makes, see modules.dep(5).
type modules struct {
	m       sys.Machine
	dir     string              // /lib/modules/RELEASE
	deps    map[string][]string // file -> files it needs, most dependent first
	files   map[string]string   // name -> file
	aliases []alias
	soft    map[string][]string // name -> names to load before it
	params  map[string]string
	barred  map[string]bool // not to be loaded because of a device's alias
	asked   map[string]bool // by name: each is looked up once
	tried   map[string]bool // by file: each is tried once
	beside  map[string]bool // by file: always loads it beside the boot, until settle
	wait    func()          // for those beside; nil: none
	note    func(string)
}

type alias struct{ pattern, name string }

func newModules(m sys.Machine, cfg config, note func(string)) *modules {
	release, _ := os.ReadFile(m.Path("/proc/sys/kernel/osrelease"))
	mods := &modules{
		m: m, dir: "/lib/modules/" + strings.TrimSpace(string(release)), note: note,
		deps: map[string][]string{}, files: map[string]string{}, soft: map[string][]string{},
		params: cfg.moduleParams, barred: cfg.blacklist, asked: map[string]bool{}, tried: map[string]bool{},
		beside: map[string]bool{},
	}
	mods.lines("modules.dep", func(line string) {
		file, needs, _ := strings.Cut(line, ":")
		mods.deps[file] = strings.Fields(needs)
		mods.files[moduleName(file)] = file
	})
	mods.lines("modules.alias", func(line string) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
			mods.aliases = append(mods.aliases, alias{f[1], moduleName(f[2])})
		}
	})
	mods.lines("modules.softdep", func(line string) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "softdep" {
			name := moduleName(f[1])
			mods.soft[name] = append(mods.soft[name], softBefore(f[2:])...)
		}
	})
	return mods
}

// softBefore returns the modules of a softdep line that come first: those behind "pre:", or in front of any mark, for
// some kernels leave it out.
func softBefore(fields []string) []string {
	var names []string
	before := true
	for _, f := range fields {
		switch f {
		case "pre:":
			before = true
		case "post:":
			before = false
		default:
			if before {
				names = append(names, moduleName(f))
			}
		}
	}
	return names
}

func (mods *modules) lines(name string, each func(line string)) {
	text, err := os.ReadFile(mods.m.Path(mods.dir + "/" + name))
	if err != nil {
		return // the initramfs may have nothing to load by alias
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			each(line)
		}
	}
}

// always loads the modules of alwaysFile beside the boot: what the root is mounted with is not needed before there is a
// disk, and checking the signatures of modules takes most of the time that a boot takes. What claims the processor comes
// first: a faster hash, for those signatures too.
func (mods *modules) always() {
	text, err := os.ReadFile(mods.m.Path(alwaysFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			mods.note(err.Error())
		}
		return
	}
	files := mods.forProcessor()
	for line := range strings.Lines(string(text)) {
		if file := strings.TrimSpace(line); file != "" && file[0] != '#' {
			files = append(files, file)
		}
	}
	files = slices.DeleteFunc(files, func(file string) bool {
		twice := mods.tried[file]
		mods.tried[file], mods.beside[file] = true, true
		return twice
	})
	var errs []error
	done := mods.m.Beside(func() {
		for _, file := range files {
			errs = append(errs, mods.load(file))
		}
	})
	mods.wait = func() {
		done()
		for _, err := range errs {
			if err != nil {
				mods.note(err.Error())
			}
		}
	}
}

// forProcessor returns the modules that claim the processor. They need no others.
func (mods *modules) forProcessor() []string {
	var files []string
	text, _ := os.ReadFile(mods.m.Path("/sys/devices/system/cpu/modalias"))
	if name := strings.TrimSpace(string(text)); name != "" {
		for _, a := range mods.aliases {
			file := mods.files[a.name]
			if strings.HasPrefix(a.pattern, "cpu:") && matchAlias(a.pattern, name) && !mods.barred[a.name] && len(mods.deps[file]) == 0 && file != "" {
				files = append(files, file)
			}
		}
	}
	return files
}

// settle returns when everything that is loaded beside the boot is there.
func (mods *modules) settle() {
	if mods.wait != nil {
		mods.wait()
		mods.wait = nil
		clear(mods.beside)
	}
}

// quick are the drivers of buses whose devices answer at once. They go first: when the data partition is on one, what
// else the machine has is left to the image's own udev. An IDE controller without disks takes seconds to say so.
func quick(name string) bool {
	switch name {
	case "virtio_pci", "virtio_mmio", "virtio_blk", "nvme", "xen_blkfront":
		return true
	}
	return false
}

// watchdogs are the drivers that a trial needs besides, see armWatchdog.
func watchdogs(name string) bool {
	return strings.HasSuffix(name, "_wdt") || name == "i6300esb" || name == "sp5100_tco"
}

func anyDriver(string) bool { return true }

// coldplug loads a driver for each device that the kernel has found, once each, if wanted says so of the driver. It
// returns whether it has loaded any: drivers may reveal further devices, and the caller comes again.
func (mods *modules) coldplug(wanted func(name string) bool) bool {
	if len(mods.aliases) == 0 {
		return false
	}
	before := len(mods.tried)
	buses, _ := os.ReadDir(mods.m.Path("/sys/bus"))
	for _, bus := range buses {
		folder := mods.m.Path("/sys/bus/" + bus.Name() + "/devices")
		devices, _ := os.ReadDir(folder)
		for _, device := range devices {
			if text, err := os.ReadFile(folder + "/" + device.Name() + "/modalias"); err == nil {
				mods.byAlias(strings.TrimSpace(string(text)), wanted)
			}
		}
	}
	return len(mods.tried) > before
}

// byAlias loads every wanted module that claims the device or facility called name. It returns false if none does.
func (mods *modules) byAlias(name string, wanted func(name string) bool) bool {
	found := false
	for _, a := range mods.aliases {
		if wanted(a.name) && matchAlias(a.pattern, name) && !mods.barred[a.name] {
			found = true
			mods.byName(a.name)
		}
	}
	return found
}

// byName loads the module called name and what it needs. A name that the initramfs does not hold may be built into the
// kernel: that is no error.
func (mods *modules) byName(name string) {
	name = moduleName(name)
	file, ok := mods.files[name]
	if mods.beside[file] {
		mods.settle()
	}
	if !ok || mods.asked[name] || mods.tried[file] {
		return
	}
	mods.asked[name] = true // before the others: soft dependencies may go in a circle
	for _, before := range mods.soft[name] {
		mods.byName(before)
	}
	needs := mods.deps[file]
	for i := len(needs) - 1; i >= 0; i-- {
		mods.byName(needs[i])
		mods.insert(needs[i]) // if it has no line of its own
	}
	mods.insert(file)
}

func (mods *modules) insert(file string) {
	if mods.beside[file] {
		mods.settle()
	}
	if mods.tried[file] {
		return
	}
	mods.tried[file] = true
	if err := mods.load(file); err != nil {
		mods.note(err.Error())
	}
}

func (mods *modules) load(file string) error {
	return mods.m.LoadModule(mods.m.Path(mods.dir+"/"+file), mods.params[moduleName(file)])
}

// filesystem loads what mounting kind takes, if the kernel does not have it yet.
func (mods *modules) filesystem(kind string) {
	if mods.mounts(kind) {
		return
	}
	if mods.settle(); mods.mounts(kind) {
		return
	}
	if !mods.byAlias("fs-"+kind, anyDriver) {
		mods.byName(kind)
	}
}

// mounts says whether the kernel has the file system kind.
func (mods *modules) mounts(kind string) bool {
	known, _ := os.ReadFile(mods.m.Path("/proc/filesystems"))
	for line := range strings.Lines(string(known)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == kind {
			return true
		}
	}
	return false
}

// facility loads module if the file that it provides is not there.
func (mods *modules) facility(module, file string) {
	if _, err := os.Lstat(mods.m.Path(file)); err == nil {
		return
	}
	mods.settle()
	if _, err := os.Lstat(mods.m.Path(file)); err != nil {
		mods.byName(module)
	}
}

// moduleName returns the name that the kernel uses for the module in file: "virtio_blk" of ".../virtio-blk.ko".
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// matchAlias matches as fnmatch(3) does without flags: * is any text, ? any byte, [a-z] one byte of a set.
func matchAlias(pattern, name string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for pattern != "" && pattern[0] == '*' {
				pattern = pattern[1:]
			}
			for i := 0; i <= len(name); i++ {
				if matchAlias(pattern, name[i:]) {
					return true
				}
			}
			return false
		case '[':
			end := strings.IndexByte(pattern, ']')
			if end < 0 || name == "" || !inSet(pattern[1:end], name[0]) {
				return false
			}
			pattern = pattern[end:]
		case '?':
			if name == "" {
				return false
			}
		default:
			if name == "" || name[0] != pattern[0] {
				return false
			}
		}
		pattern, name = pattern[1:], name[1:]
	}
	return name == ""
}

func inSet(set string, c byte) bool {
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= c && c <= set[i+2] {
				return true
			}
			i += 2
		} else if set[i] == c {
			return true
		}
	}
	return false
}
