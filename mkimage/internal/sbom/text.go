package sbom

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// stanzas splits a database of "Key: value" or "K:value" lines into its paragraphs. Lines that go on another are left out.
func stanzas(text string) []map[string]string {
	var all []map[string]string
	var one map[string]string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			one = nil
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || line[0] == ' ' || line[0] == '\t' {
			continue
		}
		if one == nil {
			one = map[string]string{}
			all = append(all, one)
		}
		if _, twice := one[key]; !twice {
			one[key] = strings.TrimSpace(value)
		}
	}
	return all
}

// readAny returns the text of the first of names that is there, or nothing.
func readAny(root fs.FS, names ...string) (string, error) {
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return string(text), err
		}
	}
	return "", nil
}

// dpkg reads var/lib/dpkg/status and, of distroless images, the files in status.d.
func dpkg(root fs.FS) ([]Package, error) {
	text, err := readAny(root, "var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	texts := []string{text}
	const more = "var/lib/dpkg/status.d"
	entries, err := fs.ReadDir(root, more)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasSuffix(e.Name(), ".md5sums") {
			continue
		}
		text, err := readAny(root, path.Join(more, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	var list []Package
	for _, text := range texts {
		for _, s := range stanzas(text) {
			// "install ok installed"; distroless has no status. Removed packages whose files stay are "config-files".
			if status, has := s["Status"]; s["Package"] != "" && (!has || strings.HasSuffix(status, " installed")) {
				list = append(list, Package{Kind: "deb", Name: s["Package"], Version: s["Version"], Arch: s["Architecture"]})
			}
		}
	}
	return list, nil
}

// apk reads the database of Alpine's package manager, whose keys are single letters.
func apk(root fs.FS) ([]Package, error) {
	text, err := readAny(root, "lib/apk/db/installed", "usr/lib/apk/db/installed")
	if err != nil {
		return nil, err
	}
	var list []Package
	for _, s := range stanzas(text) {
		if s["P"] != "" {
			list = append(list, Package{Kind: "apk", Name: s["P"], Version: s["V"], Arch: s["A"], License: s["L"]})
		}
	}
	return list, nil
}

// pacman reads var/lib/pacman/local/*/desc: "%NAME%", a line, an empty line.
func pacman(root fs.FS) ([]Package, error) {
	names, err := fs.Glob(root, "var/lib/pacman/local/*/desc")
	if err != nil {
		return nil, err
	}
	var list []Package
	for _, name := range names {
		text, err := readAny(root, name)
		if err != nil {
			return nil, err
		}
		p := Package{Kind: "alpm"}
		lines := strings.Split(text, "\n")
		for i, line := range lines[:len(lines)-1] {
			switch value := strings.TrimSpace(lines[i+1]); strings.TrimSpace(line) {
			case "%NAME%":
				p.Name = value
			case "%VERSION%":
				p.Version = value
			case "%ARCH%":
				p.Arch = value
			case "%LICENSE%":
				p.License = value
			}
		}
		if p.Name != "" {
			list = append(list, p)
		}
	}
	return list, nil
}
