package squash

import "fmt"

// Extent says where a piece of a file's content is stored.
type Extent struct {
	FileOffset int64 // of the piece
	Offset     int64 // of the stored block in the image, as in Block
	Skip       int   // plain bytes of that block before the piece
	Size       int   // plain bytes of the piece
}

// Extents lists where the content of a regular file is stored, by ascending FileOffset. Holes are left out. Other inodes
// have none.
func (f *Found) Extents() ([]Extent, error) {
	if !f.Mode.IsRegular() || f.Size == 0 {
		return nil, nil
	}
	c := f.m.content(f.n)
	var all []Extent
	for i := range c.blocks {
		off, size, err := c.at(i)
		if err != nil {
			return nil, fmt.Errorf("find extents of %s: %w", f.Path, err)
		}
		if size != 0 {
			all = append(all, Extent{FileOffset: i * int64(f.m.sb.blockSize), Offset: int64(off), Size: c.plainSize(i)})
		}
	}
	if f.n.fragment == noFragment {
		return all, nil
	}
	off, _, err := f.m.fragmentAt(f.n.fragment)
	if err != nil {
		return nil, fmt.Errorf("find extents of %s: %w", f.Path, err)
	}
	tail := Extent{FileOffset: c.blocks * int64(f.m.sb.blockSize), Offset: int64(off), Skip: int(f.n.offset), Size: c.plainSize(c.blocks)}
	return append(all, tail), nil
}
