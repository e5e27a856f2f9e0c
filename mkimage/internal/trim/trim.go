package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The section .gopclntab as Go 1.20 and later link it: a header, the names of functions, the files, the tables that map
// program counters to values, and a record for each function. See runtime/symtab.go and cmd/link/internal/ld/pcln.go.
const (
	magic      = 0xfffffff1
	headerSize = 72
	recordSize = 44 // of a struct _func without its arrays
)

var errLayout = errors.New("not the table of functions of a Go program that this tool knows")

// table is a .gopclntab, in place.
type table struct {
	data                                    []byte
	names, units, files, values, funcs, end int // where the parts begin
	records                                 []int
}

// trim overwrites with zeros what only a stack trace shows. The size stays; zeros pack to nothing. It changes nothing
// and returns an error if the program's layout is not the one it knows.
func trim(program []byte) error {
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	section := file.Section(".gopclntab")
	if file.Class != elf.ELFCLASS64 || file.Data != elf.ELFDATA2LSB || section == nil ||
		section.Offset+section.Size > uint64(len(program)) {
		return errLayout
	}
	t, err := parse(program[section.Offset:][:section.Size])
	if err != nil {
		return err
	}
	keep, err := t.kept()
	if err != nil {
		return err
	}
	t.zero(keep)
	return nil
}

func parse(data []byte) (*table, error) {
	le := binary.LittleEndian
	if len(data) < headerSize || le.Uint32(data) != magic || data[4] != 0 || data[5] != 0 || data[7] != 8 {
		return nil, errLayout
	}
	at := func(i int) int { return int(min(le.Uint64(data[8+8*i:]), 1<<40)) }
	t := &table{data: data, names: at(3), units: at(4), files: at(5), values: at(6), funcs: at(7), end: len(data)}
	count := at(0)
	if t.names != headerSize || t.units < t.names || t.files < t.units || t.values < t.files || t.funcs < t.values ||
		t.funcs > t.end || count < 1 || count > (t.end-t.funcs)/8 {
		return nil, errLayout
	}
	// The records must follow each other without a gap: a layout of other fields would not.
	next := -1
	for i := range count {
		record := t.funcs + int(le.Uint32(data[t.funcs+8*i+4:]))
		if record < t.funcs+8*count || record+recordSize > t.end || next >= 0 && record != next {
			return nil, errLayout
		}
		size := recordSize + 4*t.tables(record) + 4*int(data[record+43])
		if record+size > t.end {
			return nil, errLayout
		}
		next = t.funcs + (record-t.funcs+size+7)&^7 // each begins at a multiple of a pointer
		t.records = append(t.records, record)
	}
	return t, nil
}

// kept marks the bytes of the value tables that the program runs by: stack depths, and what the garbage collector reads.
func (t *table) kept() ([]bool, error) {
	le := binary.LittleEndian
	keep := make([]bool, t.funcs-t.values)
	for _, record := range t.records {
		used := []uint32{le.Uint32(t.data[record+16:])} // pcsp
		for i := range t.tables(record) {
			used = append(used, le.Uint32(t.data[record+recordSize+4*i:]))
		}
		for _, offset := range used {
			if offset == 0 {
				continue
			}
			size, err := t.valueSize(int(offset))
			if err != nil {
				return nil, err
			}
			for i := range size {
				keep[int(offset)+i] = true
			}
		}
	}
	return keep, nil
}

// tables returns how many value tables a record names behind its fields.
func (t *table) tables(record int) int {
	return int(binary.LittleEndian.Uint32(t.data[record+28:]) & 0xff)
}

// valueSize returns the size of the value table at offset: pairs of numbers of variable length, until a 0 that is not
// the first.
func (t *table) valueSize(offset int) (int, error) {
	values := t.data[t.values:t.funcs]
	for at, first := offset, true; ; first = false {
		if at >= len(values) {
			return 0, fmt.Errorf("value table at %d: %w", offset, errLayout)
		}
		if values[at] == 0 && !first {
			return at + 1 - offset, nil
		}
		for range 2 {
			for at < len(values) && values[at]&0x80 != 0 {
				at++
			}
			at++
		}
	}
}

// runtimeName is what the functions of package runtime are called afterwards: the runtime tells its own goroutines by
// that prefix.
const runtimeName = "runtime."

func (t *table) zero(keep []bool) {
	le := binary.LittleEndian
	names := t.data[t.names:t.units]
	for _, record := range t.records {
		var name uint32
		if old := int(le.Uint32(t.data[record+4:])); old < len(names) && strings.HasPrefix(cString(names[old:]), runtimeName) {
			name = 1
		}
		le.PutUint32(t.data[record+4:], name)
		for _, field := range []int{20, 24, 32, 36} { // pcfile, pcln, cuOffset, startLine: 0 is none
			le.PutUint32(t.data[record+field:], 0)
		}
	}
	clear(t.data[t.names:t.values])
	copy(names[1:], runtimeName)
	for i := 1; i < len(keep); i++ {
		if !keep[i] {
			t.data[t.values+i] = 0
		}
	}
}

func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
