package flateenc

import (
	"math/bits"
	"slices"
)

// code is a canonical Huffman code: of each symbol the bits as they are written, first bit lowest, and their number.
type code struct {
	bits   [fixedSymbols]uint16
	length [fixedSymbols]uint8
}

// coder makes codes.
type coder struct {
	order []uint32 // count<<9 | symbol, rising
	tree  [2 * symbols]treeNode
}

type treeNode struct {
	count  uint32
	parent uint16
	depth  uint16
}

// build makes the best code for count, with at most limit bits. Symbols that do not occur get none; one that is alone gets
// a bit.
func (h *coder) build(c *code, count []uint32, limit int) {
	clear(c.length[:])
	h.order = h.order[:0]
	for s, n := range count {
		if n > 0 {
			h.order = append(h.order, min(n, 1<<23-1)<<9|uint32(s))
		}
	}
	slices.Sort(h.order)
	switch len(h.order) {
	case 0:
		return
	case 1:
		c.length[h.order[0]&511] = 1
		c.assign(len(count))
		return
	}
	h.depths()
	h.shorten(limit)
	for i, o := range h.order {
		c.length[o&511] = uint8(h.tree[i].depth)
	}
	c.assign(len(count))
}

// depths makes the tree of Huffman's algorithm, with the leaves in the order of h.order.
func (h *coder) depths() {
	n := len(h.order)
	for i, o := range h.order {
		h.tree[i].count = o >> 9
	}
	leaf, inner := 0, n
	take := func(next int) int {
		if leaf < n && (inner >= next || h.tree[leaf].count <= h.tree[inner].count) {
			leaf++
			return leaf - 1
		}
		inner++
		return inner - 1
	}
	for next := n; next < 2*n-1; next++ {
		a := take(next)
		b := take(next)
		h.tree[a].parent, h.tree[b].parent = uint16(next), uint16(next)
		h.tree[next].count = h.tree[a].count + h.tree[b].count
	}
	h.tree[2*n-2].depth = 0
	for i := 2*n - 3; i >= 0; i-- {
		h.tree[i].depth = h.tree[h.tree[i].parent].depth + 1
	}
}

// shorten cuts the depths of the leaves to limit, and pays for that with the rarest symbols that can be made longer. Leaves
// are in rising order of count, so depths fall.
func (h *coder) shorten(limit int) {
	n := len(h.order)
	if int(h.tree[0].depth) <= limit {
		return
	}
	used := 0 // of the 1<<limit places that codes of limit bits would have
	for i := range n {
		h.tree[i].depth = min(h.tree[i].depth, uint16(limit))
		used += 1 << (limit - int(h.tree[i].depth))
	}
	for used > 1<<limit {
		for i := range n {
			if d := int(h.tree[i].depth); d < limit {
				h.tree[i].depth++
				used -= 1 << (limit - d - 1)
				break
			}
		}
	}
	for i := n - 1; i >= 0; i-- { // what is left over goes to the most frequent
		if d := int(h.tree[i].depth); used+1<<(limit-d) <= 1<<limit {
			h.tree[i].depth--
			used += 1 << (limit - d)
		}
	}
}

// assign gives the codes of RFC 1951, 3.2.2 to the lengths of n symbols.
func (c *code) assign(n int) {
	var count, next [maxBits + 2]uint16
	for _, l := range c.length[:n] {
		count[l]++
	}
	count[0] = 0
	for l := 1; l <= maxBits; l++ {
		next[l+1] = (next[l] + count[l]) << 1
	}
	for s, l := range c.length[:n] {
		if l > 0 {
			c.bits[s] = bits.Reverse16(next[l]) >> (16 - l)
			next[l]++
		}
	}
}
