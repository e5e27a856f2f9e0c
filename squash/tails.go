package squash

// tails finds the places of tails by their content. It is a hash table with open addressing, over records in chunks: a map
// takes three times the memory, and a million small files have a million tails.
type tails struct {
	slots []uint32 // number of the record and one, or 0; a power of two of them
	count uint32
	parts [][]tail
}

type tail struct {
	sum   [16]byte
	size  uint32
	place place
}

const (
	tailsFirst = 1 << 10
	tailsPart  = 1 << 10
)

func (t *tails) record(i uint32) *tail { return &t.parts[i/tailsPart][i%tailsPart] }

// find returns the place of the tail with the key, or nil.
func (t *tails) find(k *contentKey) *place {
	if len(t.slots) == 0 {
		return nil
	}
	for h := k.hash(); ; h++ {
		n := t.slots[h&uint32(len(t.slots)-1)]
		if n == 0 {
			return nil
		}
		if r := t.record(n - 1); r.sum == k.sum && int64(r.size) == k.size {
			return &r.place
		}
	}
}

// add takes a tail that is not there.
func (t *tails) add(k *contentKey, at place) {
	if int(t.count)*4 >= len(t.slots)*3 {
		t.slots = make([]uint32, max(tailsFirst, 2*len(t.slots)))
		for i := range t.count {
			r := t.record(i)
			t.enter(i, &contentKey{sum: r.sum})
		}
	}
	if t.count%tailsPart == 0 {
		t.parts = append(t.parts, make([]tail, tailsPart))
	}
	*t.record(t.count) = tail{k.sum, uint32(k.size), at}
	t.enter(t.count, k)
	t.count++
}

func (t *tails) enter(i uint32, k *contentKey) {
	h := k.hash()
	for t.slots[h&uint32(len(t.slots)-1)] != 0 {
		h++
	}
	t.slots[h&uint32(len(t.slots)-1)] = i + 1
}
