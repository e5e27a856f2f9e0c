package delta

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/slotboot/slotboot/squash"
)

// tempFile is a file that nobody else sees.
type tempFile = *os.File

func newTempFile(dir string) (tempFile, error) {
	f, err := os.CreateTemp(dir, "slotboot-delta-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// packed is a column after compression.
type packed struct {
	Column
	spool *spool
	codec int // of codecs
}

// write compresses the columns and writes header and frames.
func (b *builder) write(out io.Writer, src, dst File) (*Report, error) {
	var cols [numColumns]packed
	for i := range cols {
		var err error
		if cols[i], err = b.pack(i); err != nil {
			return nil, fmt.Errorf("compress column %s: %w", columnNames[i], err)
		}
		defer cols[i].spool.close()
	}
	h := Header{Format: Format, Source: src, Target: dst, Rebuild: b.report.Rebuilt, Inflate: b.purse.sources.spent}
	if b.m.next.squashfs && b.report.Rebuilt > 0 {
		h.Encoder = b.m.encoder
	}
	h.Needs = b.needs()
	if b.m.old.squashfs {
		h.Compression = uint16(superCompression(b.m.old.compression))
	}
	h.BlockSize = max(b.m.old.blockSize, b.m.next.blockSize)
	for _, c := range cols {
		h.Columns = append(h.Columns, c.Column)
	}
	h.Memory = memory(h) + b.m.packMemory() + b.m.memberMemory()
	if h.Memory > b.o.memory && len(b.m.packs) > 0 {
		return nil, errMemory
	}
	counted := &counter{w: out}
	if err := writeHeader(counted, h); err != nil {
		return nil, err
	}
	if err := b.frames(counted, &cols); err != nil {
		return nil, err
	}
	b.report.Header, b.report.Size = h, counted.n
	for _, c := range b.costs {
		b.report.Files = append(b.report.Files, *c)
	}
	sort.Slice(b.report.Files, func(i, j int) bool {
		x, y := b.report.Files[i], b.report.Files[j]
		if p, q := x.Extra+x.Changed, y.Extra+y.Changed; p != q {
			return p > q
		}
		return x.Path < y.Path
	})
	return &b.report, nil
}

// A column of up to tryWhole bytes is compressed by every codec; of a larger one a sample is, to choose its codec. Below
// tryLittle, lzma or nothing is best, and the tables of the others cost more time than the column.
const (
	tryLittle  = 4 << 10
	tryWhole   = 2 << 20
	trySample  = 1 << 20
	trySamples = 8 // of a sample's parts, all over the column: its beginning is not as its end
)

// pack compresses a column by the codec that suits it best.
func (b *builder) pack(col int) (packed, error) {
	size := b.spools[col].n
	if size <= tryWhole {
		return b.smallest(col, size, 1)
	}
	sample, err := b.smallest(col, trySample, trySamples)
	if err != nil {
		return sample, err
	}
	sample.spool.close()
	return b.compress(col, sample.codec, size, 1)
}

// smallest compresses size bytes of a column, in so many parts, with each codec, and keeps the smallest result.
func (b *builder) smallest(col int, size, parts int64) (packed, error) {
	var best packed
	for codec, c := range codecs {
		if size < tryLittle && (c.name == "zstd" || c.name == "bzip2") {
			continue
		}
		p, err := b.compress(col, codec, size, parts)
		if err != nil {
			return best, err
		}
		if best.spool != nil && best.Stored <= p.Stored {
			p.spool.close()
			continue
		}
		if best.spool != nil {
			best.spool.close()
		}
		best = p
	}
	return best, nil
}

// compress compresses size bytes of a column, in so many parts from all over it.
func (b *builder) compress(col, codec int, size, parts int64) (packed, error) {
	var all []io.Reader
	for i := range parts {
		part, err := b.spools[col].reader(b.spools[col].n/parts*i, size/parts)
		if err != nil {
			return packed{}, err
		}
		all = append(all, part)
	}
	plain := io.MultiReader(all...)
	s, err := newSpool(b.o.TempDir)
	if err != nil {
		return packed{}, err
	}
	sum := sha256.New()
	if err := compressColumn(codec, col, s, io.TeeReader(plain, sum), size); err != nil {
		s.close()
		return packed{}, err
	}
	return packed{Column{columnNames[col], codecs[codec].name, size, s.n, fmt.Sprintf("%x", sum.Sum(nil))}, s, codec}, nil
}

// frames writes the columns in pieces, in the order in which the applier's decoders ask for them: before each window
// exactly what they read to get through it. What that is, decoders of the same kind tell.
func (b *builder) frames(out io.Writer, cols *[numColumns]packed) error {
	fw := newFrameWriter(out)
	var stored, fed [numColumns]io.Reader
	var plain [numColumns]io.Reader
	var taken [numColumns]*taker
	var read, sent [numColumns]int64
	for i := range cols {
		var err error
		if stored[i], err = cols[i].spool.reader(0, cols[i].Stored); err != nil {
			return err
		}
		if fed[i], err = cols[i].spool.reader(0, cols[i].Stored); err != nil {
			return err
		}
		taken[i] = &taker{r: fed[i]}
		if plain[i], err = openColumn(cols[i].Column, i, taken[i]); err != nil {
			return err
		}
	}
	for _, mark := range b.marks {
		for i := range cols {
			if n, err := io.CopyN(io.Discard, plain[i], mark[i]-read[i]); err != nil {
				return fmt.Errorf("read back column %s at %d: %w", columnNames[i], read[i]+n, noEOF(err))
			}
			read[i] = mark[i]
			if err := fw.copy(i, stored[i], taken[i].n-sent[i]); err != nil {
				return err
			}
			sent[i] = taken[i].n
		}
	}
	for i := range cols {
		if err := fw.copy(i, stored[i], cols[i].Stored-sent[i]); err != nil {
			return err
		}
	}
	return fw.end(out)
}

// taker hands out little at a time, so that n tells how far a decoder has really come.
type taker struct {
	r io.Reader
	n int64
}

func (t *taker) Read(p []byte) (int, error) {
	n, err := t.r.Read(p[:min(len(p), 512)])
	t.n += int64(n)
	return n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// needs lists what an applier of this delta has to know besides the format.
func (b *builder) needs() []string {
	if b.m.placed != nil {
		return []string{gzipEncoder}
	}
	return b.m.packNeeds()
}

// memberMemory is what members cost: the text of a window, the encoder and its copy of one, the members of a window, those
// that are kept, and an old one as it is stored.
func (m *maker) memberMemory() int64 {
	if m.placed == nil {
		return 0
	}
	return int64(m.mostMade + m.mostText + 1<<20 + maxWindow + maxKept + maxMember)
}

// memory is what an applier with one worker needs at most for a delta, in bytes: the columns' windows and tables, two
// windows of plain bytes, the cache of old content, a block on each side of the encoder, the encoder's tables, frames.
func memory(h Header) int64 {
	n := int64(2*maxWindow + cacheSize + 4*max(h.BlockSize, rawSize) + 8<<20)
	for i, c := range h.Columns {
		if c.Codec != "store" {
			n += columnWindow(i, c.Plain) + 1<<20
		}
	}
	return n
}

// chooseEncoder returns the id of the encoder that made the blocks of an image, "" if there is none that this version
// has. Without a hint it tries those of the image's compressor on a few blocks.
func chooseEncoder(m *imageMap, hint string) (string, error) {
	if !m.squashfs {
		return "", nil
	}
	ids := []string{hint}
	if hint == "" {
		ids = encoders(m.compression)
	}
	for _, id := range ids {
		c, err := squash.NewCodec(id, m.blockSize)
		if err != nil {
			return "", err
		}
		mk := maker{next: m}
		for i, tries := 0, 0; i < len(m.regions) && tries < 8; i++ {
			if r := m.regions[i]; r.kind != block && r.kind != meta || r.plain > mostPlain(r.stored) {
				continue
			}
			tries++
			if _, r, err := mk.rebuildable(i, c); err != nil {
				return "", err
			} else if r.kind != raw {
				return id, nil
			}
		}
	}
	return "", nil
}

// encoders lists the ids of the encoders for a compressor, the default first.
func encoders(c squash.Compression) []string {
	var ids []string
	seen := map[string]bool{}
	for _, level := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 22} {
		id, err := squash.CodecID(c, level)
		if err == nil && !seen[id] {
			ids = append(ids, id)
			seen[id] = true
		}
	}
	return ids
}
