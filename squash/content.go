package squash

import (
	"fmt"
	"io"
	"sync"
)

// stripeBlocks is how many block sizes of a file are in memory at a time: a file of terabytes has millions.
const stripeBlocks = 1024

// content is the bytes of a regular file.
type content struct {
	m      *Image
	n      *inode
	blocks int64 // without the tail in a fragment

	mu     sync.Mutex
	marks  []stripe // where each stripe of block sizes begins; found one after the other
	stripe int64    // the one that is in offsets and sizes, or -1
	offs   [stripeBlocks]uint64
	sizes  [stripeBlocks]uint32
}

type stripe struct {
	r   metaReader
	off uint64 // of its first block
}

func (m *Image) content(n *inode) *content {
	bs := int64(m.sb.blockSize)
	c := &content{m: m, n: n, blocks: n.Size / bs, stripe: -1, marks: []stripe{{n.rest, n.start}}}
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
		// Stripes are found in order, because each begins where the one before ended.
		for s := min(want, int64(len(c.marks))-1); s <= want; s++ {
			if err := c.load(s); err != nil {
				return 0, 0, fmt.Errorf("read block sizes of inode %d: %w", c.n.Inode, err)
			}
		}
	}
	return c.offs[i%stripeBlocks], c.sizes[i%stripeBlocks], nil
}

func (c *content) load(s int64) error {
	c.stripe = -1
	mark := c.marks[s]
	var b [4 * stripeBlocks]byte
	n := min(c.blocks-s*stripeBlocks, stripeBlocks)
	if err := mark.r.read(b[:4*n]); err != nil {
		return err
	}
	for i := range n {
		size := le32(b[4*i:])
		c.offs[i], c.sizes[i] = mark.off, size
		mark.off += uint64(size & blockSizeMask)
		if mark.off > c.m.sb.used && size != 0 {
			return fmt.Errorf("block %d ends at offset %d, the image at %d", s*stripeBlocks+i, mark.off, c.m.sb.used)
		}
	}
	c.stripe = s
	if s == int64(len(c.marks))-1 && c.blocks > (s+1)*stripeBlocks {
		c.marks = append(c.marks, mark)
	}
	return nil
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
