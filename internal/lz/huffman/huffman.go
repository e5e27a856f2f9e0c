// Package huffman finds how many bits each symbol of a code takes, with a limit.
//
// How the codes of these lengths are numbered and described is a matter of the format. The lengths decide about the bytes
// of images and deltas: a change is a new ID of every encoder that uses it.
package huffman

import "slices"

// MaxSymbols is the most symbols a code may have.
const MaxSymbols = 288

// maxLimit is the largest limit of Best.
const maxLimit = 15

// Builder holds what is needed on the way. The zero value is ready.
type Builder struct {
	leaves []leaf // rising
	tree   [2 * MaxSymbols]node
}

// leaf is a symbol that occurs: its count above, its number in the low 9 bits.
type leaf uint32

func (l leaf) count() uint32 { return uint32(l >> 9) }
func (l leaf) symbol() int   { return int(l & 511) }

type node struct {
	count  uint32
	parent uint16
	depth  uint16
}

// Quick sets length to the lengths of a code for count of at most limit bits: the best, unless the limit shortens many.
// Symbols that do not occur get 0, one that is alone a bit.
func (b *Builder) Quick(length []uint8, count []uint32, limit int) {
	if b.plain(length, count) > limit {
		b.shorten(limit)
		for i, l := range b.leaves {
			length[l.symbol()] = uint8(b.tree[i].depth)
		}
	}
}

// Best is Quick, but always the best code, by package merge (Larmore and Hirschberg, 1990). limit is at most 15.
func (b *Builder) Best(length []uint8, count []uint32, limit int) {
	if b.plain(length, count) > limit {
		b.merge(length, limit)
	}
}

// plain sets length to the lengths of the code without a limit, and returns the longest.
func (b *Builder) plain(length []uint8, count []uint32) int {
	clear(length)
	b.leaves = b.leaves[:0]
	for s, n := range count {
		if n > 0 {
			b.leaves = append(b.leaves, leaf(min(n, 1<<23-1)<<9|uint32(s)))
		}
	}
	slices.Sort(b.leaves)
	if len(b.leaves) > 1 {
		b.grow()
	} else {
		b.tree[0].depth = 1
	}
	for i, l := range b.leaves {
		length[l.symbol()] = uint8(b.tree[i].depth)
	}
	return int(b.tree[0].depth)
}

// grow makes the tree of Huffman's algorithm: leaves in their order, then inner nodes, in that of theirs.
func (b *Builder) grow() {
	n := len(b.leaves)
	for i, l := range b.leaves {
		b.tree[i].count = l.count()
	}
	leaf, inner := 0, n
	take := func(next int) int {
		if leaf < n && (inner >= next || b.tree[leaf].count <= b.tree[inner].count) {
			leaf++
			return leaf - 1
		}
		inner++
		return inner - 1
	}
	for next := n; next < 2*n-1; next++ {
		x := take(next)
		y := take(next)
		b.tree[x].parent, b.tree[y].parent = uint16(next), uint16(next)
		b.tree[next].count = b.tree[x].count + b.tree[y].count
	}
	b.tree[2*n-2].depth = 0
	for i := 2*n - 3; i >= 0; i-- {
		b.tree[i].depth = b.tree[b.tree[i].parent].depth + 1
	}
}

// shorten cuts the depths of the leaves to limit, and pays for that with the rarest symbols that can be made longer. Leaves
// are in rising order of count, so depths fall.
func (b *Builder) shorten(limit int) {
	tree := b.tree[:len(b.leaves)]
	used := 0 // of the 1<<limit places that codes of limit bits would have
	for i := range tree {
		tree[i].depth = min(tree[i].depth, uint16(limit))
		used += 1 << (limit - int(tree[i].depth))
	}
	for used > 1<<limit {
		for i := range tree {
			if d := int(tree[i].depth); d < limit {
				tree[i].depth++
				used -= 1 << (limit - d - 1)
				break
			}
		}
	}
	for i := len(tree) - 1; i >= 0; i-- { // what is left over goes to the most frequent
		if d := int(tree[i].depth); used+1<<(limit-d) <= 1<<limit {
			tree[i].depth--
			used += 1 << (limit - d)
		}
	}
}

// merge sets the lengths of the leaves by package merge.
func (b *Builder) merge(length []uint8, limit int) {
	n := len(b.leaves)
	var weight, last [2 * MaxSymbols]uint32   // one level's packages and leaves, rising
	var isLeaf [maxLimit][2 * MaxSymbols]bool // for each level, which of its items are leaves
	items := 0
	for level := range limit {
		pairs := items / 2
		copy(last[:items], weight[:items])
		items = 0
		for i, j := 0, 0; i < n || j < pairs; items++ {
			if j >= pairs || i < n && b.leaves[i].count() <= last[2*j]+last[2*j+1] {
				weight[items], isLeaf[level][items] = b.leaves[i].count(), true
				i++
			} else {
				weight[items], isLeaf[level][items] = last[2*j]+last[2*j+1], false
				j++
			}
		}
	}
	for _, l := range b.leaves {
		length[l.symbol()] = 0
	}
	use := 2*n - 2
	for level := limit - 1; level >= 0; level-- {
		leaves := 0
		for _, leaf := range isLeaf[level][:use] {
			if leaf {
				length[b.leaves[leaves].symbol()]++
				leaves++
			}
		}
		use = 2 * (use - leaves)
	}
}
