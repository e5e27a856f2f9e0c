package sbom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// rpm reads the sqlite database that rpm has kept since 4.16.
func rpm(root fs.FS) ([]Package, error) {
	for _, dir := range []string{"usr/lib/sysimage/rpm/", "var/lib/rpm/"} {
		data, err := fs.ReadFile(root, dir+"rpmdb.sqlite")
		if errors.Is(err, fs.ErrNotExist) {
			for _, old := range []string{"Packages", "Packages.db"} {
				if fi, err := fs.Stat(root, dir+old); err == nil && fi.Mode().IsRegular() {
					return nil, fmt.Errorf("%s: %w", dir+old, ErrUnreadable)
				}
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		list, err := rpmPackages(data)
		if err != nil {
			return nil, fmt.Errorf("%srpmdb.sqlite: %w", dir, err)
		}
		return list, nil
	}
	return nil, nil
}

func rpmPackages(data []byte) ([]Package, error) {
	db, err := openSQLite(data)
	if err != nil {
		return nil, err
	}
	var list []Package
	err = db.table("Packages", func(row [][]byte) error {
		if len(row) < 2 {
			return fmt.Errorf("row of %d columns, want 2", len(row))
		}
		p, err := rpmHeader(row[1])
		if err != nil {
			return err
		}
		if p.Name != "gpg-pubkey" { // keys are kept as packages
			list = append(list, p)
		}
		return nil
	})
	return list, err
}

// Tags of an rpm header. https://rpm-software-management.github.io/rpm/manual/tags.html
const (
	tagName    = 1000
	tagVersion = 1001
	tagRelease = 1002
	tagEpoch   = 1003
	tagLicense = 1014
	tagArch    = 1022
)

// rpmHeader reads a header as the database keeps it: the number of entries and of data bytes, entries of tag, type, offset
// and count, then the data; all big-endian.
func rpmHeader(b []byte) (Package, error) {
	p := Package{Kind: "rpm"}
	if len(b) < 8 {
		return p, errors.New("header is cut short")
	}
	be := binary.BigEndian
	entries, size := int64(be.Uint32(b)), int64(be.Uint32(b[4:]))
	if 8+16*entries+size > int64(len(b)) {
		return p, errors.New("header is cut short")
	}
	data := b[8+16*entries:][:size]
	var release string
	for i := range entries {
		e := b[8+16*i:]
		tag, off := be.Uint32(e), int64(be.Uint32(e[8:]))
		if off >= size {
			continue
		}
		text, _, _ := bytes.Cut(data[off:], []byte{0})
		switch tag {
		case tagName:
			p.Name = string(text)
		case tagVersion:
			p.Version = string(text)
		case tagRelease:
			release = string(text)
		case tagLicense:
			p.License = string(text)
		case tagArch:
			p.Arch = string(text)
		case tagEpoch:
			if off+4 <= size {
				p.Epoch = fmt.Sprint(be.Uint32(data[off:]))
			}
		}
	}
	if p.Name == "" {
		return p, errors.New("header without a name")
	}
	p.Version += "-" + release
	if p.Epoch != "" {
		p.Version = p.Epoch + ":" + p.Version
	}
	return p, nil
}
