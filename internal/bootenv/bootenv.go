// Package bootenv keeps the boot policy's state in GRUB's environment block: it reads a slots.State from the file and
// writes one back, whole, in one sector.
package bootenv

import (
	"bytes"
	"fmt"

	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// minKept is the shortest file whose length is kept; GRUB loads nothing shorter.
const minKept = 512

// Content is what an environment block says.
type Content struct {
	State  slots.State
	Damage error // why GRUB can read no variable from the file, so that it means slot A, committed; nil: it can

	block *grubenv.Block
}

// Vars returns the whole block as it would be written to say s: the policy's variables, BOOT_LIMIT if it is set, then
// everybody else's.
func (c Content) Vars(s slots.State) []grubenv.Var {
	block := *c.block
	if err := put(&block, s); err != nil {
		return nil // put fails on names that cannot be variables, and ours can
	}
	return block.Vars()
}

// Parse reads the content of an environment block file. bakedLimit is the boot limit where the block has no BOOT_LIMIT;
// out of range, it is slots.DefaultLimit. Data that GRUB takes for no block is the empty block: Damage says why.
func Parse(data []byte, bakedLimit int) Content {
	block, err := grubenv.Parse(data)
	if err != nil {
		block = grubenv.New()
	}
	return Content{State: slots.FromEnv(block.Get, bakedLimit), Damage: err, block: block}
}

// Read returns what the file at path says. A missing file is fs.ErrNotExist; a damaged one is no error, see Content.
func Read(path string, bakedLimit int) (Content, error) {
	return ReadIn(durable.OS{}, path, bakedLimit)
}

// ReadIn is Read in another file system.
func ReadIn(fsys durable.FS, path string, bakedLimit int) (Content, error) {
	data, err := durable.Read(fsys, path)
	if err != nil {
		return Content{}, err
	}
	return Parse(data, bakedLimit), nil
}

// Update changes the state in the file at path with one write in place and returns the new state, which is then on the
// disk. The policy's variables go to the front, so that they change with one sector; variables and comments of others
// stay, in their order. The file keeps its length, and grows to 1024 bytes if GRUB could not load or hold it.
//
// An error of edit is returned as it is, and nothing is written. A state that edit leaves as it is writes nothing
// either, unless the block is damaged, padded wrongly or has duplicates of the policy's variables: that is repaired.
func Update(path string, bakedLimit int, edit func(slots.State) (slots.State, error)) (slots.State, error) {
	return UpdateIn(durable.OS{}, path, bakedLimit, edit)
}

// UpdateIn is Update in another file system.
func UpdateIn(fsys durable.FS, path string, bakedLimit int, edit func(slots.State) (slots.State, error)) (slots.State, error) {
	var next slots.State
	err := durable.UpdateIn(fsys, path, func(old []byte) ([]byte, error) {
		content := Parse(old, bakedLimit)
		var err error
		if next, err = edit(content.State); err != nil {
			return nil, err
		}
		if next == content.State && content.sound(old) {
			return old, nil
		}
		return content.encode(next, len(old))
	})
	return next, err
}

// sound says whether GRUB can load and save the block, and whether each variable of ours is there once at most.
func (c Content) sound(data []byte) bool {
	if c.Damage != nil || len(data) < minKept {
		return false
	}
	seen := make(map[string]bool)
	for _, v := range c.block.Vars() {
		if seen[v.Name] {
			for _, name := range slots.Names() {
				if v.Name == name {
					return false
				}
			}
		}
		seen[v.Name] = true
	}
	again, err := c.block.BytesN(len(data))
	return err == nil && bytes.Equal(again, data)
}

// encode returns the block that says s, for a file that has size bytes.
func (c Content) encode(s slots.State, size int) ([]byte, error) {
	block := *c.block
	if err := put(&block, s); err != nil {
		return nil, err
	}
	return Encode(&block, size)
}

// Encode returns block for a file that has size bytes: of the same size, or of 1024 bytes if GRUB could not load or
// hold it there. The error is grubenv.ErrTooLong.
func Encode(block *grubenv.Block, size int) ([]byte, error) {
	if size >= minKept {
		if out, err := block.BytesN(size); err == nil || size >= grubenv.Size {
			return out, err
		}
	}
	return block.Bytes()
}

// put makes block say s and moves the policy's variables to its front. A BOOT_LIMIT with duplicates loses them.
func put(block *grubenv.Block, s slots.State) error {
	for _, v := range s.Env() {
		if err := block.Set(v.Name, v.Value); err != nil {
			return fmt.Errorf("put state: %w", err)
		}
	}
	if limit, ok := block.Get(slots.VarLimit); ok {
		if err := block.Set(slots.VarLimit, limit); err != nil {
			return fmt.Errorf("put state: %w", err)
		}
	}
	block.Promote(slots.Names()...)
	return nil
}

// New returns a block of 1024 bytes that says s, for a new disk.
func New(s slots.State) ([]byte, error) {
	block := grubenv.New()
	if err := put(block, s); err != nil {
		return nil, err
	}
	return block.Bytes()
}
