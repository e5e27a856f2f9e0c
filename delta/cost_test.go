package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/squash"
)

// applied is Apply with a look at what it has cost.
func applied(t *testing.T, old, next, d []byte) *applier {
	t.Helper()
	r := bytes.NewReader(d)
	h, err := ReadHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	a := newApplier(&got, bytes.NewReader(old), r, h, ApplyOptions{Workers: 1})
	if err := a.run(); err != nil || !bytes.Equal(got.Bytes(), next) {
		t.Fatalf("Apply: %v, %d bytes, want the new file", err, got.Len())
	}
	return a
}

// pairs are old and new files of every sort.
func pairs(t testing.TB) map[string][2][]byte {
	r := rand.New(rand.NewPCG(21, 21))
	before := randomTree(r, 60)
	a, b := ramdisks(40_000)
	k, l := kernels(200_000)
	all := map[string][2][]byte{"initrd": {a.frames(), b.frames()}, "kernel": {k, l}}
	for _, size := range []int{4096, 128 << 10, 1 << 20} {
		o := squash.Options{BlockSize: size}
		all["root of "+string(rune('a'+len(all)))] = [2][]byte{before.image(t, o), edited(r, before).image(t, o)}
	}
	return all
}

func TestCostInTheHeaderIsWhatApplyingTakes(t *testing.T) {
	t.Parallel()
	for name, p := range pairs(t) {
		d, rep := mustMake(t, p[0], p[1])
		a := applied(t, p[0], p[1], d)
		if a.sources.spent != rep.Header.Inflate || a.rebuilt != rep.Header.Rebuild {
			t.Errorf("%s: inflated %d and compressed %d bytes, the header says %d and %d", name, a.sources.spent, a.rebuilt, rep.Header.Inflate, rep.Header.Rebuild)
		}
		if most := mostCost(int64(len(p[1]))); max(rep.Header.Inflate, rep.Header.Rebuild) > most/4 {
			t.Errorf("%s: an honest delta inflates %d bytes and compresses %d of the %d that are allowed", name, rep.Header.Inflate, rep.Header.Rebuild, most)
		}
	}
}

func TestDeltaThatMayInflateLittleSpellsOutTheRest(t *testing.T) {
	t.Parallel()
	for name, p := range pairs(t) {
		for _, most := range []int64{1, 150_000} {
			var out bytes.Buffer
			rep, err := Make(&out, bytes.NewReader(p[0]), bytes.NewReader(p[1]), int64(len(p[0])), int64(len(p[1])), MakeOptions{TempDir: t.TempDir(), inflate: most})
			if err != nil {
				t.Fatal(err)
			}
			if rep.Header.Inflate > most {
				t.Errorf("%s: inflates %d bytes, want at most %d", name, rep.Header.Inflate, most)
			}
			if a := applied(t, p[0], p[1], out.Bytes()); a.sources.spent != rep.Header.Inflate {
				t.Errorf("%s: inflated %d bytes, the header says %d", name, a.sources.spent, rep.Header.Inflate)
			}
		}
	}
}

func TestManyOpsForFewBytesAreSpeltOut(t *testing.T) {
	old := randomBody(rand.New(rand.NewPCG(1, 8)), 100_000)
	m, err := mapImage(bytes.NewReader(old), int64(len(old)))
	if err != nil {
		t.Fatal(err)
	}
	w := &madeWindow{}
	var want []byte
	for i := range 2000 {
		from, add, extra := i*31%90_000, 1+i%3, i%2
		w.ops = append(w.ops, absOp{int64(from), add, extra})
		for k := range add {
			w.diff = append(w.diff, byte(i))
			want = append(want, old[from+k]+byte(i))
		}
		w.extra = append(w.extra, "+"[:extra]...)
		want = append(want, "+"[:extra]...)
	}
	w.made = len(want)
	if err := newPurse(m, nil, 1<<30).pay(w); err != nil {
		t.Fatal(err)
	}
	if int64(len(w.ops)+1) > maxOps(int64(w.made)) {
		t.Errorf("%d ops for %d bytes, want at most %d", len(w.ops), w.made, maxOps(int64(w.made)))
	}
	var got []byte
	diff, extra := w.diff, w.extra
	for _, o := range w.ops {
		for k := range o.add {
			got = append(got, old[int(o.from)+k]+diff[k])
		}
		got = append(got, extra[:o.extra]...)
		diff, extra = diff[o.add:], extra[o.extra:]
	}
	if !bytes.Equal(got, want) {
		t.Error("the ops that are left make something else")
	}
}

// harm is a delta whose ops go to and fro between blocks of the old image, so that each op inflates one again.
type harm struct {
	old  []byte
	h    Header
	cols [numColumns][]byte
}

func newHarm(t *testing.T, ops, made int) harm {
	t.Helper()
	const blocks, size = 16, 1 << 20
	body := bytes.Repeat(randomBody(rand.New(rand.NewPCG(4, 4)), 64<<10), blocks*size>>16)
	for i := range blocks { // no two blocks alike
		body[i*size] = byte(i)
	}
	old := tree{"a": body}.image(t, squash.Options{BlockSize: size})
	changed := bytes.Clone(body)
	for i := range blocks {
		changed[i*size+5]++
	}
	_, rep := mustMake(t, old, tree{"a": changed}.image(t, squash.Options{BlockSize: size}))
	m, err := mapImage(bytes.NewReader(old), int64(len(old)))
	if err != nil {
		t.Fatal(err)
	}
	h := harm{old: old, h: rep.Header}
	h.h.Target.Size, h.h.Rebuild = int64(made), 0
	h.h.Inflate = mostCost(h.h.Target.Size)
	control := binary.AppendUvarint(nil, blocks)
	end := int64(0)
	for i, r := range m.regions[:blocks+1] {
		if r.kind != block {
			continue
		}
		stored, err := m.stored(i)
		if err != nil {
			t.Fatal(err)
		}
		control = binary.AppendUvarint(control, uint64(r.off-end))
		control = binary.AppendUvarint(binary.AppendUvarint(control, uint64(r.plain)<<2|uint64(block)), uint64(r.stored))
		h.cols[colCheck] = binary.LittleEndian.AppendUint32(h.cols[colCheck], crc32.Checksum(stored, castagnoli))
		end = r.off + int64(r.stored)
	}
	control = append(control, itemWindow)
	for _, v := range []int{made, ops, 1, made << 2} {
		control = binary.AppendUvarint(control, uint64(v))
	}
	h.cols[colControl] = append(control, itemEnd)
	for i := range ops {
		h.cols[colLength] = append(h.cols[colLength], 1, 0)
		seek := int64(size - 1)
		if i%blocks == blocks-1 {
			seek = -(blocks-1)*size - 1
		}
		h.cols[colSeek] = binary.AppendVarint(h.cols[colSeek], seek)
	}
	h.cols[colDiff] = make([]byte, made)
	return h
}

func (h harm) apply() error {
	_, err := Apply(io.Discard, bytes.NewReader(h.old), bytes.NewReader(store(h.h, h.cols)), ApplyOptions{Workers: 1})
	return err
}

func TestDeltaThatInflatesOverAndOverIsDamaged(t *testing.T) {
	h := newHarm(t, 1000, 1000) // a GB
	h.h.Inflate++
	if err := h.apply(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "header: it inflates") {
		t.Errorf("a header that allows itself too much: %v", err)
	}
	h.h.Inflate--
	if err := h.apply(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "1000 ops for a window") {
		t.Errorf("an op for each byte: %v, want that there are too many", err)
	}
	const made = 4000
	h = newHarm(t, 1000, made)
	h.cols[colLength] = bytes.ReplaceAll(h.cols[colLength], []byte{1, 0}, []byte{1, 3}) // the rest are extra bytes
	h.cols[colExtra], h.cols[colDiff] = make([]byte, 3000), h.cols[colDiff][:1000]
	if err := h.apply(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "inflates more than") {
		t.Errorf("ops that go to and fro: %v, want that it inflates more than it says", err)
	}
}

func TestDeltaThatCompressesMoreThanItSaysIsDamaged(t *testing.T) {
	t.Parallel()
	for name, p := range pairs(t) {
		d, rep := mustMake(t, p[0], p[1])
		for what, spoil := range map[string]func(h *Header){
			"compresses more": func(h *Header) { h.Rebuild-- },
			"inflates more":   func(h *Header) { h.Inflate-- },
			"header: it":      func(h *Header) { h.Rebuild = mostCost(h.Target.Size) + 1 },
		} {
			h := rep.Header
			spoil(&h)
			_, err := Apply(io.Discard, bytes.NewReader(p[0]), bytes.NewReader(store(h, plainColumns(t, d))), ApplyOptions{Workers: 1})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v, want ErrDamaged and %q", name, err, what)
			}
		}
	}
}
