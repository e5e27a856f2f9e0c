package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

const (
	entrySize   = 32
	attrVolume  = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
	attrLong    = 0x0f
	lastLong    = 0x40
	longUnits   = 13
)

// add puts a file in below n, and makes the folders that lead to it. Names are compared as FAT does, without case.
func (n *node) add(name string, data []byte) error {
	head, rest, more := strings.Cut(name, "/")
	if err := checkName(head); err != nil {
		return err
	}
	for _, child := range n.children {
		if !strings.EqualFold(child.name, head) {
			continue
		}
		if !more || !child.dir {
			return errors.New("name is taken")
		}
		return child.add(rest, data)
	}
	child := &node{name: head, dir: more}
	n.children = append(n.children, child)
	if more {
		return child.add(rest, data)
	}
	child.data = data
	return nil
}

func checkName(name string) error {
	if len(name) > 255 || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("name %q does not fit FAT", name)
	}
	for _, c := range name {
		if c < 0x20 || c > 0x7e || strings.ContainsRune(`"*/:<>?\|`, c) {
			return fmt.Errorf("name %q: character %q is not supported", name, c)
		}
	}
	return nil
}

// short returns the 11-byte name of the child at index i, unique in its folder, and whether it says everything, so
// that no long name is needed.
func (n *node) short(i int) (name [11]byte, whole bool) {
	stem, ext := splitName(n.children[i].name)
	upper := strings.ToUpper(n.children[i].name)
	if len(stem) <= 8 && len(ext) <= 3 && isShort(stem) && isShort(ext) {
		copy(name[:], padded(strings.ToUpper(stem), 8)+padded(strings.ToUpper(ext), 3))
		return name, upper == n.children[i].name
	}
	stem, ext = shortChars(stem), shortChars(ext)
	if len(ext) > 3 {
		ext = ext[:3]
	}
	// The index in the folder makes the number unique without a search.
	tail := fmt.Sprintf("~%d", i+1)
	if len(stem) > 8-len(tail) {
		stem = stem[:8-len(tail)]
	}
	copy(name[:], padded(stem+tail, 8)+padded(ext, 3))
	return name, false
}

func splitName(name string) (stem, ext string) {
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		return name[:dot], name[dot+1:]
	}
	return name, ""
}

// isShort tells whether s has only characters that a short name may have. The tilde is left to generated names.
func isShort(s string) bool { return !strings.Contains(s, "~") && shortChars(s) == strings.ToUpper(s) }

func shortChars(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '.' || c == ' ':
			return -1
		case strings.ContainsRune("+,;=[]", c):
			return '_'
		}
		return c
	}, strings.ToUpper(s))
}

func padded(s string, width int) string {
	if len(s) > width {
		return s[:width]
	}
	return s + strings.Repeat(" ", width-len(s))
}

// entryCount returns the number of 32-byte entries the folder takes: the volume label in the root, '.' and '..'
// elsewhere, and long names.
func (n *node) entryCount() int {
	count := 2
	if n.name == "" {
		count = min(1, len(n.label))
	}
	for i, child := range n.children {
		count++
		if _, whole := n.short(i); !whole {
			count += (len(child.name) + longUnits - 1) / longUnits
		}
	}
	return count
}

// entries returns the contents of folder n. Its '..' names cluster 0 when the parent is the root, as the format
// demands, whatever the root's real cluster is.
func (v *volume) entries(n, parent *node) []byte {
	var b []byte
	if n.name == "" {
		if n.label != "" {
			b = v.entry(b, [11]byte([]byte(padded(n.label, 11))), attrVolume, 0, 0)
		}
	} else {
		up := parent.first
		if parent.name == "" {
			up = 0
		}
		b = v.entry(b, [11]byte([]byte(padded(".", 11))), attrDir, n.first, 0)
		b = v.entry(b, [11]byte([]byte(padded("..", 11))), attrDir, up, 0)
	}
	for i, child := range n.children {
		name, whole := n.short(i)
		if !whole {
			b = longEntries(b, child.name, name)
		}
		attr := byte(attrArchive)
		if child.dir {
			attr = attrDir
		}
		b = v.entry(b, name, attr, child.first, uint32(len(child.data)))
	}
	return b
}

func (v *volume) entry(b []byte, name [11]byte, attr byte, first, size uint32) []byte {
	e := make([]byte, entrySize)
	copy(e, name[:])
	e[11] = attr
	le := binary.LittleEndian
	date, clock := dosTime(v.opts.Time)
	le.PutUint16(e[14:], clock)
	le.PutUint16(e[16:], date)
	le.PutUint16(e[18:], date)
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[22:], clock)
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], size)
	return append(b, e...)
}

// longEntries appends the long name, last part first, each part tied to the short name by its checksum.
func longEntries(b []byte, long string, short [11]byte) []byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	units := utf16.Encode([]rune(long))
	parts := (len(units) + longUnits - 1) / longUnits
	for part := parts; part >= 1; part-- {
		e := make([]byte, entrySize)
		e[0] = byte(part)
		if part == parts {
			e[0] |= lastLong
		}
		e[11], e[13] = attrLong, sum
		for i := range longUnits {
			at := 1 + 2*i
			if i >= 5 {
				at = 14 + 2*(i-5)
			}
			if i >= 11 {
				at = 28 + 2*(i-11)
			}
			// The name ends with one zero; what is left after it is all ones.
			unit := uint16(0xffff)
			if k := (part-1)*longUnits + i; k < len(units) {
				unit = units[k]
			} else if k == len(units) {
				unit = 0
			}
			binary.LittleEndian.PutUint16(e[at:], unit)
		}
		b = append(b, e...)
	}
	return b
}

func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return date, clock
}
