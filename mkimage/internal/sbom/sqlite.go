package sbom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// sqlite reads the tables of a database file. Format: https://www.sqlite.org/fileformat2.html
type sqlite struct {
	data   []byte
	page   int // bytes
	usable int // of a page
	left   int // pages that may still be read: a damaged tree could go in circles
}

var errDamaged = errors.New("sqlite: damaged")

func openSQLite(data []byte) (*sqlite, error) {
	if len(data) < 512 || !strings.HasPrefix(string(data[:16]), "SQLite format 3\x00") {
		return nil, errors.New("sqlite: not a database")
	}
	db := &sqlite{data: data, page: int(binary.BigEndian.Uint16(data[16:]))}
	if db.page == 1 {
		db.page = 65536
	}
	db.usable = db.page - int(data[20])
	if db.page < 512 || db.page&(db.page-1) != 0 || db.usable < 480 {
		return nil, errDamaged
	}
	return db, nil
}

// table calls row with the columns of each row. Numbers come as they are stored, NULL is nil.
func (db *sqlite) table(name string, row func([][]byte) error) error {
	root := uint32(0)
	err := db.scan(1, func(cols [][]byte) error {
		// type, name, tbl_name, rootpage, sql
		if len(cols) >= 4 && string(cols[0]) == "table" && string(cols[1]) == name {
			for _, b := range cols[3] {
				root = root<<8 | uint32(b)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if root == 0 {
		return fmt.Errorf("sqlite: no table %s", name)
	}
	return db.scan(root, row)
}

func (db *sqlite) scan(root uint32, row func([][]byte) error) error {
	db.left = len(db.data)/db.page + 1
	return db.walk(root, row)
}

// walk visits the table tree below a page, in order.
func (db *sqlite) walk(n uint32, row func([][]byte) error) error {
	p, err := db.read(n)
	if err != nil {
		return err
	}
	head := 0
	if n == 1 {
		head = 100 // the file's own header
	}
	be := binary.BigEndian
	kind, cells := p[head], int(be.Uint16(p[head+3:]))
	size := map[byte]int{5: 12, 13: 8}[kind]
	if size == 0 || head+size+2*cells > len(p) {
		return errDamaged
	}
	for i := range cells {
		at := int(be.Uint16(p[head+size+2*i:]))
		if at+4 > len(p) {
			return errDamaged
		}
		if kind == 5 {
			err = db.walk(be.Uint32(p[at:]), row)
		} else {
			err = db.leaf(p, at, row)
		}
		if err != nil {
			return err
		}
	}
	if kind == 5 {
		return db.walk(be.Uint32(p[head+8:]), row)
	}
	return nil
}

func (db *sqlite) read(n uint32) ([]byte, error) {
	off := (int64(n) - 1) * int64(db.page)
	if db.left--; n == 0 || db.left < 0 || off+int64(db.page) > int64(len(db.data)) {
		return nil, errDamaged
	}
	return db.data[off:][:db.page], nil
}

// leaf reads a cell: length of the record, row id, the record, and where it goes on when it does not fit.
func (db *sqlite) leaf(p []byte, at int, row func([][]byte) error) error {
	size, n := uvarint(p[at:])
	if n == 0 || size > uint64(len(db.data)) {
		return errDamaged
	}
	at += n
	_, n = uvarint(p[at:])
	if n == 0 {
		return errDamaged
	}
	at += n
	local := db.local(int(size))
	if at+local > len(p) {
		return errDamaged
	}
	record := append([]byte(nil), p[at:at+local]...)
	if local < int(size) {
		if at+local+4 > len(p) {
			return errDamaged
		}
		next := binary.BigEndian.Uint32(p[at+local:])
		for len(record) < int(size) {
			o, err := db.read(next)
			if err != nil {
				return err
			}
			next = binary.BigEndian.Uint32(o)
			record = append(record, o[4:min(db.usable, 4+int(size)-len(record))]...)
		}
	}
	cols, err := columns(record)
	if err != nil {
		return err
	}
	return row(cols)
}

// local is how much of a record stands in the page itself.
func (db *sqlite) local(size int) int {
	most := db.usable - 35
	if size <= most {
		return size
	}
	least := (db.usable-12)*32/255 - 23
	if k := least + (size-least)%(db.usable-4); k <= most {
		return k
	}
	return least
}

// columns splits a record: the length of its header, a type for each column, the values.
func columns(rec []byte) ([][]byte, error) {
	size, n := uvarint(rec)
	if n == 0 || size > uint64(len(rec)) || size < uint64(n) {
		return nil, errDamaged
	}
	head, body := rec[n:size], rec[size:]
	var cols [][]byte
	for len(head) > 0 {
		kind, n := uvarint(head)
		if n == 0 {
			return nil, errDamaged
		}
		head = head[n:]
		length := uint64(0)
		switch {
		case kind >= 12:
			length = (kind - 12) / 2
		case kind < 8:
			length = []uint64{0, 1, 2, 3, 4, 6, 8, 8}[kind]
		}
		if length > uint64(len(body)) {
			return nil, errDamaged
		}
		cols = append(cols, body[:length:length])
		body = body[length:]
	}
	return cols, nil
}

// uvarint reads sqlite's variable-length number: seven bits a byte, the highest first, all eight of the ninth.
func uvarint(b []byte) (value uint64, n int) {
	for n < len(b) && n < 9 {
		c := b[n]
		n++
		if n == 9 {
			return value<<8 | uint64(c), n
		}
		value = value<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return value, n
		}
	}
	return 0, 0
}
