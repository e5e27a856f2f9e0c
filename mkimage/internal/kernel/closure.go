package kernel

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// depsOf returns the names that the module name needs, in load order.
func (m *Modules) depsOf(name string) ([]string, error) {
	if m.deps != nil {
		return m.deps[name], nil
	}
	info, err := m.info(name)
	if err != nil {
		return nil, err
	}
	return info.depends, nil
}

// softOf returns what should be loaded around the module name. To what depmod or the module says comes what the module
// asks modprobe for, which an initrd does not have: see asks.
func (m *Modules) softOf(name string) (softdep, error) {
	s := softdep{pre: m.asks[name]}
	if m.hasSoft {
		return s.and(m.soft[name]), nil
	}
	info, err := m.info(name)
	if err != nil {
		return softdep{}, err
	}
	return s.and(info.soft), nil
}

// aliasesOf returns the patterns that the module name answers to.
func (m *Modules) aliasesOf(name string) ([]string, error) {
	if !m.hasAlias {
		info, err := m.info(name)
		if err != nil {
			return nil, err
		}
		return info.aliases, nil
	}
	var patterns []string
	for _, a := range m.aliases {
		if a.name == name {
			patterns = append(patterns, a.pattern)
		}
	}
	return patterns, nil
}

// resolve returns the modules that a name or alias means: itself, or every module that has the alias. Nothing when it is
// built in or not there.
func (m *Modules) resolve(want string) ([]string, error) {
	name := Name(want)
	if m.Has(name) {
		return []string{name}, nil
	}
	matches := func(a alias) bool {
		ok, err := path.Match(Name(a.pattern), name)
		return ok && err == nil
	}
	if m.Builtin(name) || slices.ContainsFunc(m.builtinAliases, matches) {
		return nil, nil
	}
	if !m.hasAlias {
		if err := m.scanCrypto(); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, a := range m.aliases {
		if matches(a) && !slices.Contains(names, a.name) {
			names = append(names, a.name)
		}
	}
	return names, nil
}

// scanCrypto reads the aliases of the modules that soft dependencies name by alias, which are algorithms ("crc32c"),
// where no modules.alias lists them. Reading every module of a full kernel would take a minute.
func (m *Modules) scanCrypto() error {
	if m.aliases != nil {
		return nil
	}
	m.aliases = []alias{}
	for _, name := range slices.Sorted(maps.Keys(m.paths)) {
		dir := "/" + path.Dir(m.paths[name]) + "/"
		if !strings.Contains(dir, "/crypto/") && !strings.Contains(dir, "/lib/") {
			continue
		}
		info, err := m.info(name)
		if err != nil {
			return err
		}
		for _, p := range info.aliases {
			m.aliases = append(m.aliases, alias{p, name})
		}
	}
	return nil
}

// walk lists modules in the order in which they can be loaded: what a module needs stands in front of it.
type walk struct {
	m     *Modules
	seen  map[string]bool
	order []string // names
	// missing are the names that a module needs and that are not there. Only modprobe could say whether it would matter.
	missing []string
}

// add appends the module name, what it needs, and its soft dependencies where they exist.
func (w *walk) add(name string) error {
	if w.seen[name] {
		return nil
	}
	w.seen[name] = true
	if !w.m.Has(name) {
		if !w.m.Builtin(name) {
			w.missing = append(w.missing, name)
		}
		return nil
	}
	soft, err := w.m.softOf(name)
	if err != nil {
		return err
	}
	deps, err := w.m.depsOf(name)
	if err != nil {
		return err
	}
	if err := w.addSoft(soft.pre); err != nil {
		return err
	}
	for _, dep := range deps {
		if err := w.add(dep); err != nil {
			return err
		}
	}
	w.order = append(w.order, name)
	return w.addSoft(soft.post)
}

func (w *walk) addSoft(wants []string) error {
	for _, want := range wants {
		names, err := w.m.resolve(want)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := w.add(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// hardDeps returns everything the module name needs, directly or not, in load order.
func (m *Modules) hardDeps(name string) ([]string, error) {
	var order []string
	seen := map[string]bool{name: true}
	var visit func(string) error
	visit = func(n string) error {
		deps, err := m.depsOf(n)
		if err != nil {
			return err
		}
		for _, dep := range deps {
			if seen[dep] || !m.Has(dep) {
				continue
			}
			seen[dep] = true
			if err := visit(dep); err != nil {
				return err
			}
			order = append(order, dep)
		}
		return nil
	}
	if err := visit(name); err != nil {
		return nil, fmt.Errorf("dependencies of %s: %w", name, err)
	}
	return order, nil
}
