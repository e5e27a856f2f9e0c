package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/pierrec/lz4/v4"

	"github.com/slotboot/slotboot/delta/lz4enc"
)

// A pack is an LZ4 block of a legacy frame, of which kernels are made: CONFIG_KERNEL_LZ4 packs one that is 53 MB when it
// runs into seven. Each is an item of its own in the delta, and the packs of the old file are members of the old content.

// packEncoder names the encoder of packs among the header's needs.
const packEncoder = "lz4-9/1"

const (
	maxPack     = 8 << 20 // plain bytes: what lz4 puts in a block
	maxPacked   = maxPack + maxPack/255 + 16
	maxPackFile = 128 << 20 // bytes of a file that is searched for packs
)

var packMagic = []byte{0x02, 0x21, 0x4c, 0x18}

// pack is where a pack stands in a file.
type pack struct {
	off           int64
	stored, plain int
	text          int64 // where its plain bytes begin in those of all
}

// findPacks returns the packs of a file, in order.
func findPacks(file []byte) (all []pack) {
	var text int64
	buf := make([]byte, maxPack)
	for at := 0; ; {
		next := bytes.Index(file[at:], packMagic)
		if next < 0 {
			return all
		}
		at += next + len(packMagic)
		for at+4 < len(file) {
			stored := int(binary.LittleEndian.Uint32(file[at:]))
			if stored == 0 || stored > min(maxPacked, len(file)-at-4) {
				break
			}
			n, err := lz4.UncompressBlock(file[at+4:at+4+stored], buf)
			if err != nil || n == 0 {
				break
			}
			all = append(all, pack{int64(at) + 4, stored, n, text})
			text += int64(n)
			at += 4 + stored
			if n < maxPack {
				break
			}
		}
	}
}

// findPacks looks for packs in two files that are no squashfs, and makes those of the new one that come out the same
// again, and are not in the old one, regions of their own.
func (m *maker) findPacks() error {
	if m.old.squashfs || m.next.squashfs || max(m.old.size, m.next.size) > maxPackFile {
		return nil
	}
	before, err := m.old.packs()
	if err != nil || len(before) == 0 {
		return err
	}
	next, err := m.next.packs()
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
		}
	}
	if changed, err = m.next.repackable(changed); err != nil || len(changed) == 0 {
		return err
	}
	m.packs = changed
	mapped := &imageMap{file: m.next.file, size: m.next.size, paths: map[string][]piece{}, plain: map[int][]byte{}}
	for _, p := range changed {
		mapped.addRaw(p.off)
		mapped.addRegion(region{off: p.off, stored: p.stored, plain: p.plain, kind: lz4Block}, pathPacks)
		mapped.paths[pathPacks][len(mapped.paths[pathPacks])-1].off = p.text
	}
	mapped.addRaw(mapped.size)
	m.next = mapped
	if err := m.next.finish(nil); err != nil {
		return err
	}
	for _, p := range before {
		m.old.addPack(p)
	}
	return nil
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
	room := make(chan *lz4enc.Encoder, 2)
	room <- new(lz4enc.Encoder)
	room <- new(lz4enc.Encoder)
	for i, p := range all {
		e := <-room
		workers.Go(func() {
			defer func() { room <- e }()
			stored, err := m.read(p.off, p.stored)
			if err == nil {
				var plain []byte
				plain, err = unpack(stored, p.plain)
				good[i] = err == nil && bytes.Equal(e.Block(nil, plain), stored)
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

// unpack returns the plain bytes of a pack.
func unpack(stored []byte, plain int) ([]byte, error) {
	out := make([]byte, plain)
	n, err := lz4.UncompressBlock(stored, out)
	if err == nil && n != plain {
		err = fmt.Errorf("%d plain bytes, want %d", n, plain)
	}
	return out, err
}

// addPack adds the plain bytes of a pack behind the plain content.
func (m *imageMap) addPack(p pack) {
	var pieces []piece
	for i, r := range m.regions {
		if from, to := max(r.off, p.off), min(r.off+int64(r.stored), p.off+int64(p.stored)); r.kind == raw && from < to {
			pieces = append(pieces, piece{region: i, skip: int(from - r.off), size: int(to - from)})
		}
	}
	m.addInflated(oldMember{pieces: pieces, plain: p.plain, packed: true}, pathPacks)
}

// readPack makes one pack for the writer. Until that has it, the pack takes the place of a window: what is in flight
// stays bounded on a disk that is slower than the packing.
func (a *applier) readPack(ctx context.Context) (*job, error) {
	control := a.cols[colControl]
	plain, err := control.uint(maxPack)
	if err != nil {
		return nil, err
	}
	ops, err := control.uint(2*maxPack + 2)
	if err != nil {
		return nil, err
	}
	stored, err := control.uint(maxPacked)
	if err == nil {
		err = a.grow(stored)
	}
	if err != nil {
		return nil, err
	}
	window, err := a.window(ctx)
	if err != nil {
		return nil, err
	}
	a.text = sized(a.text, plain)
	if err := a.patch(ctx, a.text, ops); err != nil {
		return nil, err
	}
	j := &job{region: region{stored: int(stored)}, there: a.made <= a.o.HaveSize, last: true, window: window, ready: make(chan struct{})}
	close(j.ready)
	if j.there {
		return j, nil
	}
	if a.packer == nil {
		a.packer = new(lz4enc.Encoder)
	}
	if j.stored = a.packer.Block(make([]byte, 0, stored), a.text); int64(len(j.stored)) != stored {
		return nil, fmt.Errorf("%w: encoder %s makes %d bytes of a block, want %d", ErrUnsupported, packEncoder, len(j.stored), stored)
	}
	return j, nil
}
