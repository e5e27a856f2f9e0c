package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Module is one module to put into an initrd.
type Module struct {
	Name string
	Path string // below lib/modules/RELEASE, ending in .ko
	Data []byte // uncompressed
}

// Selection is what an initrd needs of a kernel's modules.
type Selection struct {
	Modules []Module // sorted by path
	// Always are the paths of what every boot on every machine takes, in load order. Each costs a signature check, about
	// 20 million instructions, so vfat, which a boot of a committed slot does not use, is among Modules only.
	Always []string
	// Dep, Alias and Softdep are modules.dep, modules.alias and modules.softdep in kmod's text format, reduced to Modules.
	Dep, Alias, Softdep []byte
}

// MissingError says which modules are neither built into the kernel nor there, although no boot goes without them.
type MissingError struct {
	Release string
	Names   []string
	Asked   bool // for by name, with --module
}

func (e *MissingError) Error() string {
	why := "which mounting the root needs"
	if e.Asked {
		why = "which was asked for"
	}
	return fmt.Sprintf("kernel %s: module missing, %s: %s (neither built in nor a file)", e.Release, why, strings.Join(e.Names, ", "))
}

// Hint says what to do about it.
func (e *MissingError) Hint() string {
	if e.Asked {
		return "names are as lsmod prints them"
	}
	return "install the package with the kernel's modules in the image (Ubuntu: linux-modules; Fedora: kernel-modules-core), or another kernel"
}

// Want says which modules an initrd should have beyond those that mounting the root takes.
type Want struct {
	Drivers []string // names of Groups; none: all of them
	Modules []string // names of modules or aliases
	Verity  bool     // the root has a dm-verity tree: every boot loads dm-verity, if it is a module
}

// Select returns the modules that bring a machine from the kernel to its root, with what they need.
//
// Names that this kernel does not know are passed over, except those without which no slot can be mounted and those in
// want.Modules: *MissingError.
func (k *Kernel) Select(want Want) (*Selection, error) {
	sel, err := k.selection(want)
	if err != nil {
		return nil, fmt.Errorf("select modules: %w", err)
	}
	return sel, nil
}

func (k *Kernel) selection(want Want) (*Selection, error) {
	asking := *k.Modules
	asking.asks = map[string][]string{verityModule: {verityHash}, vfatModule: charsets(k.Config)}
	m := &asking
	disks, err := drivers(want.Drivers)
	if err != nil {
		return nil, err
	}
	if err := k.checkNeeds(want.Modules); err != nil {
		return nil, err
	}
	w := walk{m: m, seen: map[string]bool{}}
	unclaimed, err := m.unclaimed(want.Modules)
	if err != nil {
		return nil, err
	}
	always, err := w.always(want.Verity, unclaimed)
	if err != nil {
		return nil, err
	}
	if err := w.add(vfatModule); err != nil {
		return nil, err
	}
	if len(w.missing) > 0 && len(m.builtin) > 0 {
		var missing []string
		for _, name := range w.missing {
			if !k.builtin(name) {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return nil, &MissingError{Release: k.Release, Names: missing}
		}
	}
	sel := &Selection{}
	for _, name := range always {
		sel.Always = append(sel.Always, plainPath(m.paths[name]))
	}
	if !m.Has("usbhid") && !m.Builtin("usbhid") {
		disks = slices.DeleteFunc(disks, func(name string) bool { return name == "hid_generic" })
	}
	if err := w.addSoft(slices.Concat([]string{verityModule}, fastHashes, disks, want.Modules)); err != nil {
		return nil, err
	}
	return sel, m.fill(sel, w.order)
}

// unclaimed returns those of wanted that answer to no alias: no device and no mount would ever have them loaded.
func (m *Modules) unclaimed(wanted []string) ([]string, error) {
	var found []string
	for _, want := range wanted {
		names, err := m.resolve(want)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			aliases, err := m.aliasesOf(name)
			if err != nil {
				return nil, err
			}
			if len(aliases) == 0 {
				found = append(found, name)
			}
		}
	}
	return found, nil
}

// always walks to what every boot takes, the modules more among it, and returns its names.
func (w *walk) always(verity bool, more []string) ([]string, error) {
	for _, need := range rootModules {
		if need.name == vfatModule {
			continue
		}
		if err := w.add(need.name); err != nil {
			return nil, err
		}
	}
	if !w.m.Has(vfatModule) { // built in: nothing loads the tables that it asks for
		more = slices.Concat(more, w.m.asks[vfatModule])
	}
	if verity {
		more = append(more, verityModule)
	}
	err := w.addSoft(more)
	return slices.Clone(w.order), err
}

// checkNeeds looks for what cannot be done without.
func (k *Kernel) checkNeeds(extra []string) error {
	var missing []string
	for _, need := range rootModules {
		if !k.Modules.Has(need.name) && !k.builtin(need.name) {
			missing = append(missing, need.name)
		}
	}
	if len(missing) > 0 {
		return &MissingError{Release: k.Release, Names: missing}
	}
	for _, name := range extra {
		names, err := k.Modules.resolve(name)
		if err != nil {
			return err
		}
		if len(names) == 0 && !k.builtin(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return &MissingError{Release: k.Release, Names: missing, Asked: true}
	}
	return nil
}

// builtin tells whether name is in the kernel, by its modules.builtin or, for a kernel without that file, by its
// configuration.
func (k *Kernel) builtin(name string) bool {
	if k.Modules.Builtin(name) {
		return true
	}
	for _, need := range rootModules {
		if need.name == Name(name) {
			return k.Config.Yes(need.config)
		}
	}
	return false
}

// HasVerity tells whether the kernel can read a root through a dm-verity tree.
func (k *Kernel) HasVerity() bool {
	return k.Modules.Has(verityModule) || k.Modules.Builtin(verityModule) || k.Config.Yes("DM_VERITY")
}

// fill reads the modules named in order and makes the files that tell init about them.
func (m *Modules) fill(sel *Selection, order []string) error {
	names := map[string]bool{}
	for _, name := range order {
		data, err := m.Read(plainPath(m.paths[name]))
		if err != nil {
			return err
		}
		names[name] = true
		sel.Modules = append(sel.Modules, Module{Name: name, Path: plainPath(m.paths[name]), Data: data})
	}
	slices.SortFunc(sel.Modules, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })

	var dep, ali, soft bytes.Buffer
	for _, mod := range sel.Modules {
		deps, err := m.hardDeps(mod.Name)
		if err != nil {
			return err
		}
		dep.WriteString(mod.Path + ":")
		for _, d := range slices.Backward(deps) {
			dep.WriteString(" " + plainPath(m.paths[d]))
		}
		dep.WriteByte('\n')
		patterns, err := m.aliasesOf(mod.Name)
		if err != nil {
			return err
		}
		for _, p := range patterns {
			fmt.Fprintf(&ali, "alias %s %s\n", p, mod.Name)
		}
		if err := m.writeSoft(&soft, mod.Name, names); err != nil {
			return err
		}
	}
	sel.Dep, sel.Alias, sel.Softdep = dep.Bytes(), ali.Bytes(), soft.Bytes()
	return nil
}

// writeSoft writes the soft dependencies of name among the modules in names, aliases resolved.
func (m *Modules) writeSoft(w *bytes.Buffer, name string, names map[string]bool) error {
	s, err := m.softOf(name)
	if err != nil {
		return err
	}
	var line string
	for _, part := range []struct {
		key   string
		wants []string
	}{{" pre:", s.pre}, {" post:", s.post}} {
		found := map[string]bool{}
		for _, want := range part.wants {
			got, err := m.resolve(want)
			if err != nil {
				return err
			}
			for _, n := range got {
				found[n] = names[n]
			}
		}
		maps.DeleteFunc(found, func(_ string, in bool) bool { return !in })
		if len(found) > 0 {
			line += part.key + " " + strings.Join(slices.Sorted(maps.Keys(found)), " ")
		}
	}
	if line != "" {
		fmt.Fprintf(w, "softdep %s%s\n", name, line)
	}
	return nil
}

// ReadFirmware returns the firmware file name, a path below the firmware folder of root, uncompressed.
func ReadFirmware(root fs.FS, name string) ([]byte, error) {
	for _, dir := range []string{"usr/lib/firmware/updates/", "usr/lib/firmware/", "lib/firmware/"} {
		for _, ext := range []string{"", ".xz", ".zst"} {
			data, err := fs.ReadFile(root, dir+name+ext)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil && ext != "" {
				data, err = decompress(data)
			}
			if err != nil {
				return nil, fmt.Errorf("read firmware %s: %w", name, err)
			}
			return data, nil
		}
	}
	return nil, fmt.Errorf("read firmware %s: %w", name, fs.ErrNotExist)
}
