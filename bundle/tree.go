package bundle

import (
	"bytes"

	"github.com/slotboot/slotboot/internal/verity"
)

// treeCheck compares the bytes of a payload, as they pass, with the hash tree behind them and with its root hash in the
// manifest. A digest cannot tell: it is right for whatever the builder has written, and a device would find out only
// when it boots that.
type treeCheck struct {
	want Verity
	data int64 // bytes of data to come
	skip int   // bytes of the superblock to come, which the kernel does not read
	hash verity.Hasher
	tree []byte // what is to come behind it
	err  error
}

func newTreeCheck(v *Verity) *treeCheck {
	return &treeCheck{want: *v, data: v.DataBlocks * verity.BlockSize, skip: verity.BlockSize}
}

func (c *treeCheck) write(p []byte) {
	if c.err != nil {
		return
	}
	n := int(min(int64(len(p)), c.data))
	c.hash.Write(p[:n])
	c.data -= int64(n)
	p = p[n:]
	if n > 0 && c.data == 0 {
		var b bytes.Buffer
		b.Grow(int(verity.Size(c.want.DataBlocks)))
		root, err := c.hash.Finish(&b)
		if err == nil && root.Hash != c.want.RootHash {
			err = invalidf("verity root hash %s, want %s", root.Hash, c.want.RootHash)
		}
		c.tree, c.err, c.hash = b.Bytes()[verity.BlockSize:], err, verity.Hasher{}
	}
	n = min(len(p), c.skip)
	c.skip -= n
	p = p[n:]
	if c.err != nil || len(p) == 0 {
		return
	}
	if len(p) > len(c.tree) || !bytes.Equal(p, c.tree[:len(p)]) {
		c.err = invalidf("its hash tree is not that of its data")
		return
	}
	c.tree = c.tree[len(p):]
}
