package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Kernel is a kernel with its modules.
type Kernel struct {
	Release    string
	Path       string // of the image in the root, without a leading slash
	ModulesDir string // likewise; empty for a kernel without modules
	Image      *Image
	Modules    *Modules // never nil
	Config     Config   // nil when it is nowhere to be found
}

// Options says which kernel is wanted. The zero value takes the only one there is.
type Options struct {
	Release string // as uname -r prints it; empty: the only one
	Arch    string // GOARCH; empty: any
}

// NotFoundError says that there is no kernel, or not the one asked for.
type NotFoundError struct {
	Want   string   // the release asked for, or empty
	Have   []string // releases that are there
	Looked []string // places that were looked at
	Odd    []string // what was there but did not do
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	b.WriteString("no kernel in the image")
	if e.Want != "" {
		fmt.Fprintf(&b, ": want %s", e.Want)
		if len(e.Have) > 0 {
			fmt.Fprintf(&b, ", have %s", strings.Join(e.Have, ", "))
			return b.String()
		}
	}
	fmt.Fprintf(&b, " (looked at %s)", strings.Join(e.Looked, ", "))
	for _, odd := range e.Odd {
		b.WriteString("; " + odd)
	}
	return b.String()
}

// Hint says what to do about it.
func (e *NotFoundError) Hint() string {
	if len(e.Have) > 0 {
		return "choose one with --kernel " + e.Have[0]
	}
	return "install a kernel package in the image (Debian: linux-image-amd64; Fedora: kernel-core; Alpine: linux-lts), or bring one with --kernel-file FILE --modules-dir DIR"
}

// SeveralError says that there are several kernels and none was chosen.
type SeveralError struct{ Releases []string }

func (e *SeveralError) Error() string {
	return "several kernels in the image: " + strings.Join(e.Releases, ", ")
}

// Hint says what to do about it.
func (e *SeveralError) Hint() string {
	return "choose one with --kernel " + e.Releases[len(e.Releases)-1]
}

// ArchError says that the kernel is for another architecture than the one asked for.
type ArchError struct{ Path, Got, Want string }

func (e *ArchError) Error() string {
	return fmt.Sprintf("kernel %s is for %s, want %s", e.Path, e.Got, e.Want)
}

// Hint says what to do about it.
func (e *ArchError) Hint() string { return "choose the image with --platform linux/" + e.Got }

// Where kernels are. The first match wins, because on a usr-merged root both module folders are one.
var (
	moduleRoots = []string{"usr/lib/modules", "lib/modules"}
	besideNames = []string{"vmlinuz", "Image", "vmlinux"}
	bootNames   = []string{"vmlinuz", "Image", "bzImage", "kernel", "vmlinux"}
	ukiFolders  = []string{"boot/EFI/Linux", "efi/EFI/Linux", "boot/efi/EFI/Linux"}
)

// Find looks for the kernel of root, by layout:
//
//   - each folder under usr/lib/modules and lib/modules that holds modules is a release;
//   - its kernel is vmlinuz, Image or vmlinux in that folder (Fedora, bootc, Arch, openSUSE), else boot/vmlinuz-RELEASE
//     (Debian, Ubuntu, Void), else the file in boot/ whose embedded version is RELEASE or whose flavour
//     usr/share/kernel/FLAVOUR/kernel.release names (Alpine);
//   - without any of those, a unified kernel image in that folder (Fedora's kernel-uki-virt) or in EFI/Linux;
//   - a kernel in boot/ without any modules folder is taken as one with everything built in.
//
// Errors to test for: *NotFoundError, *SeveralError, *ArchError and ErrNotKernel. Those with a Hint method have one.
func Find(root fs.FS, opt Options) (*Kernel, error) {
	f := finder{root: root}
	found, err := f.all()
	if err != nil {
		return nil, fmt.Errorf("find kernel: %w", err)
	}
	k, err := f.choose(found, opt.Release)
	if err != nil {
		return nil, fmt.Errorf("find kernel: %w", err)
	}
	if k.Modules, err = openModules(root, k.ModulesDir); err != nil {
		return nil, err
	}
	if err := load(root, k, opt.Arch); err != nil {
		return nil, err
	}
	return k, nil
}

// Outside makes a kernel from a kernel file and a folder of modules that are not in the image. modules is the folder
// that holds modules.dep or kernel/; nil means a kernel with everything built in.
func Outside(name string, data []byte, modules fs.FS, opt Options) (*Kernel, error) {
	img, err := Inspect(data)
	if err != nil {
		return nil, fmt.Errorf("read kernel %s: %w", name, err)
	}
	k := &Kernel{Path: name, Release: img.Release, Image: img}
	if opt.Release != "" {
		k.Release = opt.Release
	}
	if k.Release == "" {
		return nil, fmt.Errorf("read kernel %s: it does not tell its release: name it with --kernel", name)
	}
	if img.Release != "" && img.Release != k.Release {
		return nil, fmt.Errorf("read kernel %s: it is %s, want %s", name, img.Release, k.Release)
	}
	if opt.Arch != "" && img.Arch != opt.Arch {
		return nil, &ArchError{Path: name, Got: img.Arch, Want: opt.Arch}
	}
	if k.Modules, err = readModules(modules); err != nil {
		return nil, err
	}
	if modules != nil {
		k.ModulesDir = "."
	} else {
		modules = emptyFS{}
	}
	k.Config = findConfig(modules, k)
	return k, nil
}

// load reads the image and the configuration of k.
func load(root fs.FS, k *Kernel, arch string) error {
	data, err := fs.ReadFile(root, k.Path)
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	if k.Image, err = Inspect(data); err != nil {
		return fmt.Errorf("read kernel %s: %w", k.Path, err)
	}
	if arch != "" && k.Image.Arch != arch {
		return &ArchError{Path: k.Path, Got: k.Image.Arch, Want: arch}
	}
	if k.Image.Release != "" && k.Image.Release != k.Release {
		return fmt.Errorf("read kernel %s: it is %s, but its modules are %s", k.Path, k.Image.Release, k.Release)
	}
	k.Config = findConfig(root, k)
	return nil
}

type finder struct {
	root     fs.FS
	looked   []string
	odd      []string
	releases map[string]string // of the files in boot/: path -> embedded release; nil: not read yet
}

// all returns the kernels with a file and a release, sorted by release.
func (f *finder) all() ([]*Kernel, error) {
	var found []*Kernel
	seen := map[string]bool{}
	for _, dir := range moduleRoots {
		f.looked = append(f.looked, dir+"/*/{vmlinuz,Image}")
		entries, err := fs.ReadDir(f.root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			mods := path.Join(dir, e.Name())
			if seen[e.Name()] || !validRelease(e.Name()) || !f.holdsModules(mods) {
				continue
			}
			seen[e.Name()] = true
			if p := f.locate(mods, e.Name()); p != "" {
				found = append(found, &Kernel{Release: e.Name(), Path: p, ModulesDir: mods})
			} else {
				f.odd = append(f.odd, "modules without their kernel: "+mods)
			}
		}
	}
	f.looked = append(f.looked, "boot/{vmlinuz,Image,bzImage,kernel}*", "{boot,efi}/EFI/Linux/*.efi")
	if len(seen) == 0 {
		found = f.bare()
	}
	slices.SortFunc(found, func(a, b *Kernel) int { return compareReleases(a.Release, b.Release) })
	return found, nil
}

func (f *finder) holdsModules(dir string) bool {
	for _, name := range []string{"modules.dep", "modules.builtin", "kernel", "vmlinuz"} {
		if _, err := fs.Stat(f.root, path.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// locate returns the path of the kernel of one release, or nothing.
func (f *finder) locate(mods, release string) string {
	var names []string
	for _, n := range besideNames {
		names = append(names, path.Join(mods, n))
	}
	for _, n := range bootNames {
		names = append(names, "boot/"+n+"-"+release)
	}
	for _, name := range names {
		if fi, err := fs.Stat(f.root, name); err == nil && fi.Mode().IsRegular() {
			return name
		}
	}
	entries, _ := fs.ReadDir(f.root, mods)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".efi") && !e.IsDir() { // add-ons are in folders beside it
			return path.Join(mods, e.Name())
		}
	}
	f.readBoot()
	for _, name := range slices.Sorted(maps.Keys(f.releases)) {
		if f.releases[name] == release {
			return name
		}
	}
	return ""
}

// bare returns the kernels in boot/ of a root that has no modules at all.
func (f *finder) bare() []*Kernel {
	f.readBoot()
	var found []*Kernel
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(f.releases)) {
		if r := f.releases[name]; !seen[r] {
			seen[r] = true
			found = append(found, &Kernel{Release: r, Path: name})
		}
	}
	return found
}

// readBoot reads the release out of every kernel in boot/. Rescue kernels, copies of another, are left out.
func (f *finder) readBoot() {
	if f.releases != nil {
		return
	}
	f.releases = map[string]string{}
	var names []string
	for _, dir := range append([]string{"boot"}, ukiFolders...) {
		entries, _ := fs.ReadDir(f.root, dir)
		for _, e := range entries {
			isKernel := dir != "boot" && strings.HasSuffix(strings.ToLower(e.Name()), ".efi")
			if isKernel || dir == "boot" && slices.ContainsFunc(bootNames, func(n string) bool { return strings.HasPrefix(e.Name(), n) }) {
				names = append(names, path.Join(dir, e.Name()))
			}
		}
	}
	for _, name := range names {
		if strings.Contains(path.Base(name), "rescue") {
			continue
		}
		fi, err := fs.Stat(f.root, name)
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		data, err := fs.ReadFile(f.root, name)
		if err != nil {
			continue
		}
		img, err := Inspect(data)
		if err != nil {
			f.odd = append(f.odd, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		if img.Release == "" {
			img.Release = f.alpineRelease(path.Base(name))
		}
		if img.Release == "" {
			f.odd = append(f.odd, name+" does not tell its release")
			continue
		}
		f.releases[name] = img.Release
	}
	for name, r := range f.releases {
		f.odd = append(f.odd, fmt.Sprintf("%s is %s", name, r))
	}
	slices.Sort(f.odd)
}

// alpineRelease returns what usr/share/kernel/lts/kernel.release says about boot/vmlinuz-lts.
func (f *finder) alpineRelease(name string) string {
	_, flavour, _ := strings.Cut(name, "-")
	if flavour == "" {
		return ""
	}
	text, err := fs.ReadFile(f.root, "usr/share/kernel/"+flavour+"/kernel.release")
	if err != nil {
		return ""
	}
	return firstWord(append(text, '\n'))
}

func (f *finder) choose(found []*Kernel, release string) (*Kernel, error) {
	var have []string
	for _, k := range found {
		if k.Release == release {
			return k, nil
		}
		have = append(have, k.Release)
	}
	if release != "" || len(found) == 0 {
		return nil, &NotFoundError{Want: release, Have: have, Looked: f.looked, Odd: f.odd}
	}
	if len(found) > 1 {
		return nil, &SeveralError{have}
	}
	return found[0], nil
}
