package ext4

import (
	"fmt"
	"slices"
)

// geometry is where the metadata of a file system of some size lies.
type geometry struct {
	blocks   int64
	groups   int64
	gdt      int64 // blocks of group descriptors
	reserved int64 // blocks set aside for more of them
}

// run is count blocks from start.
type run struct{ start, count int64 }

func (r run) end() int64 { return r.start + r.count }

func shape(size, growTo int64) (geometry, error) {
	g := geometry{blocks: size / blockSize}
	if g.blocks >= 1<<32 || growTo > 1<<44 {
		return g, fmt.Errorf("size %d growing to %d, want at most 16 TiB", size, growTo)
	}
	for {
		g.groups = (g.blocks + groupBlocks - 1) / groupBlocks
		g.gdt = descBlocks(g.groups)
		most := descBlocks((growTo/blockSize + groupBlocks - 1) / groupBlocks)
		// The resize inode lists the reserved blocks in one block of pointers.
		g.reserved = max(0, min(most, pointersPerBlk)-g.gdt)
		if g.groups == 0 {
			return g, fmt.Errorf("%w: %d bytes", ErrTooSmall, size)
		}
		last := g.groups - 1
		need := g.superBlocks(last) + 64
		if last%flexGroups == 0 {
			need += 2 + tableBlocks
		}
		if g.groupSize(last) >= need {
			return g, nil
		}
		// The last group would hold little but its own metadata.
		g.blocks = last * groupBlocks
	}
}

func descBlocks(groups int64) int64 { return (groups + descsPerBlock - 1) / descsPerBlock }

// hasSuper tells which groups start with a copy of the superblock and the descriptors: 0, 1 and the powers of 3, 5, 7.
func hasSuper(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

func (g geometry) superBlocks(group int64) int64 {
	if !hasSuper(group) {
		return 0
	}
	return 1 + g.gdt + g.reserved
}

func (g geometry) groupSize(group int64) int64 {
	return min(groupBlocks, g.blocks-group*groupBlocks)
}

// flex returns the first group of the flex group that group is in, the number of groups in it, and the block where
// their bitmaps and tables start.
func (g geometry) flex(group int64) (first, count, tables int64) {
	first = group / flexGroups * flexGroups
	count = min(flexGroups, g.groups-first)
	return first, count, first*groupBlocks + g.superBlocks(first)
}

func (g geometry) blockBitmap(group int64) int64 {
	first, _, tables := g.flex(group)
	return tables + group - first
}

func (g geometry) inodeBitmap(group int64) int64 {
	first, count, tables := g.flex(group)
	return tables + count + group - first
}

func (g geometry) inodeTable(group int64) int64 {
	first, count, tables := g.flex(group)
	return tables + 2*count + (group-first)*tableBlocks
}

// metadata returns the blocks that no file may use, in order.
func (g geometry) metadata() []run {
	var runs []run
	for group := range g.groups {
		r := run{group * groupBlocks, g.superBlocks(group)}
		if first, count, _ := g.flex(group); first == group {
			r.count += count * (2 + tableBlocks)
		}
		if r.count > 0 {
			runs = append(runs, r)
		}
	}
	return runs
}

// takeRun takes count blocks in one piece. Past the end of the file system it goes on, for place to notice.
func (v *volume) takeRun(count int64) run {
	for _, t := range v.taken {
		if t.end() > v.cursor && t.start < v.cursor+count {
			v.cursor = t.end()
		}
	}
	r := run{v.cursor, count}
	v.insert(r)
	return r
}

// take takes count blocks as runs of at most maxExtent, going round what is taken.
func (v *volume) take(count int64) []run {
	var runs []run
	for count > 0 {
		n := min(count, maxExtent)
		for _, t := range v.taken {
			if t.start <= v.cursor && v.cursor < t.end() {
				v.cursor = t.end()
			}
			if t.start > v.cursor {
				n = min(n, t.start-v.cursor)
				break
			}
		}
		r := run{v.cursor, n}
		v.insert(r)
		runs = append(runs, r)
		count -= n
	}
	return runs
}

func (v *volume) insert(r run) {
	at, _ := slices.BinarySearchFunc(v.taken, r, func(a, b run) int { return int(a.start - b.start) })
	v.taken = slices.Insert(v.taken, at, r)
	v.cursor = r.end()
}

func (v *volume) used() int64 {
	var sum int64
	for _, r := range v.taken {
		sum += r.count
	}
	return sum
}
