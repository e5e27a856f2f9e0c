package zstdenc

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestALongInputComesBackAndItsDistantRepeatsAreFound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	random := make([]byte, 2<<20)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	long := append(append(bytes.Clone(random), text(1<<20)...), random...)
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<30), zstd.WithDecoderMaxWindow(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	e := New(Best)
	for _, in := range [][]byte{long, random[:MaxInput+1], text(300_000), long[1<<20:]} {
		out := e.EncodeLong(nil, in)
		if back, err := d.DecodeAll(out, nil); err != nil || !bytes.Equal(back, in) {
			t.Fatalf("%d bytes do not come back: %v", len(in), err)
		}
		if fresh := New(Best).EncodeLong(nil, in); !bytes.Equal(fresh, out) {
			t.Errorf("%d bytes: a used encoder writes something else than a fresh one", len(in))
		}
		if len(in) <= MaxInput && !bytes.Equal(New(Best).Encode(nil, in), out) {
			t.Errorf("%d bytes: EncodeLong writes something else than Encode", len(in))
		}
		if len(in) == len(long) && len(out) > len(long)-len(random)-(500<<10) {
			t.Errorf("%d of %d bytes: what stands 3 MiB behind is not found", len(out), len(in))
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("EncodeLong of MaxLong+1 bytes returned, want a panic")
		}
	}()
	e.EncodeLong(nil, make([]byte, MaxLong+1))
}
