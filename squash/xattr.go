package squash

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

// xattrs collects the xattr sets of an image; equal sets are stored once.
type xattrs struct {
	byKey map[string]uint32 // serialised set -> id
	sets  []map[string]string
}

func newXattrs() *xattrs { return &xattrs{byKey: map[string]uint32{}} }

// splitXattr returns the prefix number and the rest of a key.
func splitXattr(key string) (uint16, string, error) {
	prefix, rest, ok := strings.Cut(key, ".")
	if ok && rest != "" && len(rest) <= 0xffff && strings.IndexByte(rest, 0) < 0 {
		switch prefix {
		case "user":
			return xattrUser, rest, nil
		case "trusted":
			return xattrTrusted, rest, nil
		case "security":
			return xattrSecurity, rest, nil
		}
	}
	return 0, "", fmt.Errorf("key %q: %w", key, ErrXattr)
}

func sortedKeys(set map[string]string) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// id returns the number of a set, noXattr for none.
func (x *xattrs) id(set map[string]string) (uint32, error) {
	if len(set) == 0 {
		return noXattr, nil
	}
	var b []byte
	for _, key := range sortedKeys(set) {
		if _, _, err := splitXattr(key); err != nil {
			return 0, err
		}
		if len(set[key]) > xattrValueMax {
			return 0, fmt.Errorf("key %q: value of %d bytes, at most %d", key, len(set[key]), xattrValueMax)
		}
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(b, uint64(len(set[key])))
		b = append(b, set[key]...)
	}
	if id, ok := x.byKey[string(b)]; ok {
		return id, nil
	}
	id := uint32(len(x.sets))
	copied := make(map[string]string, len(set))
	for k, v := range set {
		copied[k] = v
	}
	x.byKey[string(b)] = id
	x.sets = append(x.sets, copied)
	return id, nil
}

// xattrValueMax is XATTR_SIZE_MAX of Linux.
const xattrValueMax = 65536

// xattrShareMin is the shortest value worth a reference to its first copy: the reference takes eight bytes and a
// random read.
const xattrShareMin = 64

type xattrSet struct {
	ref         uint64
	count, size uint32
}

// write stores the keys and values, then the table of sets, and returns where that is, or noTable when there are none.
func (x *xattrs) write(c Codec, out *offsetWriter) (uint64, error) {
	if len(x.sets) == 0 {
		return noTable, nil
	}
	start := uint64(out.pos)
	m := newMetaWriter(c, out)
	seen := map[string]uint64{} // long values -> reference
	table := make([]xattrSet, len(x.sets))
	for i, set := range x.sets {
		table[i] = xattrSet{ref: m.ref(), count: uint32(len(set))}
		for _, key := range sortedKeys(set) {
			n, err := writeXattr(m, key, set[key], seen)
			if err != nil {
				return 0, err
			}
			table[i].size += n
		}
	}
	if err := m.flush(); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	record := func(b []byte, i int) []byte {
		b = le.AppendUint64(b, table[i].ref)
		b = le.AppendUint32(b, table[i].count)
		return le.AppendUint32(b, table[i].size)
	}
	head := func(uint64) []byte {
		b := le.AppendUint64(nil, start)
		b = le.AppendUint32(b, uint32(len(table)))
		return le.AppendUint32(b, 0)
	}
	return writeTable(c, out, len(table), xattrIDSize, record, head)
}

// writeXattr stores one key and its value, or a reference to the value, and returns the bytes taken.
func writeXattr(m *metaWriter, key, value string, seen map[string]uint64) (uint32, error) {
	le := binary.LittleEndian
	kind, name, err := splitXattr(key)
	if err != nil {
		return 0, err
	}
	at, shared := seen[value]
	if shared {
		kind |= xattrElsewhere
	}
	b := le.AppendUint16(nil, kind)
	b = le.AppendUint16(b, uint16(len(name)))
	b = append(b, name...)
	if err := m.write(b); err != nil {
		return 0, err
	}
	ref := m.ref()
	var v []byte
	if shared {
		v = le.AppendUint32(v, 8)
		v = le.AppendUint64(v, at)
	} else {
		v = le.AppendUint32(v, uint32(len(value)))
		v = append(v, value...)
		if len(value) >= xattrShareMin {
			seen[value] = ref
		}
	}
	return uint32(len(b) + len(v)), m.write(v)
}
