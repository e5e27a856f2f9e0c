package squash

import "fmt"

// Limits of Linux on the xattrs of one file: XATTR_LIST_MAX for all names, XATTR_SIZE_MAX (xattrValueMax) a value. Eight
// bytes are the least a key takes, so a set has at most xattrSetMax keys.
const (
	xattrListMax = 65536
	xattrSetMax  = xattrListMax / 8
	xattrPlain   = 1 << 20 // of all values of one file, so that shared long ones cannot add up
)

// openXattrs reads where the xattr tables are.
func (m *Image) openXattrs() error {
	if m.sb.xattrTable == noTable {
		return nil
	}
	var b [16]byte
	if err := m.readAt(b[:], int64(m.sb.xattrTable)); err != nil {
		return fmt.Errorf("read xattr table: %w", err)
	}
	start := le64(b[:])
	if start < superSize || start > m.sb.xattrTable {
		return fmt.Errorf("xattr table at offset %d: keys at offset %d, want them before it", m.sb.xattrTable, start)
	}
	m.xattrStart = int64(start)
	m.xattrTable = table{m: m, name: "xattr set", start: int64(m.sb.xattrTable) + 16, count: int64(le32(b[8:])), size: xattrIDSize}
	return nil
}

// xattrSet reads the set with a number.
func (m *Image) xattrSet(id uint32) (map[string]string, error) {
	if id == noXattr {
		return nil, nil
	}
	rec, err := m.xattrTable.record(int64(id))
	if err != nil {
		return nil, err
	}
	ref, count := le64(rec), le32(rec[8:])
	if count > xattrSetMax {
		return nil, fmt.Errorf("xattr set %d has %d keys, at most %d", id, count, xattrSetMax)
	}
	r, err := m.xattrAt(ref)
	if err != nil {
		return nil, fmt.Errorf("xattr set %d: %w", id, err)
	}
	set := make(map[string]string, count)
	names, values := 0, 0
	for range count {
		key, value, err := r.xattr()
		if err != nil {
			return nil, fmt.Errorf("xattr set %d at %d:%d of the keys at offset %d: %w", id, ref>>16, ref&0xffff, m.xattrStart, err)
		}
		names, values = names+len(key)+1, values+len(value)
		if names > xattrListMax || values > xattrPlain {
			return nil, fmt.Errorf("xattr set %d: more than %d bytes of names or %d of values", id, xattrListMax, xattrPlain)
		}
		set[key] = value
	}
	return set, nil
}

// xattrAt reads keys and values from ref on.
func (m *Image) xattrAt(ref uint64) (*metaReader, error) {
	if ref>>16 >= m.sb.used {
		return nil, fmt.Errorf("place %d:%d is outside of the image", ref>>16, ref&0xffff)
	}
	return &metaReader{m: m, block: m.xattrStart + int64(ref>>16), off: int(ref & 0xffff), end: int64(m.sb.xattrTable)}, nil
}

// xattr reads one key and its value.
func (r *metaReader) xattr() (key, value string, err error) {
	var h [4]byte
	if err := r.read(h[:]); err != nil {
		return "", "", err
	}
	kind := le16(h[:])
	if kind&^xattrElsewhere > xattrSecurity {
		return "", "", fmt.Errorf("prefix %d, want 0 to %d", kind&^xattrElsewhere, xattrSecurity)
	}
	name := make([]byte, le16(h[2:]))
	if err := r.read(name); err != nil {
		return "", "", err
	}
	if value, err = r.xattrValue(); err != nil {
		return "", "", err
	}
	if kind&xattrElsewhere != 0 {
		if len(value) != 8 {
			return "", "", fmt.Errorf("reference to a value has %d bytes, want 8", len(value))
		}
		there, err := r.m.xattrAt(le64([]byte(value)))
		if err != nil {
			return "", "", err
		}
		if value, err = there.xattrValue(); err != nil {
			return "", "", err
		}
	}
	return [...]string{"user.", "trusted.", "security."}[kind&^xattrElsewhere] + string(name), value, nil
}

func (r *metaReader) xattrValue() (string, error) {
	var h [4]byte
	if err := r.read(h[:]); err != nil {
		return "", err
	}
	size := le32(h[:])
	if size > xattrValueMax {
		return "", fmt.Errorf("value of %d bytes, at most %d", size, xattrValueMax)
	}
	b := make([]byte, size)
	err := r.read(b)
	return string(b), err
}
