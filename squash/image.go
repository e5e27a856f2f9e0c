package squash

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// What an Image keeps of decoded blocks. With these, and a bounded number of goroutines, an image of whatever content
// costs tens of megabytes at most.
const (
	metaCacheBytes = 4 << 20
	dataCacheBytes = 16 << 20
)

// Image reads one squashfs image. It is an fs.FS whose root is ".": it implements fs.ReadDirFS, fs.StatFS and
// fs.ReadLinkFS. Any number of goroutines may use it.
//
// The image may come from anywhere: what does not fit together is an error that names an offset. A folder that is
// reached in two ways, which would let a walk go on for ever, is one too.
type Image struct {
	r    io.ReaderAt
	sb   superblock
	dec  decoder
	ids  []uint32
	meta *cache
	data *cache
	// stored keeps buffers for stored bytes, and plain ones that nobody keeps.
	stored sync.Pool
	// After Open only xattrTable.start is read of the tables; the rest comes when needed.
	fragTable  table
	xattrTable table
	xattrStart int64

	mu     sync.Mutex
	claims map[uint64]uint64 // folder -> where its only name is
}

// Info is what the superblock tells about an image.
type Info struct {
	BlockSize   int
	Compression Compression
	Inodes      int
	Fragments   int
	Size        int64 // without padding
	ModTime     time.Time
}

// Open reads the superblock and the owners of an image.
func Open(r io.ReaderAt) (*Image, error) {
	var b [superSize]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("open squashfs: read superblock: %w", noEOF(err))
	}
	sb, err := parseSuperblock(b[:])
	if err != nil {
		return nil, fmt.Errorf("open squashfs: %w", err)
	}
	m := &Image{r: r, sb: sb, meta: newCache(metaCacheBytes), data: newCache(max(dataCacheBytes, 4*int(sb.blockSize))), claims: map[uint64]uint64{}}
	if m.dec, err = newDecoder(sb.compression, int(sb.blockSize)); err != nil {
		return nil, fmt.Errorf("open squashfs: %w", err)
	}
	m.fragTable = table{m: m, name: "fragment", start: int64(sb.fragTable), count: int64(sb.fragments), size: fragEntrySize}
	if err := m.openXattrs(); err != nil {
		return nil, fmt.Errorf("open squashfs: %w", err)
	}
	ids := table{m: m, name: "owner", start: int64(sb.idTable), count: int64(sb.ids), size: 4}
	for i := range ids.count {
		rec, err := ids.record(i)
		if err != nil {
			return nil, fmt.Errorf("open squashfs: %w", err)
		}
		m.ids = append(m.ids, le32(rec))
	}
	if _, err := m.root(); err != nil {
		return nil, fmt.Errorf("open squashfs: %w", err)
	}
	return m, nil
}

// Info returns what the superblock tells.
func (m *Image) Info() Info {
	i := Info{BlockSize: int(m.sb.blockSize), Compression: m.sb.compression, Inodes: int(m.sb.inodes), Fragments: int(m.sb.fragments),
		Size: int64(m.sb.used), ModTime: time.Unix(int64(m.sb.modTime), 0)}
	const plain = flagPlainInodes | flagPlainData
	if m.sb.compression == Gzip && m.sb.flags&plain == plain {
		i.Compression = None
	}
	return i
}

// noEOF makes an early end of the file an error that nobody takes for a regular end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readAt reads n bytes at off, all of them inside of the image.
func (m *Image) readAt(b []byte, off int64) error {
	if off < 0 || off > int64(m.sb.used)-int64(len(b)) {
		return fmt.Errorf("%d bytes at offset %d reach beyond the image, which ends at %d", len(b), off, m.sb.used)
	}
	if _, err := m.r.ReadAt(b, off); err != nil {
		return fmt.Errorf("read %d bytes at offset %d: %w", len(b), off, noEOF(err))
	}
	return nil
}

// metaBlock returns the plain bytes of the metadata block at off, which ends before end, and where the next one is.
func (m *Image) metaBlock(off, end int64) ([]byte, int64, error) {
	plain, next, err := m.meta.get(off, func() ([]byte, int64, error) { return m.loadMeta(off) })
	if err == nil && next > end {
		err = fmt.Errorf("metadata block at offset %d ends at %d, beyond its table's end at %d", off, next, end)
	}
	return plain, next, err
}

func (m *Image) loadMeta(off int64) ([]byte, int64, error) {
	var head [2]byte
	if err := m.readAt(head[:], off); err != nil {
		return nil, 0, err
	}
	size, plain := metaStored(head)
	if size == 0 || size > metaSize {
		return nil, 0, fmt.Errorf("metadata block at offset %d has %d stored bytes, want 1 to %d", off, size, metaSize)
	}
	stored := make([]byte, size)
	if err := m.readAt(stored, off+2); err != nil {
		return nil, 0, err
	}
	next := off + 2 + int64(size)
	if plain {
		return stored, next, nil
	}
	b := make([]byte, metaSize, metaSize+decodeSlack)
	n, err := m.dec.decode(b, stored)
	if err == nil && n == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("decode metadata block at offset %d: %w", off, err)
	}
	return fitted(b[:n], metaSize), next, nil
}

// metaStored decodes the length before a metadata block.
func metaStored(head [2]byte) (size int, plain bool) {
	v := int(head[0]) | int(head[1])<<8
	return v &^ metaPlain, v&metaPlain != 0
}

// dataBlock returns the plain bytes of the block at off, through the cache. Nobody may change them.
func (m *Image) dataBlock(off uint64, size uint32) ([]byte, error) {
	plain, _, err := m.data.get(int64(off), func() ([]byte, int64, error) {
		b, err := m.decodeBlock(off, size, nil)
		return fitted(b, int(m.sb.blockSize)), 0, err
	})
	return plain, err
}

// buffer returns room for a block.
func (m *Image) buffer() []byte { return make([]byte, m.sb.blockSize, m.sb.blockSize+decodeSlack) }

// room is a buffer that was used before, or a new one; it goes back to m.stored.
func (m *Image) room() *[]byte {
	if b, ok := m.stored.Get().(*[]byte); ok {
		return b
	}
	b := m.buffer()
	return &b
}

// decodeBlock reads a block into buf, which buffer has made, or into a new one if that is nil.
func (m *Image) decodeBlock(off uint64, size uint32, buf []byte) ([]byte, error) {
	n := size & blockSizeMask
	if n == 0 || n > m.sb.blockSize || size&^(blockPlain|blockSizeMask) != 0 {
		return nil, fmt.Errorf("block at offset %d has a stored size of %#x, want 1 to %d bytes", off, size, m.sb.blockSize)
	}
	if off < superSize || off > m.sb.used {
		return nil, fmt.Errorf("block at offset %d is outside of the image, which ends at %d", off, m.sb.used)
	}
	if buf == nil {
		buf = m.buffer()
	}
	if size&blockPlain != 0 {
		return buf[:n:n], m.readAt(buf[:n], int64(off))
	}
	stored := m.room()
	defer m.stored.Put(stored)
	if err := m.readAt((*stored)[:n], int64(off)); err != nil {
		return nil, err
	}
	k, err := m.dec.decode(buf[:m.sb.blockSize], (*stored)[:n])
	if err != nil {
		return nil, fmt.Errorf("decode block at offset %d: %w", off, err)
	}
	return buf[:k:k], nil
}

// metaReader reads the plain bytes of a table from some place on. A copy of it reads on from the same place.
type metaReader struct {
	m     *Image
	block int64  // offset of the block that next bytes come from
	off   int    // in its plain bytes
	end   int64  // of the table
	plain []byte // of the block, once loaded
	next  int64
}

func (r *metaReader) load() error {
	for r.plain == nil || r.off == len(r.plain) {
		if r.plain != nil {
			r.block, r.off = r.next, 0
		}
		if r.block >= r.end {
			return fmt.Errorf("table ends at offset %d, in the middle of a record", r.end)
		}
		var err error
		if r.plain, r.next, err = r.m.metaBlock(r.block, r.end); err != nil {
			return err
		}
		if r.off > len(r.plain) {
			return fmt.Errorf("place %d in the metadata block at offset %d, which has %d bytes", r.off, r.block, len(r.plain))
		}
	}
	return nil
}

// read fills b.
func (r *metaReader) read(b []byte) error {
	for len(b) > 0 {
		if err := r.load(); err != nil {
			return err
		}
		n := copy(b, r.plain[r.off:])
		r.off += n
		b = b[n:]
	}
	return nil
}

// table is a list of records in metadata blocks, with a list of those blocks' offsets at start.
type table struct {
	m     *Image
	name  string
	start int64
	count int64
	size  int // of a record; divides metaSize
}

// record returns record i; only the block with it is read.
func (t *table) record(i int64) ([]byte, error) {
	if i < 0 || i >= t.count {
		return nil, fmt.Errorf("%s %d is not in the table at offset %d, which has %d", t.name, i, t.start, t.count)
	}
	per := int64(metaSize / t.size)
	var b [8]byte
	if err := t.m.readAt(b[:], t.start+i/per*8); err != nil {
		return nil, fmt.Errorf("read %s table: %w", t.name, err)
	}
	block := int64(le64(b[:]))
	if block < superSize || block >= t.start {
		return nil, fmt.Errorf("%s table at offset %d has a block at offset %d, want it before the table", t.name, t.start, block)
	}
	r := metaReader{m: t.m, block: block, off: int(i%per) * t.size, end: t.start}
	rec := make([]byte, t.size)
	if err := r.read(rec); err != nil {
		return nil, fmt.Errorf("read %s %d: %w", t.name, i, err)
	}
	return rec, nil
}
