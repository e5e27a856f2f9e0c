package main

import (
	"bufio"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// The kinds of change.
const (
	changeAdded   = "added"
	changeRemoved = "removed"
	changeChanged = "changed"
)

// fileChange is one path that is not the same on both sides.
type fileChange struct {
	Path       string   `json:"path"`
	Change     string   `json:"change"`
	SizeBefore int64    `json:"size_before"` // bytes of a regular file
	Size       int64    `json:"size"`
	Delta      int64    `json:"delta_size,omitempty"` // about how many bytes of the delta, where one was made
	What       []string `json:"what,omitempty"`       // of a changed one: content, type, mode, owner, target, mtime, device
}

// packageChange is one package that is not the same on both sides.
type packageChange struct {
	Name          string `json:"name"`
	Change        string `json:"change"`
	VersionBefore string `json:"version_before,omitempty"`
	Version       string `json:"version,omitempty"`
}

// compareFiles lists the paths that differ, in ascending order. Folders whose time alone changed are not worth a line.
func compareFiles(before, after map[string]fileState) []fileChange {
	changes := []fileChange{}
	for _, path := range bothKeys(before, after) {
		x, had := before[path]
		y, has := after[path]
		c := fileChange{Path: path, SizeBefore: x.bytes(), Size: y.bytes()}
		switch {
		case !had:
			c.Change = changeAdded
		case !has:
			c.Change = changeRemoved
		default:
			c.Change, c.What = changeChanged, x.differs(y)
			if len(c.What) == 0 || len(c.What) == 1 && c.What[0] == "mtime" && y.Mode.IsDir() {
				continue
			}
		}
		changes = append(changes, c)
	}
	return changes
}

// bytes is the size of a regular file, 0 for others.
func (s fileState) bytes() int64 {
	if s.Mode.IsRegular() {
		return s.Size
	}
	return 0
}

// permissions are the bits of a mode that are not its type.
const permissions = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// differs names what is not the same.
func (s fileState) differs(to fileState) []string {
	var what []string
	for _, d := range []struct {
		name string
		is   bool
	}{
		{"type", s.Mode.Type() != to.Mode.Type()},
		{"content", s.Mode.IsRegular() && to.Mode.IsRegular() && s.sum != to.sum},
		{"mode", s.Mode&permissions != to.Mode&permissions},
		{"owner", s.UID != to.UID || s.GID != to.GID},
		{"target", s.Target != to.Target},
		{"device", s.Major != to.Major || s.Minor != to.Minor},
		{"mtime", !s.ModTime.Equal(to.ModTime)},
	} {
		if d.is {
			what = append(what, d.name)
		}
	}
	return what
}

// comparePackages lists the packages that differ, by name.
func comparePackages(before, after map[string]string) []packageChange {
	changes := []packageChange{}
	for _, name := range bothKeys(before, after) {
		x, had := before[name]
		y, has := after[name]
		switch {
		case !had:
			changes = append(changes, packageChange{name, changeAdded, "", y})
		case !has:
			changes = append(changes, packageChange{name, changeRemoved, x, ""})
		case x != y:
			changes = append(changes, packageChange{name, changeChanged, x, y})
		}
	}
	return changes
}

func bothKeys[V any](a, b map[string]V) []string {
	all := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(all)
	return slices.Compact(all)
}

// readPackages reads a file to its end and takes the packages from it if it is the database of dpkg or apk.
func readPackages(packages map[string]string, path string, r io.Reader) error {
	name, version := "", ""
	switch path {
	case "var/lib/dpkg/status":
		name, version = "Package: ", "Version: "
	case "lib/apk/db/installed", "usr/lib/apk/db/installed":
		name, version = "P:", "V:"
	default:
		_, err := io.Copy(io.Discard, r)
		return err
	}
	in := bufio.NewReader(r)
	current := ""
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, name); ok {
			current = rest
			packages[current] = ""
		} else if rest, ok := strings.CutPrefix(line, version); ok && current != "" {
			packages[current] = rest
		}
		if line == "" {
			current = ""
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
