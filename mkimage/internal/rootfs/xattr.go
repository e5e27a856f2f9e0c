package rootfs

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

const (
	paxSchily     = "SCHILY.xattr."     // star, GNU tar, docker: the value as it is
	paxLibarchive = "LIBARCHIVE.xattr." // bsdtar: the name URL-encoded, the value in base64
)

// xattrs returns the extended attributes of an entry. If both forms name one attribute, SCHILY's value counts: bsdtar writes
// both, and only that one is exact.
func (f *flattener) xattrs(h *tar.Header) (map[string]string, error) {
	var set map[string]string
	add := func(name, value string) {
		if set == nil {
			set = map[string]string{}
		}
		set[name] = value
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxLibarchive)
		if !ok {
			continue
		}
		plain, err := url.PathUnescape(name)
		if err == nil {
			var b []byte
			if b, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "=")); err == nil {
				add(plain, string(b))
				continue
			}
		}
		if err := f.warn(warnXattr, "%s: %s: attribute %s: %v: left out", f.name, show(h.Name), show(name), err); err != nil {
			return nil, err
		}
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, paxSchily); ok {
			add(name, value)
		}
	}
	for name := range set {
		if name == "" || len(name) > maxName {
			return nil, fmt.Errorf("extended attribute with a name of %d bytes, want 1 to %d", len(name), maxName)
		}
	}
	return set, nil
}
