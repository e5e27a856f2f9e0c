package squash

import (
	"bytes"
	"container/list"
	"sync"
)

// cache keeps decoded blocks by their offset, the last used ones, up to limit bytes.
type cache struct {
	mu    sync.Mutex
	limit int
	size  int
	byOff map[int64]*list.Element
	used  list.List // front: used last
}

type cached struct {
	off   int64
	plain []byte
	next  int64 // where the following metadata block is
	done  chan struct{}
	err   error
}

// cachedCost is about what an entry costs beside its plain bytes, which may be one.
const cachedCost = 256

func newCache(limit int) *cache { return &cache{limit: limit, byOff: map[int64]*list.Element{}} }

// get returns the block at off, which load makes if it is not there. Two callers never load the same block at once.
// Errors are not kept.
func (c *cache) get(off int64, load func() (plain []byte, next int64, err error)) ([]byte, int64, error) {
	c.mu.Lock()
	if e, ok := c.byOff[off]; ok {
		c.used.MoveToFront(e)
		c.mu.Unlock()
		b := e.Value.(*cached)
		<-b.done
		return b.plain, b.next, b.err
	}
	b := &cached{off: off, done: make(chan struct{})}
	e := c.used.PushFront(b)
	c.byOff[off] = e
	c.mu.Unlock()

	b.plain, b.next, b.err = load()
	close(b.done)

	c.mu.Lock()
	defer c.mu.Unlock()
	if b.err != nil {
		c.drop(e)
		return nil, 0, b.err
	}
	c.size += len(b.plain) + cachedCost
	for e := c.used.Back(); e != nil && c.size > c.limit; {
		prev := e.Prev()
		select {
		case <-e.Value.(*cached).done:
			c.size -= len(e.Value.(*cached).plain) + cachedCost
			c.drop(e)
		default:
		}
		e = prev
	}
	return b.plain, b.next, nil
}

// fitted returns b, which was decoded into an array of room bytes, as a cache may keep it: b counts by its length, so an
// array that it leaves mostly empty is not to stay with it.
func fitted(b []byte, room int) []byte {
	if len(b) <= room/4*3 {
		return bytes.Clone(b)
	}
	return b[:len(b):len(b)]
}

func (c *cache) drop(e *list.Element) {
	if c.byOff[e.Value.(*cached).off] == e {
		c.used.Remove(e)
		delete(c.byOff, e.Value.(*cached).off)
	}
}
