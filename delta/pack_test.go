package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"

	"github.com/slotboot/slotboot/delta/lz4enc"
)

// kernel is a file as kernels are: code that unpacks, a legacy frame of plain, and its size.
func kernel(plain []byte) []byte {
	var e lz4enc.Encoder
	out := append(bytes.Repeat([]byte("unpack "), 3000), lz4Magic...)
	for rest := plain; len(rest) > 0; {
		n := min(len(rest), maxPack)
		at := len(out)
		out = e.Block(append(out, 0, 0, 0, 0), rest[:n])
		binary.LittleEndian.PutUint32(out[at:], uint32(len(out)-at-4))
		rest = rest[n:]
	}
	return binary.LittleEndian.AppendUint32(out, uint32(len(plain)))
}

// program is size bytes in which some words are addresses that move together.
func program(r *rand.Rand, size int, moved uint32) []byte {
	b := make([]byte, 0, size)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64()&0x00ff00ff0f0f)
		if r.IntN(4) == 0 {
			b = binary.LittleEndian.AppendUint32(b, 0x1000000+uint32(r.IntN(1000))*64+moved)
		}
	}
	return b[:size]
}

// kernels returns two files of two packs each, alike inside.
func kernels(size int) (old, next []byte) {
	plain := program(rand.New(rand.NewPCG(1, 1)), size, 0)
	after := program(rand.New(rand.NewPCG(1, 1)), size, 8)
	copy(after[size/2:], after[size/3:size/3+1000])
	return kernel(plain), kernel(append(after, "and a little more"...))
}

func TestKernelIsDiffedInsideItsLZ4(t *testing.T) {
	old, next := kernels(maxPack + 100_000)
	d, rep := mustMake(t, old, next)
	mustApply(t, old, next, d)
	if len(rep.Header.Needs) != 1 || rep.Header.Needs[0] != lz4Encoder {
		t.Errorf("the delta needs %q, want %q", rep.Header.Needs, lz4Encoder)
	}
	if len(d) > len(next)/8 || rep.Header.Memory > 64<<20 {
		t.Errorf("a delta of %d bytes for %d, which needs %d bytes to apply", len(d), len(next), rep.Header.Memory)
	}
	for _, have := range []int{1, 30_000, len(next) - 100, len(next)} {
		var rest bytes.Buffer
		o := ApplyOptions{Have: bytes.NewReader(next[:have]), HaveSize: int64(have)}
		if _, err := Apply(&rest, bytes.NewReader(old), bytes.NewReader(d), o); err != nil || !bytes.Equal(rest.Bytes(), next[have:]) {
			t.Errorf("resumed at %d of %d: %v, %d bytes written", have, len(next), err, rest.Len())
		}
	}
	if _, err := Apply(io.Discard, bytes.NewReader(next), bytes.NewReader(d), ApplyOptions{}); !errors.Is(err, ErrOtherSource) {
		t.Errorf("Apply to another file = %v, want ErrOtherSource", err)
	}
}

func TestDamagedDeltaOfAKernelIsAnErrorAndNeverAPanic(t *testing.T) {
	old, next := kernels(200_000)
	d, rep := mustMake(t, old, next)
	mustApply(t, old, next, d)
	cols := plainColumns(t, d)
	for i := range cols[colControl] {
		for _, flip := range []byte{1, 2, 0x40, 0x80} {
			bad := cols
			bad[colControl] = bytes.Clone(cols[colControl])
			bad[colControl][i] ^= flip
			if _, err := Apply(io.Discard, bytes.NewReader(old), bytes.NewReader(store(rep.Header, bad)), ApplyOptions{}); !known(err) {
				t.Fatalf("byte %d of control changed by %x: %v, want one of the package's errors", i, flip, err)
			}
		}
	}
}

func TestSamePackTwiceAndForeignOnesStayAsTheyAre(t *testing.T) {
	old, next := kernels(200_000)
	at := bytes.Index(next, lz4Magic) + 4
	packs := findPacks(next)
	plain, err := unpack(lz4Block, next[packs[0].off:][:packs[0].stored], packs[0].plain)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, lz4.CompressBlockBound(len(plain)))
	n, err := lz4.CompressBlock(plain, block, nil) // another compressor
	if err != nil {
		t.Fatal(err)
	}
	foreign := append(binary.LittleEndian.AppendUint32(bytes.Clone(next[:at]), uint32(n)), block[:n]...)
	for name, pair := range map[string][2][]byte{"the same": {old, old}, "moved": {old, append([]byte("front"), old...)}, "foreign": {old, foreign}} {
		d, rep := mustMake(t, pair[0], pair[1])
		mustApply(t, pair[0], pair[1], d)
		if len(rep.Header.Needs) != 0 {
			t.Errorf("%s: the delta needs %q, want nothing", name, rep.Header.Needs)
		}
	}
}
