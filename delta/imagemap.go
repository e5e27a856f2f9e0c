package delta

import (
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/slotboot/slotboot/squash"
)

// rawSize is how large a raw region gets: as a squashfs block, so that the applier's cache holds many.
const rawSize = 128 << 10

// The paths that stand for what is no file's content. No real path begins with a NUL.
const (
	pathInodes  = "\x00inodes"
	pathFolders = "\x00folders"
	pathTables  = "\x00tables"
	pathRaw     = "\x00raw"
	pathPacks   = "\x00packs"
)

// piece is a stretch of a file's content in a region's plain bytes.
type piece struct {
	path   string
	off    int64 // in the file
	region int
	skip   int // plain bytes of the region before it
	size   int
}

// oldMember is what an inflated region is made from.
type oldMember struct {
	pieces []piece // of regions
	plain  int
	kind   kind // inflated, or a pack
}

// imageMap is a file as a row of regions, and what is in them.
type imageMap struct {
	file        io.ReaderAt
	size        int64
	squashfs    bool
	compression squash.Compression
	blockSize   int
	regions     []region
	at          []int64            // where the plain bytes of each region begin in the plain content of the whole file
	owners      [][]piece          // of each region, by skip; bytes that two files share have one owner
	paths       map[string][]piece // by offset in the file
	dec         *squash.Decoder
	members     []oldMember // of each inflated region; they stand behind all others

	mu    sync.Mutex // of the last few plain regions
	plain map[int][]byte
	order []int
}

// mapImage takes a file apart. What is no squashfs is a row of raw regions.
func mapImage(file io.ReaderAt, size int64) (*imageMap, error) {
	m := &imageMap{file: file, size: size, paths: map[string][]piece{}, plain: map[int][]byte{}}
	var head [4]byte
	if _, err := file.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return nil, err
	}
	m.squashfs = string(head[:]) == "hsqs"
	if !m.squashfs {
		m.addRaw(size)
		return m, m.finish(nil)
	}
	img, err := squash.Open(io.NewSectionReader(file, 0, size))
	if err != nil {
		return nil, err
	}
	info := img.Info()
	m.blockSize, m.compression = info.BlockSize, info.Compression
	if m.dec, err = squash.NewDecoder(superCompression(info.Compression), m.blockSize); err != nil {
		return nil, err
	}
	blocks, err := img.Blocks()
	if err != nil {
		return nil, err
	}
	index := make(map[int64]int, len(blocks)) // stored offset -> region
	for _, b := range blocks {
		if err := m.addBlock(b, index); err != nil {
			return nil, err
		}
	}
	m.addRaw(size)
	return m, m.finish(func() error { return m.addFiles(img, index) })
}

// superCompression is the compressor whose number is in the superblock: an image without compression names gzip.
func superCompression(c squash.Compression) squash.Compression {
	if c == squash.None {
		return squash.Gzip
	}
	return c
}

// end is where the regions so far end.
func (m *imageMap) end() int64 {
	if len(m.regions) == 0 {
		return 0
	}
	last := m.regions[len(m.regions)-1]
	return last.off + int64(last.stored)
}

// addRaw adds raw regions up to the offset to.
func (m *imageMap) addRaw(to int64) {
	for at := m.end(); at < to; at = m.end() {
		n := int(min(rawSize-at%rawSize, to-at))
		m.addRegion(region{off: at, stored: n, plain: n, kind: raw}, pathRaw)
	}
}

// addRegion adds a region. One that is no file's content belongs to the path that stands for its kind.
func (m *imageMap) addRegion(r region, path string) {
	if path != "" {
		m.addPiece(path, len(m.regions), 0, r.plain)
	}
	m.regions = append(m.regions, r)
}

// addPiece adds size plain bytes of a region to the end of a path.
func (m *imageMap) addPiece(path string, region, skip, size int) {
	var off int64
	if have := m.paths[path]; len(have) > 0 {
		last := have[len(have)-1]
		off = last.off + int64(last.size)
	}
	m.paths[path] = append(m.paths[path], piece{path, off, region, skip, size})
}

// addBlock adds a block, and what is between it and the one before.
func (m *imageMap) addBlock(b squash.Block, index map[int64]int) error {
	r := region{off: b.Offset, stored: b.Stored, plain: b.Plain, kind: block}
	path := ""
	switch b.Kind {
	case squash.DataBlock, squash.FragmentBlock:
		if !b.Packed {
			r.kind, r.plain = raw, b.Stored
		}
	default:
		r.off, r.stored, r.kind = b.Offset-2, b.Stored+2, meta
		if !b.Packed {
			r.kind, r.plain = metaRaw, b.Stored
		}
		path = map[squash.BlockKind]string{squash.InodeBlock: pathInodes, squash.FolderBlock: pathFolders}[b.Kind]
		if path == "" {
			path = pathTables
		}
	}
	m.addRaw(r.off)
	// The size of metadata is not known before decoding, and a fragment may hold more than its tails.
	if r.kind == meta || r.kind == block && b.Kind == squash.FragmentBlock {
		stored := make([]byte, b.Stored)
		if _, err := m.file.ReadAt(stored, b.Offset); err != nil {
			return err
		}
		limit := metaSize
		if r.kind == block {
			limit = m.blockSize
		}
		n, err := m.dec.Decode(make([]byte, limit), stored)
		if err != nil {
			return fmt.Errorf("%v block at offset %d: %w", b.Kind, b.Offset, err)
		}
		r.plain = n
	}
	index[b.Offset] = len(m.regions)
	m.addRegion(r, path)
	return nil
}

// addFiles finds the content of each file in the regions.
func (m *imageMap) addFiles(img *squash.Image, index map[int64]int) error {
	return img.Walk(func(f *squash.Found) error {
		extents, err := f.Extents()
		if err != nil {
			return err
		}
		for _, e := range extents {
			i, ok := index[e.Offset]
			if !ok || e.Skip+e.Size > m.regions[i].plain {
				return fmt.Errorf("%s at %d: no block at offset %d", f.Path, e.FileOffset, e.Offset)
			}
			m.paths[f.Path] = append(m.paths[f.Path], piece{path: f.Path, off: e.FileOffset, region: i, skip: e.Skip, size: e.Size})
		}
		return nil
	})
}

// finish adds up the plain content and turns paths into owners.
func (m *imageMap) finish(addFiles func() error) error {
	var at int64
	m.at = make([]int64, len(m.regions))
	for i, r := range m.regions {
		m.at[i] = at
		at += int64(r.plain)
	}
	if addFiles != nil {
		if err := addFiles(); err != nil {
			return err
		}
	}
	m.owners = make([][]piece, len(m.regions))
	for _, pieces := range m.paths {
		for _, p := range pieces {
			m.owners[p.region] = append(m.owners[p.region], p)
		}
	}
	for _, o := range m.owners {
		sort.Slice(o, func(i, j int) bool {
			if o[i].skip != o[j].skip {
				return o[i].skip < o[j].skip
			}
			return o[i].path < o[j].path
		})
	}
	return nil
}

// stored returns the bytes of a region as they stand in the file.
func (m *imageMap) stored(i int) ([]byte, error) {
	r := m.regions[i]
	b := make([]byte, r.stored)
	if _, err := m.file.ReadAt(b, r.off); err != nil {
		return nil, fmt.Errorf("read at %d: %w", r.off, noEOF(err))
	}
	return b, nil
}

// keepPlain is how many plain regions stay in memory: fragments hold the tails of many files.
const keepPlain = 128

// content returns the plain bytes of a region. They must not be changed.
func (m *imageMap) content(i int) ([]byte, error) {
	m.mu.Lock()
	b, ok := m.plain[i]
	m.mu.Unlock()
	if ok {
		return b, nil
	}
	var err error
	if m.regions[i].kind == inflated {
		b, err = m.text(m.regions[i])
	} else if b, err = m.stored(i); err == nil {
		b, err = decode(m.regions[i], m.dec, b)
	}
	if err != nil {
		return nil, fmt.Errorf("region at %d: %w", m.regions[i].off, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.plain[i]; !ok {
		m.plain[i] = b
		if m.order = append(m.order, i); len(m.order) > keepPlain {
			delete(m.plain, m.order[0])
			m.order = m.order[1:]
		}
	}
	return b, nil
}

// forget lets go of the plain regions in memory.
func (m *imageMap) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.plain)
	m.order = nil
}
