package delta

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"github.com/slotboot/slotboot/squash"
)

// castagnoli is the polynomial of every checksum in a delta: CRC-32C, which amd64 and arm64 compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// source is one region of the old file that windows are patched from.
type source struct {
	region
	at  int64 // where its plain bytes begin in the old plain content
	sum uint32
}

// sources is the old plain content: the plain bytes of the used regions, one behind the other. It decompresses what is
// asked for and keeps the last few regions.
type sources struct {
	file    io.ReaderAt
	dec     *squash.Decoder
	list    []source
	size    int64 // plain bytes
	cache   map[int]*list.Element
	order   *list.List // most recently used first
	held    int
	limit   int // bytes that may be held
	members []member
	gunzip  inflater
	dry     bool  // counts what it would load, and has no bytes
	spent   int64 // plain bytes loaded so far
	most    int64 // that may be loaded
}

func newSources(limit int, most int64) *sources {
	return &sources{cache: map[int]*list.Element{}, order: list.New(), limit: limit, most: most}
}

// member is what an inflated source is made from: inflated, or a pack of this kind.
type member struct {
	spans []span
	kind  kind
}

// span is a stretch of the old plain content: a piece of an old member.
type span struct {
	at int64
	n  int
}

type cached struct {
	i     int
	plain []byte
}

// cacheSize is how much old plain content the applier keeps: patches of one file go to and fro within it.
const cacheSize = 6 << 20

// oldCache returns the same for a delta that needs what is listed.
func oldCache(needs []string) int {
	switch {
	case slices.Contains(needs, lz4Encoder):
		return packCache
	case slices.Contains(needs, zstdEncoder):
		return zstdCache
	}
	return cacheSize
}

// readSources reads the table of sources from the control and check columns.
func readSources(cols *[numColumns]*columnReader, file io.ReaderAt, h Header) (*sources, error) {
	s := newSources(oldCache(h.Needs), h.Inflate)
	s.file = file
	n, err := cols[colControl].uint(maxSources)
	if err != nil {
		return nil, err
	}
	packed := false
	var end int64
	for range n {
		var src source
		gap, err := cols[colControl].uint(h.Source.Size)
		if err != nil {
			return nil, err
		}
		if src.region, err = readRegion(cols[colControl]); err != nil {
			return nil, err
		}
		src.off, src.at = end+gap, s.size
		if end = src.off + int64(src.stored); end > h.Source.Size {
			return nil, damaged("a source at %d of %d bytes, but the old file has %d", src.off, src.stored, h.Source.Size)
		}
		if src.sum, err = readSum(cols); err != nil {
			return nil, err
		}
		s.size += int64(src.plain)
		packed = packed || src.kind == block || src.kind == meta
		s.list = append(s.list, src)
	}
	if packed {
		if s.dec, err = squash.NewDecoder(squash.Compression(h.Compression), max(h.BlockSize, squash.MinBlockSize)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	if len(h.Needs) > 0 {
		err = s.readMembers(cols[colControl])
	}
	return s, err
}

// readMembers reads the table of old members, whose plain bytes follow those of the regions in the old plain content.
func (s *sources) readMembers(c *columnReader) error {
	n, err := c.uint(maxSources)
	if err != nil {
		return err
	}
	regions := s.size
	var end, pieces int64
	for range n {
		v, err := c.uint(maxPack<<2 | 3)
		if err != nil {
			return err
		}
		plain, form, most := v>>2, inflated+kind(v&3), int64(maxMember)
		if form.isPack() {
			most = maxPacked
		} else if plain > maxText {
			return damaged("an old member of %d bytes", plain)
		}
		count, err := c.uint(maxPieces)
		if err != nil {
			return err
		}
		if pieces += max(count, 1); pieces > maxOldPieces {
			return damaged("more than %d pieces of old members", maxOldPieces)
		}
		var spans []span
		stored := int64(0)
		for range count {
			seek, err := c.int()
			if err != nil {
				return err
			}
			size, err := c.uint(most)
			if err != nil {
				return err
			}
			at := end + seek
			if stored += size; at < 0 || at > regions || size > regions-at || stored > most {
				return damaged("a piece of an old member at %d for %d bytes, there are %d", at, size, regions)
			}
			spans = append(spans, span{at, int(size)})
			end = at + size
		}
		if plain == 0 {
			return damaged("an old member of %d bytes", plain)
		}
		s.list = append(s.list, source{region: region{plain: int(plain), off: int64(len(s.members)), kind: inflated}, at: s.size})
		s.members = append(s.members, member{spans, form})
		s.size += plain
	}
	return nil
}

// readRegion reads what writeRegion writes: plain size and kind, then the stored size where it is not known from them.
func readRegion(c *columnReader) (region, error) {
	v, err := c.uint(maxBlockSize<<2 | 3)
	if err != nil {
		return region{}, err
	}
	r := region{plain: int(v >> 2), kind: kind(v & 3)}
	if r.plain == 0 || r.plain > maxPlain[r.kind] {
		return r, damaged("a region of kind %d with %d plain bytes", r.kind, r.plain)
	}
	switch r.kind {
	case raw:
		r.stored = r.plain
	case metaRaw:
		r.stored = r.plain + 2
	default:
		n, err := c.uint(maxBlockSize)
		if err != nil {
			return r, err
		}
		r.stored = int(n)
	}
	return r, nil
}

func readSum(cols *[numColumns]*columnReader) (uint32, error) {
	var b [4]byte
	err := cols[colCheck].full(b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// read fills p with the old plain content at off.
func (s *sources) read(p []byte, off int64) error {
	return s.visit(off, int64(len(p)), p)
}

// visit goes over n bytes of the old plain content at off, and copies them to p unless s is dry.
func (s *sources) visit(off, n int64, p []byte) error {
	if off < 0 || n > s.size-off {
		return damaged("old content at %d for %d bytes, there are %d", off, n, s.size)
	}
	for i := s.index(off); n > 0; i++ {
		plain, err := s.plain(i)
		if err != nil {
			return err
		}
		skip := off - s.list[i].at
		part := min(n, int64(s.list[i].plain)-skip)
		if !s.dry {
			copy(p, plain[skip:skip+part])
			p = p[part:]
		}
		off, n = off+part, n-part
	}
	return nil
}

// cost returns what loading a source counts, besides those that it is made from.
func (s *sources) cost(src source) int64 {
	n := int64(src.plain + sourceCost)
	if src.kind == inflated {
		n += int64(len(s.members[src.off].spans)) * sourceCost
	}
	return n
}

// dearest returns the most that visit would load for n bytes at off.
func (s *sources) dearest(off, n int64) (cost int64) {
	for i, end := s.index(off), off+n; i < len(s.list) && s.list[i].at < end; i++ {
		cost += s.cost(s.list[i])
		if s.list[i].kind == inflated {
			for _, part := range s.members[s.list[i].off].spans {
				cost += s.dearest(part.at, int64(part.n))
			}
		}
	}
	return cost
}

// plain returns the plain bytes of source i, nil if s is dry.
func (s *sources) plain(i int) ([]byte, error) {
	if e, ok := s.cache[i]; ok {
		s.order.MoveToFront(e)
		return e.Value.(cached).plain, nil
	}
	plain, err := s.load(s.list[i])
	if err != nil {
		return nil, err
	}
	s.held += s.list[i].plain + sourceCost
	s.cache[i] = s.order.PushFront(cached{i, plain})
	s.evict(s.limit, 1)
	return plain, nil
}

// evict lets go of what was used longest ago, until no more than limit bytes or so many sources are held.
func (s *sources) evict(limit, keep int) {
	for s.held > limit && s.order.Len() > keep {
		old := s.order.Remove(s.order.Back()).(cached)
		delete(s.cache, old.i)
		s.held -= s.list[old.i].plain + sourceCost
	}
}

// load makes the plain bytes of a source, nil if s is dry.
func (s *sources) load(src source) ([]byte, error) {
	if s.spent += s.cost(src); s.spent > s.most {
		return nil, damaged("it inflates more than the %d bytes of old content that it says", s.most)
	}
	if src.kind == inflated {
		return s.inflate(src)
	}
	if s.dry {
		return nil, nil
	}
	stored := make([]byte, src.stored)
	if err := readOld(s.file, stored, src.off); err != nil {
		return nil, err
	}
	if got := crc32.Checksum(stored, castagnoli); got != src.sum {
		return nil, fmt.Errorf("%w: old file at %d, %d bytes: checksum %08x, want %08x", ErrOtherSource, src.off, src.stored, got, src.sum)
	}
	plain, err := decode(src.region, s.dec, stored)
	if err != nil {
		return nil, damaged("source at %d: %w", src.off, err)
	}
	return plain, nil
}

func (s *sources) inflate(src source) ([]byte, error) {
	one := s.members[src.off]
	if one.kind.isPack() {
		return s.unpack(one, src)
	}
	var stored []byte
	for _, part := range one.spans {
		stored = append(stored, make([]byte, part.n)...)
		if err := s.read(stored[len(stored)-part.n:], part.at); err != nil {
			return nil, err
		}
	}
	if s.dry {
		return nil, nil
	}
	plain, _, err := s.gunzip.inflate(stored, src.plain)
	if err == nil && len(plain) != src.plain {
		err = fmt.Errorf("%d plain bytes, want %d", len(plain), src.plain)
	}
	if err != nil {
		return nil, damaged("old member %d: %w", src.off, err)
	}
	return plain, nil
}

// unpack makes a pack, which is large: what it is made from is not kept, and what was used longest ago goes before.
func (s *sources) unpack(one member, src source) ([]byte, error) {
	size := 0
	for _, part := range one.spans {
		size += part.n
	}
	stored := make([]byte, 0, size)
	for _, part := range one.spans {
		i := s.index(part.at)
		for at, end := part.at, part.at+int64(part.n); at < end; i++ {
			plain, err := s.load(s.list[i])
			if err != nil {
				return nil, err
			}
			skip := at - s.list[i].at
			n := min(int64(s.list[i].plain)-skip, end-at)
			if !s.dry {
				stored = append(stored, plain[skip:skip+n]...)
			}
			at += n
		}
	}
	s.evict(s.limit-src.plain, 0)
	if s.dry {
		return nil, nil
	}
	plain, err := unpack(one.kind, stored, src.plain)
	if err != nil {
		return nil, damaged("old member %d: %w", src.off, err)
	}
	return plain, nil
}

// index returns which source has the old plain content at off.
func (s *sources) index(off int64) int {
	return sort.Search(len(s.list), func(i int) bool { return s.list[i].at > off }) - 1
}

// readOld fills p from the old file. A file that is too short is another file.
func readOld(file io.ReaderAt, p []byte, off int64) error {
	n, err := file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("%w: old file ends at %d, want %d bytes at %d", ErrOtherSource, off+int64(n), len(p), off)
	}
	return fmt.Errorf("read old file at %d: %w", off, err)
}
