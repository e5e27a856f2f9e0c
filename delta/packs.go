package delta

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/slotboot/slotboot/squash/zstdenc"
)

const (
	maxPackFile = 128 << 20 // bytes of a file that is searched for packs
	gzipTries   = 64        // places of a file that look like gzip
	lz4Ratio    = 255       // plain bytes that a stored one makes at most
	gzipRatio   = 1032
)

var (
	lz4Magic  = []byte{0x02, 0x21, 0x4c, 0x18}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// pack is where a pack stands in a file.
type pack struct {
	kind          kind
	off           int64
	stored, plain int
	text          int64 // where its plain bytes begin in those of all
}

// findPacks returns the packs of a file, in order.
func findPacks(file []byte) []pack {
	all := slices.Concat(findLZ4(file), findZstd(file), findGzip(file))
	slices.SortStableFunc(all, func(a, b pack) int { return cmp.Compare(a.off, b.off) })
	var good []pack
	var end, text int64
	for _, p := range all {
		if p.off < end { // inside another
			continue
		}
		p.text = text
		good = append(good, p)
		end, text = p.off+int64(p.stored), text+int64(p.plain)
	}
	return good
}

// findLZ4 returns the blocks of legacy LZ4 frames.
func findLZ4(file []byte) (all []pack) {
	var buf []byte
	for at := 0; ; {
		next := bytes.Index(file[at:], lz4Magic)
		if next < 0 {
			return all
		}
		at += next + len(lz4Magic)
		for at+4 < len(file) {
			stored := int(binary.LittleEndian.Uint32(file[at:]))
			if stored == 0 || stored > min(maxPacked, len(file)-at-4) {
				break
			}
			buf = sized(buf, int64(min(maxPack, lz4Ratio*stored)))
			n, err := lz4.UncompressBlock(file[at+4:at+4+stored], buf)
			if err != nil || n == 0 {
				break
			}
			all = append(all, pack{kind: lz4Block, off: int64(at) + 4, stored: stored, plain: n})
			at += 4 + stored
			if n < maxPack {
				break
			}
		}
	}
}

// findZstd returns the zstd frames.
func findZstd(file []byte) (all []pack) {
	for at := 0; ; {
		next := bytes.Index(file[at:], zstdMagic)
		if next < 0 {
			return all
		}
		at += next
		size, ok := zstdSize(file[at:])
		if ok {
			limit := uint64(maxPack)
			var h zstd.Header
			if h.Decode(file[at:at+size]) == nil && h.HasFCS {
				limit = min(limit, h.FrameContentSize)
			}
			if plain, err := decodeZstd(file[at:at+size], int(limit)); err == nil && len(plain) > 0 {
				all = append(all, pack{kind: zstdFrame, off: int64(at), stored: size, plain: len(plain)})
				at += size
				continue
			}
		}
		at += len(zstdMagic)
	}
}

// zstdSize returns how many bytes the zstd frame has that b begins with, going by its headers alone (RFC 8878).
func zstdSize(b []byte) (size int, ok bool) {
	if len(b) < 5 {
		return 0, false
	}
	flags := b[4]
	at := 5 + []int{0, 1, 2, 4}[flags&3] + []int{0, 2, 4, 8}[flags>>6]
	if single := flags>>5&1 == 1; !single || flags>>6 == 0 { // a window descriptor; a content size of one byte
		at++
	}
	for at+3 <= len(b) && at <= maxPacked {
		head := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		n := head >> 3
		if head>>1&3 == 1 { // one byte, so many times
			n = 1
		}
		at += 3 + n
		if head&1 == 1 {
			at += 4 * int(flags>>2&1) // a checksum
			return at, at <= len(b)
		}
	}
	return 0, false
}

// findGzip returns the gzip files that are larger than members are.
func findGzip(file []byte) (all []pack) {
	var out []byte
	at := 0
	for range gzipTries {
		next := bytes.Index(file[at:], gzipHeader[:3])
		if next < 0 {
			break
		}
		at += next
		out = sized(out, int64(min(maxPack, gzipRatio*(len(file)-at)))+1)
		plain, size, err := gunzip(file[at:], out)
		if err != nil || len(plain) == 0 || size > maxPacked {
			at++
			continue
		}
		all = append(all, pack{kind: gzipFile, off: int64(at), stored: size, plain: len(plain)})
		at += size
	}
	return all
}

// findPacks looks for packs in two files that are no squashfs, and makes those of the new one that come out the same
// again, and are not in the old one, regions of their own.
func (m *maker) findPacks() error {
	if m.old.squashfs || m.next.squashfs || max(m.old.size, m.next.size) > maxPackFile {
		return nil
	}
	next, err := m.next.packs()
	if err != nil || len(next) == 0 {
		return err
	}
	before, err := m.old.packs()
	if err != nil {
		return err
	}
	same := map[[32]byte]bool{}
	for _, p := range before {
		sum, err := m.old.packSum(p)
		if err != nil {
			return err
		}
		same[sum] = true
	}
	var changed []pack
	for _, p := range next {
		if sum, err := m.next.packSum(p); err != nil {
			return err
		} else if !same[sum] {
			changed = append(changed, p)
			m.literal += p.stored
		}
	}
	if changed, err = m.next.repackable(changed); err != nil || len(changed) == 0 {
		return err
	}
	for _, p := range changed {
		m.literal -= p.stored
	}
	if len(before) == 0 { // nothing to patch from
		return nil
	}
	m.packs = changed
	for _, p := range before {
		m.oldPack = max(m.oldPack, p.stored)
		if err := m.old.addOldPack(p); err != nil {
			return err
		}
	}
	m.next, err = m.next.withPacks(changed)
	return err
}

// makeable tells whether a delta may make a pack.
func (p pack) makeable() bool {
	return (p.kind == lz4Block || p.kind == zstdFrame && p.plain <= maxZstd) && p.plain <= mostPlain(p.stored)
}

// withPacks returns a file with packs as regions.
func (m *imageMap) withPacks(all []pack) (*imageMap, error) {
	mapped := &imageMap{file: m.file, size: m.size, paths: map[string][]piece{}, plain: map[int][]byte{}}
	for _, p := range all {
		mapped.addRaw(p.off)
		mapped.addRegion(region{off: p.off, stored: p.stored, plain: p.plain, kind: p.kind}, "")
		if err := mapped.addContents(p.text); err != nil {
			return nil, err
		}
	}
	mapped.addRaw(mapped.size)
	return mapped, mapped.finish(nil)
}

// packs returns the packs of a file.
func (m *imageMap) packs() ([]pack, error) {
	all := make([]byte, m.size)
	if _, err := m.file.ReadAt(all, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return findPacks(all), nil
}

func (m *imageMap) packSum(p pack) ([32]byte, error) {
	stored, err := m.read(p.off, p.stored)
	return sha256.Sum256(stored), err
}

// read returns n bytes of the file at off.
func (m *imageMap) read(off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := m.file.ReadAt(b, off); err != nil {
		return nil, fmt.Errorf("read at %d: %w", off, noEOF(err))
	}
	return b, nil
}

// repackable returns those packs that come out the same when they are packed again.
func (m *imageMap) repackable(all []pack) ([]pack, error) {
	good := make([]bool, len(all))
	errs := make([]error, len(all))
	var workers sync.WaitGroup
	room := make(chan *packer, 2)
	room <- new(packer)
	room <- new(packer)
	for i, p := range all {
		if !p.makeable() {
			continue
		}
		e := <-room
		workers.Go(func() {
			defer func() { room <- e }()
			stored, err := m.read(p.off, p.stored)
			if err == nil {
				var plain []byte
				plain, err = unpack(p.kind, stored, p.plain)
				good[i] = err == nil && bytes.Equal(e.pack(nil, p.kind, plain), stored)
			}
			errs[i] = err
		})
	}
	workers.Wait()
	var fine []pack
	for i, p := range all {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if good[i] {
			fine = append(fine, p)
		}
	}
	return fine, nil
}

// addOldPack adds the plain bytes of a pack behind the plain content.
func (m *imageMap) addOldPack(p pack) error {
	var pieces []piece
	for i, r := range m.regions {
		if from, to := max(r.off, p.off), min(r.off+int64(r.stored), p.off+int64(p.stored)); r.kind == raw && from < to {
			pieces = append(pieces, piece{region: i, skip: int(from - r.off), size: int(to - from)})
		}
	}
	m.addInflated(oldMember{pieces: pieces, plain: p.plain, kind: p.kind}, "")
	return m.addContents(p.text)
}

// addContents names what is in the last region, a pack whose plain bytes begin at text in those of all: the files of an
// initrd, or the pack itself.
func (m *imageMap) addContents(text int64) error {
	i := len(m.regions) - 1
	plain, err := m.content(i)
	if err != nil {
		return err
	}
	for _, e := range archived(plain) {
		if len(m.paths[e.path]) > 0 && e.path[0] != 0 { // another of that name: the last one counts in an initrd
			e.path = pathEntries
		}
		m.addPiece(e.path, i, e.skip, e.size)
	}
	if last := m.paths[pathPacks]; len(last) > 0 && last[len(last)-1].region == i {
		last[len(last)-1].off = text
	}
	return nil
}

// packNeeds lists the encoders of the packs.
func (m *maker) packNeeds() (all []string) {
	for k, id := range map[kind]string{lz4Block: lz4Encoder, zstdFrame: zstdEncoder} {
		if slices.ContainsFunc(m.packs, func(p pack) bool { return p.kind == k }) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// packMemory is what packs cost an applier: the text of one, the encoder, the largest as it is stored, and old ones, of
// which one is read.
func (m *maker) packMemory() int64 {
	if len(m.packs) == 0 {
		return 0
	}
	stored, text, frame := 0, 0, 0
	for _, p := range m.packs {
		stored, text = max(stored, p.stored), max(text, p.plain)
		if p.kind == zstdFrame {
			frame = max(frame, p.plain)
		}
	}
	n := int64(stored+text+m.oldPack) + int64(oldCache(m.packNeeds())-cacheSize)
	if frame > 0 {
		n += zstdenc.LongMemory(frame)
	}
	return n
}
