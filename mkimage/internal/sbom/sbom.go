// Package sbom lists the packages that a root file system says are installed, as a CycloneDX document.
//
// It reads the databases of dpkg, apk, pacman and rpm (sqlite) themselves; nothing of the image is run.
package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Package is an installed package.
type Package struct {
	Kind    string // of its package URL: deb, apk, alpm, rpm
	Name    string
	Version string // as its package manager prints it
	Arch    string
	License string // an expression; empty where the database has none
	Epoch   string // of an rpm, whose package URL has it apart
}

// ErrUnreadable is in the error about a package database of a kind that is not read: Berkeley DB and ndb of older rpms.
var ErrUnreadable = errors.New("a database of this kind is not read")

// Packages returns what root says is installed, sorted. A root without any database has none. With ErrUnreadable come
// the packages of the other databases.
func Packages(root fs.FS) ([]Package, error) {
	var all []Package
	var unread error
	for _, read := range []func(fs.FS) ([]Package, error){dpkg, apk, pacman, rpm} {
		list, err := read(root)
		switch {
		case errors.Is(err, ErrUnreadable):
			unread = err
		case err != nil:
			return nil, fmt.Errorf("list packages: %w", err)
		}
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b Package) int {
		return strings.Compare(a.Kind+"\x00"+a.Name+"\x00"+a.Version+"\x00"+a.Arch, b.Kind+"\x00"+b.Name+"\x00"+b.Version+"\x00"+b.Arch)
	})
	return slices.Compact(all), unread
}

// OS is what /etc/os-release says about the distribution.
type OS struct{ ID, Version, Name string }

// ReadOS reads etc/os-release, or usr/lib/os-release. Without either, OS is empty.
func ReadOS(root fs.FS) OS {
	var os OS
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			value = strings.Trim(value, `"'`)
			switch key {
			case "ID":
				os.ID = value
			case "VERSION_ID":
				os.Version = value
			case "NAME":
				os.Name = value
			}
		}
		return os
	}
	return os
}

// Document is what a CycloneDX document is about.
type Document struct {
	OS       OS
	Packages []Package
	Created  time.Time
	Build    string // names the slot set; the document's serial number derives from it
	Tool     string // version of mkimage
}

// The parts of CycloneDX 1.6 that are written. https://cyclonedx.org/docs/1.6/json/
type (
	bom struct {
		Format       string      `json:"bomFormat"`
		SpecVersion  string      `json:"specVersion"`
		SerialNumber string      `json:"serialNumber"`
		Version      int         `json:"version"`
		Metadata     metadata    `json:"metadata"`
		Components   []component `json:"components"`
	}
	metadata struct {
		Timestamp string     `json:"timestamp"`
		Tools     tools      `json:"tools"`
		Component *component `json:"component,omitempty"`
	}
	tools struct {
		Components []component `json:"components"`
	}
	component struct {
		Type     string    `json:"type"`
		Ref      string    `json:"bom-ref,omitempty"`
		Name     string    `json:"name"`
		Version  string    `json:"version,omitempty"`
		Licenses []license `json:"licenses,omitempty"`
		PURL     string    `json:"purl,omitempty"`
	}
	license struct {
		License named `json:"license"`
	}
	named struct {
		Name string `json:"name"`
	}
)

// space is the name space of serial numbers, itself derived from the project's address.
var space = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/slotboot/slotboot#sbom"))

// Encode returns the document as CycloneDX 1.6 in JSON, the same bytes for the same document.
func (d Document) Encode() ([]byte, error) {
	b := bom{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1, SerialNumber: uuid.NewSHA1(space, []byte(d.Build)).URN(),
		Metadata:   metadata{Timestamp: d.Created.UTC().Format(time.RFC3339), Tools: tools{[]component{{Type: "application", Name: "mkimage", Version: d.Tool}}}},
		Components: []component{},
	}
	if d.OS.ID != "" {
		b.Metadata.Component = &component{Type: "operating-system", Name: d.OS.ID, Version: d.OS.Version}
	}
	seen := map[string]bool{}
	for _, p := range d.Packages {
		c := component{Type: "library", Name: p.Name, Version: p.Version, PURL: p.url(d.OS)}
		if c.Ref = c.PURL; seen[c.Ref] {
			continue
		}
		seen[c.Ref] = true
		if p.License != "" {
			c.Licenses = []license{{named{p.License}}}
		}
		b.Components = append(b.Components, c)
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode package list: %w", err)
	}
	return append(text, '\n'), nil
}

// url returns the package URL: pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12. https://github.com/package-url
func (p Package) url(os OS) string {
	var b strings.Builder
	b.WriteString("pkg:" + p.Kind + "/")
	if os.ID != "" {
		b.WriteString(escape(os.ID) + "/")
	}
	version := p.Version
	if p.Epoch != "" {
		version = strings.TrimPrefix(version, p.Epoch+":")
	}
	b.WriteString(escape(p.Name) + "@" + escape(version))
	sep := "?"
	for _, q := range []struct{ key, value string }{{"arch", p.Arch}, {"distro", strings.Trim(os.ID+"-"+os.Version, "-")}, {"epoch", p.Epoch}} {
		if q.value != "" {
			b.WriteString(sep + q.key + "=" + escape(q.value))
			sep = "&"
		}
	}
	return b.String()
}

func escape(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~", "%3A", ":").Replace(url.QueryEscape(s))
}
