package main

import (
	"errors"
	"io"

	"github.com/slotboot/slotboot/internal/built"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/sbom"
)

// packagesName is the list of the packages in the root, beside the manifest. It is for people and scanners: not part of
// what is installed or signed.
const packagesName = "packages.cdx.json"

// writePackages lists the packages of the root, if a package manager has a database there. id is that of the build.
func (b *build) writePackages(id string) error {
	list, err := sbom.Packages(b.root)
	if errors.Is(err, sbom.ErrUnreadable) {
		b.warn("the list of packages is not complete: " + err.Error())
	} else if err != nil {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	doc := sbom.Document{OS: sbom.ReadOS(b.root), Packages: list, Created: b.epoch, Build: id, Tool: built.Version}
	text, err := doc.Encode()
	if err != nil {
		return err
	}
	b.say("list    %s", screen.Count(len(list), "package"))
	return b.file(packagesName, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}
