package squash

import (
	"encoding/binary"
	"testing"
)

func TestEveryTailIsFoundAgainAndNoOther(t *testing.T) {
	key := func(i int) *contentKey {
		k := &contentKey{size: int64(i % 7)}
		binary.LittleEndian.PutUint32(k.sum[:], uint32(i%100)) // hashes that meet, and keys that differ behind them
		binary.LittleEndian.PutUint32(k.sum[8:], uint32(i))
		return k
	}
	var all tails
	const n = 5000
	for i := range n {
		if at := all.find(key(i)); at != nil {
			t.Fatalf("find(%d) = %v before it was added, want nil", i, *at)
		}
		all.add(key(i), place{uint32(i), uint32(2 * i)})
	}
	for i := range n {
		if at := all.find(key(i)); at == nil || *at != (place{uint32(i), uint32(2 * i)}) {
			t.Fatalf("find(%d) = %v, want what was added", i, at)
		}
		other := *key(i)
		other.size++
		if at := all.find(&other); at != nil {
			t.Fatalf("find(%d, a byte longer) = %v, want nil", i, *at)
		}
	}
}
