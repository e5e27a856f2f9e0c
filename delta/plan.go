package delta

import (
	"bytes"
	"hash/crc32"
	"hash/maphash"
)

// item is what makes a stretch of the new file: a copy of stored bytes, or a window of regions.
type item struct {
	from, length int64 // a copy of the old file, if length > 0
	sum          uint32
	first, count int // regions of the new file
}

// planItems decides for each region of the new file whether its stored bytes stand in the old one, and groups the rest
// into windows.
func planItems(old, next *imageMap) ([]item, error) {
	have, err := indexStored(old)
	if err != nil {
		return nil, err
	}
	var items []item
	plain := 0
	for i, r := range next.regions {
		stored, err := next.stored(i)
		if err != nil {
			return nil, err
		}
		at, ok, err := have.find(stored, lastCopyEnd(items))
		if err != nil {
			return nil, err
		}
		n := len(items) - 1
		switch {
		case ok && n >= 0 && items[n].length > 0 && items[n].from+items[n].length == at:
			items[n].length += int64(r.stored)
			items[n].sum = crc32.Update(items[n].sum, castagnoli, stored)
		case ok:
			items = append(items, item{from: at, length: int64(r.stored), sum: crc32.Checksum(stored, castagnoli)})
		case n >= 0 && items[n].length == 0 && !r.kind.isPack() && plain+r.plain <= maxWindow && items[n].count < maxRegions:
			items[n].count++
			plain += r.plain
		default:
			items = append(items, item{first: i, count: 1})
			if plain = r.plain; r.kind.isPack() { // it stands alone
				plain = maxWindow
			}
		}
	}
	return items, nil
}

// lastCopyEnd is where the next region of the old file is if the last item is a copy, else -1.
func lastCopyEnd(items []item) int64 {
	if n := len(items) - 1; n >= 0 && items[n].length > 0 {
		return items[n].from + items[n].length
	}
	return -1
}

// minCopy is the smallest region worth a copy: a copy costs about a dozen bytes, a patch of equal bytes less.
const minCopy = 64

// storedIndex finds regions of the old file by their stored bytes.
type storedIndex struct {
	m      *imageMap
	seed   maphash.Seed
	byHash map[uint64][]int32
	byOff  map[int64]int32
}

func indexStored(m *imageMap) (*storedIndex, error) {
	x := &storedIndex{m: m, seed: maphash.MakeSeed(), byHash: map[uint64][]int32{}, byOff: map[int64]int32{}}
	for i, r := range m.regions {
		if r.stored < minCopy {
			continue
		}
		b, err := m.stored(i)
		if err != nil {
			return nil, err
		}
		h := maphash.Bytes(x.seed, b)
		x.byHash[h] = append(x.byHash[h], int32(i))
		x.byOff[r.off] = int32(i)
	}
	return x, nil
}

// find returns where the old file has a region of these bytes: at the offset next if it is there, else the first one.
// The seed of the hash is random, the answer is not: bytes are compared.
func (x *storedIndex) find(b []byte, next int64) (int64, bool, error) {
	same := func(i int32) (bool, error) {
		if x.m.regions[i].stored != len(b) {
			return false, nil
		}
		have, err := x.m.stored(int(i))
		return err == nil && bytes.Equal(have, b), err
	}
	if len(b) < minCopy {
		return 0, false, nil
	}
	if i, ok := x.byOff[next]; ok {
		if eq, err := same(i); eq || err != nil {
			return next, eq, err
		}
	}
	for _, i := range x.byHash[maphash.Bytes(x.seed, b)] {
		if eq, err := same(i); eq || err != nil {
			return x.m.regions[i].off, eq, err
		}
	}
	return 0, false, nil
}
