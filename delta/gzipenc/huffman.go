package gzipenc

import "github.com/slotboot/slotboot/internal/lz/deflate"

// huffman makes codes. Which of several best codes it makes depends on the order in which nodes of the same weight are
// joined: gzip joins by a heap, the shallower first.
type huffman struct {
	weight [2*deflate.Symbols + 1]int
	depth  [2*deflate.Symbols + 1]int
	parent [2*deflate.Symbols + 1]int
	length [2*deflate.Symbols + 1]int
	heap   []int // its root at 1
	joined []int // nodes in the order in which they were joined
}

// build makes the code of symbols that occur so often, no word longer than limit.
func (h *huffman) build(c *deflate.Code, counts []uint32, limit int) {
	h.heap, h.joined = append(h.heap[:0], -1), h.joined[:0]
	top := -1
	for s, n := range counts {
		h.weight[s], h.depth[s], h.length[s] = int(n), 0, 0
		if n > 0 {
			h.heap = append(h.heap, s)
			top = s
		}
	}
	// A code has at least two words.
	for len(h.heap) < 3 {
		s := 0
		if top < 2 {
			top++
			s = top
		}
		h.weight[s] = 1
		h.heap = append(h.heap, s)
	}
	for i := (len(h.heap) - 1) / 2; i > 0; i-- {
		h.sink(i)
	}
	h.join(len(counts))
	h.measure(top, limit)
	clear(c.Length[:])
	for s := range top + 1 {
		c.Length[s] = uint8(h.length[s])
	}
	c.Assign(len(counts))
}

// before tells which of two nodes is joined first.
func (h *huffman) before(a, b int) bool {
	return h.weight[a] < h.weight[b] || h.weight[a] == h.weight[b] && h.depth[a] <= h.depth[b]
}

// sink moves the node at heap[i] down to its place.
func (h *huffman) sink(i int) {
	node := h.heap[i]
	for child := 2 * i; child < len(h.heap); child *= 2 {
		if child+1 < len(h.heap) && h.before(h.heap[child+1], h.heap[child]) {
			child++
		}
		if h.before(node, h.heap[child]) {
			break
		}
		h.heap[i] = h.heap[child]
		i = child
	}
	h.heap[i] = node
}

// join makes the tree; inner nodes are numbered from next on.
func (h *huffman) join(next int) {
	for len(h.heap) > 2 {
		a := h.heap[1]
		last := len(h.heap) - 1
		h.heap[1] = h.heap[last]
		h.heap = h.heap[:last]
		h.sink(1)
		b := h.heap[1]
		h.joined = append(h.joined, a, b)
		h.weight[next] = h.weight[a] + h.weight[b]
		h.depth[next] = max(h.depth[a], h.depth[b]) + 1
		h.parent[a], h.parent[b] = next, next
		h.heap[1] = next
		next++
		h.sink(1)
	}
	h.joined = append(h.joined, h.heap[1])
}

// measure gives every node its length, none above limit. Symbols go up to top.
func (h *huffman) measure(top, limit int) {
	var count [deflate.MaxBits + 1]int
	tooLong := 0
	root := len(h.joined) - 1
	h.length[h.joined[root]] = 0
	for i := root - 1; i >= 0; i-- {
		node := h.joined[i]
		n := h.length[h.parent[node]] + 1
		if n > limit {
			n = limit
			tooLong++
		}
		h.length[node] = n
		if node <= top {
			count[n]++
		}
	}
	if tooLong == 0 {
		return
	}
	for ; tooLong > 0; tooLong -= 2 {
		n := limit - 1
		for count[n] == 0 {
			n--
		}
		// One word goes down a level, and takes one of those that are too long beside it.
		count[n]--
		count[n+1] += 2
		count[limit]--
	}
	// The rarest get the longest words again.
	i := 0
	for n := limit; n > 0; n-- {
		for left := count[n]; left > 0; i++ {
			if node := h.joined[i]; node <= top {
				h.length[node] = n
				left--
			}
		}
	}
}

// appendRuns appends the lengths of a code, in as few symbols as gzip takes.
func appendRuns(runs []deflate.Run, lengths []uint8) []deflate.Run {
	before := -1
	for i := 0; i < len(lengths); {
		n := int(lengths[i])
		most, least := 7, 4
		switch {
		case n == 0:
			most, least = 138, 3
		case n == before:
			most, least = 6, 3
		}
		same := 1
		for same < most && i+same < len(lengths) && int(lengths[i+same]) == n {
			same++
		}
		i += same
		switch {
		case same < least:
			for range same {
				runs = append(runs, deflate.MakeRun(n, 0))
			}
		case n != 0:
			if n != before {
				runs = append(runs, deflate.MakeRun(n, 0))
				same--
			}
			runs = append(runs, deflate.MakeRun(16, same-3))
		case same <= 10:
			runs = append(runs, deflate.MakeRun(17, same-3))
		default:
			runs = append(runs, deflate.MakeRun(18, same-11))
		}
		before = n
	}
	return runs
}
