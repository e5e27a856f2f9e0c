package squash

import (
	"fmt"
	"io"
	"sync"
)

// stripeBlocks is how many block sizes of a file are in memory at a time: a file of terabytes has millions. marksMax is
// how many places between them are remembered: when there are more, every second one is forgotten.
const (
	stripeBlocks = 1024
	marksMax     = 4096
)

// content is the bytes of a regular file.
type content struct {
	m      *Image
	n      *inode
	blocks int64 // without the tail in a fragment

	mu     sync.Mutex
	marks  []mark // where stripe i*every begins; found one after the other, because each begins where the one before ended
	every  int64
	stripe int64 // the one that is in offs and sizes, or -1
	after  mark  // where the next one begins
	offs   []uint64
	sizes  []uint32
}

// mark is the beginning of a stripe: its block sizes, and its first block.
type mark struct {
	block int64
	off   int
	data  uint64
}

func (m *Image) content(n *inode) *content {
	bs := int64(m.sb.blockSize)
	c := &content{m: m, n: n, blocks: n.Size / bs, stripe: -1, every: 1,
		marks: []mark{{n.rest.block, n.rest.off, n.start}}}
	if n.fragment == noFragment && n.Size%bs != 0 {
		c.blocks++
	}
	return c
}

// plainSize is how long block i is; the tail in a fragment counts as the last block.
func (c *content) plainSize(i int64) int {
	return int(min(int64(c.m.sb.blockSize), c.n.Size-i*int64(c.m.sb.blockSize)))
}

// at returns where block i is and its stored size; 0 is a hole.
func (c *content) at(i int64) (off uint64, size uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := i / stripeBlocks; want != c.stripe {
		if err := c.seek(want); err != nil {
			c.stripe = -1
			return 0, 0, fmt.Errorf("read block sizes of inode %d: %w", c.n.Inode, err)
		}
	}
	return c.offs[i%stripeBlocks], c.sizes[i%stripeBlocks], nil
}

// seek loads a stripe, and those between it and the nearest mark before it.
func (c *content) seek(want int64) error {
	near := min(want/c.every, int64(len(c.marks))-1)
	s, at := near*c.every, c.marks[near]
	if c.stripe >= s && c.stripe < want {
		s, at = c.stripe+1, c.after
	}
	for ; s <= want; s++ {
		var err error
		if at, err = c.load(s, at); err != nil {
			return err
		}
		c.stripe, c.after = s, at
		if s+1 != c.every*int64(len(c.marks)) {
			continue
		}
		if c.marks = append(c.marks, at); len(c.marks) > marksMax {
			half := (len(c.marks) + 1) / 2
			for i := range half {
				c.marks[i] = c.marks[2*i]
			}
			c.marks = c.marks[:half]
			c.every *= 2
		}
	}
	return nil
}

// load reads the block sizes of stripe s, which begins at at, and returns where the next one does.
func (c *content) load(s int64, at mark) (mark, error) {
	r := metaReader{m: c.m, block: at.block, off: at.off, end: c.n.rest.end}
	var b [4 * stripeBlocks]byte
	n := min(c.blocks-s*stripeBlocks, stripeBlocks)
	if err := r.read(b[:4*n]); err != nil {
		return at, err
	}
	if int64(cap(c.offs)) < n { // a thousand open files of one block each need not have room for a thousand
		c.offs, c.sizes = make([]uint64, n), make([]uint32, n)
	}
	c.offs, c.sizes = c.offs[:n], c.sizes[:n]
	data := at.data
	for i := range n {
		size := le32(b[4*i:])
		c.offs[i], c.sizes[i] = data, size
		data += uint64(size & blockSizeMask)
		if size != 0 && data > c.m.sb.used {
			return at, fmt.Errorf("block %d ends at offset %d, the image at %d", s*stripeBlocks+i, data, c.m.sb.used)
		}
	}
	return mark{r.block, r.off, data}, nil
}

// fragmentAt returns where the fragment block with the tail is.
func (m *Image) fragmentAt(i uint32) (off uint64, size uint32, err error) {
	rec, err := m.fragTable.record(int64(i))
	if err != nil {
		return 0, 0, err
	}
	return le64(rec), le32(rec[8:]), nil
}

// tail returns the bytes of the file that are in a fragment.
func (c *content) tail() ([]byte, error) {
	off, size, err := c.m.fragmentAt(c.n.fragment)
	if err != nil {
		return nil, err
	}
	b, err := c.m.dataBlock(off, size)
	if err != nil {
		return nil, err
	}
	n := int64(c.plainSize(c.blocks))
	if int64(c.n.offset)+n > int64(len(b)) {
		return nil, fmt.Errorf("fragment at offset %d has %d bytes, inode %d wants %d from %d on", off, len(b), c.n.Inode, n, c.n.offset)
	}
	return b[c.n.offset:][:n], nil
}

// block returns the plain bytes of block i, or nil for a hole. With cached the block is kept for the next read, and
// must not be changed; else it may be in buf.
func (c *content) block(i int64, buf []byte, cached bool) ([]byte, error) {
	if i == c.blocks {
		return c.tail()
	}
	off, size, err := c.at(i)
	if err != nil || size == 0 {
		return nil, err
	}
	var b []byte
	if cached {
		b, err = c.m.dataBlock(off, size)
	} else {
		b, err = c.m.decodeBlock(off, size, buf)
	}
	if err == nil && len(b) != c.plainSize(i) {
		err = fmt.Errorf("block at offset %d has %d bytes, block %d of inode %d wants %d", off, len(b), i, c.n.Inode, c.plainSize(i))
	}
	return b, err
}

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at offset %d: it is negative", off)
	}
	bs := int64(c.m.sb.blockSize)
	for len(p) > 0 && off < c.n.Size {
		i := off / bs
		b, err := c.block(i, nil, true)
		if err != nil {
			return n, err
		}
		k := int(min(int64(len(p)), int64(c.plainSize(i))-off%bs))
		if b == nil {
			clear(p[:k])
		} else {
			copy(p[:k], b[off%bs:])
		}
		p, off, n = p[k:], off+int64(k), n+k
	}
	if len(p) > 0 {
		return n, io.EOF
	}
	return n, nil
}
