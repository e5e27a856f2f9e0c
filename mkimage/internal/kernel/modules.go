package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Modules knows one release's modules: where they are, what they need and what is built into the kernel.
type Modules struct {
	root    fs.FS               // the folder that holds kernel/
	paths   map[string]string   // name -> path of the file
	deps    map[string][]string // name -> names of what it needs, in load order; nil without modules.dep
	aliases []alias             // in the order of modules.alias
	soft    map[string]softdep
	builtin map[string]bool // names

	hasAlias, hasSoft bool // whether there were files to read them from
	builtinAliases    []alias
	infos             map[string]*modinfo // read so far, by name
	asks              map[string][]string // name -> what it loads through modprobe when it is used, besides softdep lines
}

// alias is one line of modules.alias.
type alias struct{ pattern, name string }

// softdep is what should be loaded before and after a module, as names or aliases, where it exists.
type softdep struct{ pre, post []string }

// emptyFS is the folder of a kernel without modules.
type emptyFS struct{}

func (emptyFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func openModules(root fs.FS, dir string) (*Modules, error) {
	if dir == "" {
		return readModules(nil)
	}
	sub, err := fs.Sub(root, dir)
	if err != nil {
		return nil, fmt.Errorf("read modules %s: %w", dir, err)
	}
	m, err := readModules(sub)
	if err != nil {
		return nil, fmt.Errorf("read modules %s: %w", dir, err)
	}
	return m, nil
}

// readModules reads the files that depmod left. Without modules.dep the folder is searched for modules, whose own
// .modinfo then says what they need.
func readModules(root fs.FS) (*Modules, error) {
	if root == nil {
		root = emptyFS{}
	}
	m := &Modules{
		root: root, paths: map[string]string{}, soft: map[string]softdep{}, builtin: map[string]bool{}, infos: map[string]*modinfo{},
	}
	if err := m.readDep(); err != nil {
		return nil, err
	}
	if len(m.paths) == 0 {
		if err := m.search(); err != nil {
			return nil, err
		}
	}
	var err error
	if m.hasAlias, err = m.lines("modules.alias", m.addAlias); err != nil {
		return nil, err
	}
	if m.hasSoft, err = m.lines("modules.softdep", m.addSoft); err != nil {
		return nil, err
	}
	if _, err = m.lines("modules.builtin", func(line string) { m.builtin[moduleName(line)] = true }); err != nil {
		return nil, err
	}
	return m, m.readBuiltinInfo()
}

// lines calls each for every line of a file that is neither empty nor a comment. Without the file it returns false.
func (m *Modules) lines(name string, each func(line string)) (bool, error) {
	text, err := fs.ReadFile(m.root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			each(line)
		}
	}
	return true, nil
}

// readDep reads modules.dep, whose lines name a file and all it needs, directly or not, the most dependent first.
func (m *Modules) readDep() error {
	deps := map[string][]string{}
	ok, err := m.lines("modules.dep", func(line string) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			return
		}
		name := moduleName(file)
		m.paths[name] = relative(file)
		for _, dep := range slices.Backward(strings.Fields(rest)) {
			deps[name] = append(deps[name], moduleName(dep))
		}
	})
	if ok && len(m.paths) > 0 {
		m.deps = deps
	}
	return err
}

// relative takes the folder off a path in modules.dep: depmods older than 3.4 wrote absolute ones.
func relative(file string) string {
	if !strings.HasPrefix(file, "/") {
		return file
	}
	_, rest, _ := strings.Cut(file, "/modules/")
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}

// search finds the modules of a folder that depmod has not seen. Of two with one name, updates/ and extra/ win over
// kernel/, as in depmod's own default.
func (m *Modules) search() error {
	rank := func(file string) int {
		top, _, _ := strings.Cut(file, "/")
		return slices.Index([]string{"kernel", "extra", "updates"}, top)
	}
	return fs.WalkDir(m.root, ".", func(file string, d fs.DirEntry, err error) error {
		if file == "." && errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if err != nil {
			return fmt.Errorf("search modules: %w", err)
		}
		if file == "build" || file == "source" {
			// Links, or in some images folders, of kernel sources.
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() || !isModule(file) {
			return nil
		}
		name := moduleName(file)
		if old, ok := m.paths[name]; !ok || rank(file) > rank(old) {
			m.paths[name] = file
		}
		return nil
	})
}

// addAlias reads "alias PATTERN NAME".
func (m *Modules) addAlias(line string) {
	if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
		m.aliases = append(m.aliases, alias{f[1], Name(f[2])})
	}
}

// addSoft reads "softdep NAME pre: A B post: C". depmod passes on what a module says, and some leave out "pre:".
func (m *Modules) addSoft(line string) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "softdep" {
		return
	}
	name := Name(f[1])
	m.soft[name] = m.soft[name].and(parseSoft(f[2:]))
}

func parseSoft(words []string) softdep {
	var s softdep
	list := &s.pre
	for _, w := range words {
		switch w {
		case "pre:":
			list = &s.pre
		case "post:":
			list = &s.post
		default:
			*list = append(*list, w)
		}
	}
	return s
}

func (s softdep) and(t softdep) softdep {
	return softdep{slices.Concat(s.pre, t.pre), slices.Concat(s.post, t.post)}
}

// readBuiltinInfo reads the names and aliases of what is built in: NUL-separated "ext4.alias=fs-ext4".
func (m *Modules) readBuiltinInfo() error {
	data, err := fs.ReadFile(m.root, "modules.builtin.modinfo")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read modules.builtin.modinfo: %w", err)
	}
	for rec := range bytes.SplitSeq(data, []byte{0}) {
		key, value, _ := strings.Cut(string(rec), "=")
		name, field, ok := strings.Cut(key, ".")
		if !ok {
			continue
		}
		m.builtin[Name(name)] = true
		if field == "alias" {
			m.builtinAliases = append(m.builtinAliases, alias{value, Name(name)})
		}
	}
	return nil
}

// Name returns the one form of a module's name: modprobe takes "-" and "_" for the same.
func Name(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName returns the name of the module in file: "kernel/fs/nls/nls_iso8859-1.ko.xz" is nls_iso8859_1.
func moduleName(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return Name(base)
}

// extensions is how a module's file name may go on after ".ko", the likeliest first.
var extensions = []string{"", ".xz", ".zst", ".gz"}

func isModule(file string) bool {
	_, ext, ok := strings.Cut(path.Base(file), ".ko")
	return ok && slices.Contains(extensions, ext)
}

// plainPath is where the module stands in an initrd: without the compression's ending.
func plainPath(file string) string {
	dir, base := path.Split(file)
	name, _, _ := strings.Cut(base, ".ko")
	return dir + name + ".ko"
}

// Has tells whether there is a module of that name to load. A file that modules.dep lists and that the image has lost is
// not there.
func (m *Modules) Has(name string) bool {
	name = Name(name)
	file, ok := m.paths[name]
	if !ok {
		return false
	}
	for _, ext := range extensions {
		if _, err := fs.Stat(m.root, plainPath(file)+ext); err == nil {
			return true
		}
	}
	delete(m.paths, name)
	return false
}

// Builtin tells whether the kernel holds it.
func (m *Modules) Builtin(name string) bool { return m.builtin[Name(name)] }

// Read returns the module at file, a path that ends in .ko, uncompressed; it may be compressed in the folder.
func (m *Modules) Read(file string) ([]byte, error) {
	for _, ext := range extensions {
		data, err := fs.ReadFile(m.root, file+ext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && compressed(data) {
			data, err = decompress(data)
		}
		if err != nil {
			return nil, fmt.Errorf("read module %s: %w", file+ext, err)
		}
		return data, nil
	}
	return nil, fmt.Errorf("read module %s: %w", file, fs.ErrNotExist)
}
