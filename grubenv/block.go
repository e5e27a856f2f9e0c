package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// The sizes of an environment block in bytes.
const (
	Size    = 1024            // what grub-editenv creates and Bytes returns
	MinSize = len(header) + 1 // GRUB wants the header and at least one byte behind it
	MaxSize = 1 << 20         // GRUB's load_env reads no more
)

const header = "# GRUB Environment Block\n"

// The errors of Parse, Set and Bytes.
var (
	ErrTooSmall = errors.New("environment block too small")             // fewer than MinSize bytes
	ErrTooLarge = errors.New("environment block larger than 1 MiB")     // more than MaxSize bytes
	ErrNoHeader = errors.New("environment block without GRUB's header") // GRUB refuses it too
	ErrTooLong  = errors.New("variables do not fit the environment block")
	ErrName     = errors.New("not a variable name")
	ErrValue    = errors.New("not a variable value")
)

// Var is one variable.
type Var struct{ Name, Value string }

// Block is the content of an environment block: variables and comments in their order. The zero value is the empty
// block. Copying a Block shares its content.
type Block struct{ items []item }

// item is a record or a comment: raw holds its bytes as they stand in the block, closing newline included. Unchanged
// items are written back byte for byte.
type item struct {
	raw     []byte
	comment bool
	Var
}

// New returns a block without variables.
func New() *Block { return new(Block) }

// Parse reads a block as GRUB does. It accepts what GRUB accepts: MinSize to MaxSize bytes that begin with the header,
// whatever follows. A record or comment that no newline closes is dropped, as is padding of any kind, so that the
// block that Bytes returns can be saved by GRUB again even if data could not.
//
// The errors are ErrTooSmall, ErrTooLarge and ErrNoHeader. GRUB takes no variable from such data, so New stands for it.
func Parse(data []byte) (*Block, error) {
	switch {
	case len(data) < MinSize:
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrTooSmall, len(data), MinSize)
	case len(data) > MaxSize:
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	case string(data[:len(header)]) != header:
		return nil, fmt.Errorf("%w: it begins %q", ErrNoHeader, data[:len(header)])
	}
	b := New()
	rest := bytes.Clone(data[len(header):])
	for len(rest) > 0 {
		next, n := parseItem(rest)
		if n == 0 {
			break
		}
		b.items = append(b.items, next)
		rest = rest[n:]
	}
	if tail := lastComment(rest); tail != nil {
		b.items = append(b.items, item{raw: tail, comment: true})
	}
	b.dropPadding()
	return b, nil
}

// parseItem reads the item at the start of text and returns its length; 0 when no newline closes it.
func parseItem(text []byte) (item, int) {
	if text[0] == '#' {
		end := lineEnd(text)
		if end < 0 {
			return item{}, 0
		}
		return item{raw: text[:end+1], comment: true}, end + 1
	}
	equals := bytes.IndexByte(text, '=') // the name runs across newlines
	if equals < 0 {
		return item{}, 0
	}
	end := lineEnd(text[equals+1:])
	if end < 0 {
		return item{}, 0
	}
	end += equals + 1
	v := Var{Name: cString(text[:equals]), Value: cString(unescape(text[equals+1 : end]))}
	return item{raw: text[:end+1], Var: v}, end + 1
}

// lineEnd returns the index of the first newline that no backslash escapes, or -1.
func lineEnd(text []byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '\n':
			return i
		}
	}
	return -1
}

func unescape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++ // lineEnd has seen to it that a byte follows
		}
		out = append(out, text[i])
	}
	return out
}

// cString cuts text at its first NUL, as GRUB's C strings do.
func cString(text []byte) string {
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	return string(text)
}

// dropPadding removes comments of nothing but '#' from the end: padding that an editor has closed with a newline.
// Kept, it would leave no room for any change.
func (b *Block) dropPadding() {
	for n := len(b.items); n > 0; n = len(b.items) {
		last := b.items[n-1]
		if !last.comment || len(bytes.Trim(last.raw, "#\r\n")) > 0 {
			return
		}
		b.items = b.items[:n-1]
	}
}

// lastComment returns the text in front of the padding that somebody wrote without closing it by a newline, closed;
// nil if there is none, or if it holds what no text holds.
func lastComment(rest []byte) []byte {
	if len(rest) == 0 || rest[0] != '#' || bytes.IndexByte(rest, 0) >= 0 {
		return nil
	}
	text := bytes.TrimRight(rest, "#")
	if len(text) == 0 {
		return nil
	}
	if lineEnd(append(bytes.Clone(text), '\n')) < 0 { // an open backslash would swallow the newline
		text = text[:len(text)-1]
	}
	return append(bytes.Clone(text), '\n')
}

// Get returns the value of the variable name. Of duplicates the last counts, as for GRUB's load_env.
func (b *Block) Get(name string) (value string, ok bool) {
	for i := len(b.items) - 1; i >= 0; i-- {
		if it := b.items[i]; !it.comment && it.Name == name {
			return it.Value, true
		}
	}
	return "", false
}

// Vars returns the variables in their order, duplicates included: what `grub-editenv list` prints.
func (b *Block) Vars() []Var {
	var vars []Var
	for _, it := range b.items {
		if !it.comment {
			vars = append(vars, it.Var)
		}
	}
	return vars
}

// Set gives the variable name a value. A variable that exists keeps the place of its first record and loses its
// duplicates: GRUB's save_env changes the first and load_env reads the last, so a duplicate never moves. A new one goes
// behind the others.
//
// Set changes nothing and returns ErrName for a name that is empty, starts with '#', or holds '=', a newline or NUL,
// and ErrValue for a value with a NUL: a block cannot hold them, or not so that a person finds them again.
func (b *Block) Set(name, value string) error {
	if name == "" || strings.HasPrefix(name, "#") || strings.ContainsAny(name, "=\n\x00") {
		return fmt.Errorf("set %q: %w", name, ErrName)
	}
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("set %s=%q: %w", name, value, ErrValue)
	}
	raw := []byte(name + "=" + escaper.Replace(value) + "\n")
	record := item{raw: raw, Var: Var{Name: name, Value: value}}
	kept := make([]item, 0, len(b.items)+1)
	done := false
	for _, it := range b.items {
		if it.comment || it.Name != name {
			kept = append(kept, it)
		} else if !done {
			kept, done = append(kept, record), true
		}
	}
	if !done {
		kept = append(kept, record)
	}
	b.items = kept
	return nil
}

var escaper = strings.NewReplacer("\\", "\\\\", "\n", "\\\n")

// Unset removes the variable name and its duplicates.
func (b *Block) Unset(name string) {
	kept := make([]item, 0, len(b.items))
	for _, it := range b.items {
		if it.comment || it.Name != name {
			kept = append(kept, it)
		}
	}
	b.items = kept
}

// Promote moves the named variables to the front of the block, in the order of names. Names that are not set are
// skipped. What is kept within the first 512 bytes this way changes on a disk as a whole or not at all.
func (b *Block) Promote(names ...string) {
	front := make([]item, 0, len(b.items))
	rest := b.items
	for _, name := range names {
		kept := make([]item, 0, len(rest))
		for _, it := range rest {
			if !it.comment && it.Name == name {
				front = append(front, it)
			} else {
				kept = append(kept, it)
			}
		}
		rest = kept
	}
	b.items = append(front, rest...)
}

// Bytes returns the block as Size bytes, padded with '#'. It returns ErrTooLong when the content needs more.
func (b *Block) Bytes() ([]byte, error) { return b.BytesN(Size) }

// BytesN returns the block as n bytes. A block in a longer file is written back at that file's length: behind a
// shorter one, old records would still be there for GRUB to read.
//
// It returns ErrTooLong when the content needs more than n bytes or n is not in MinSize..MaxSize.
func (b *Block) BytesN(n int) ([]byte, error) {
	need := len(header)
	for _, it := range b.items {
		need += len(it.raw)
	}
	if n < MinSize || n > MaxSize || need > n {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrTooLong, need, n)
	}
	out := make([]byte, 0, n)
	out = append(out, header...)
	for _, it := range b.items {
		out = append(out, it.raw...)
	}
	return append(out, bytes.Repeat([]byte{'#'}, n-len(out))...), nil
}
