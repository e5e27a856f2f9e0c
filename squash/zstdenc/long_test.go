package zstdenc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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
}

// The digest freezes the output of LongID. If this test fails because the encoder is better now, LongID has to change too.
func TestOutputOfLongIDIsFrozen(t *testing.T) {
	if LongID != "slot-zstd-long/1" {
		t.Fatalf("LongID = %s: this digest is of slot-zstd-long/1", LongID)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	in := text(1 << 20)
	for len(in) < 3<<20 { // stretches of what is there, changed a little
		at := rnd.IntN(len(in) - 5000)
		in = append(in, in[at:at+100+rnd.IntN(4000)]...)
		in[len(in)-1-rnd.IntN(90)] ^= byte(rnd.Uint32())
	}
	h := sha256.New()
	for _, size := range []int{MaxInput, MaxInput + 1, 1_800_000, len(in)} {
		h.Write(New(Best).EncodeLong(nil, in[:size]))
	}
	if got, want := hex.EncodeToString(h.Sum(nil)[:16]), "05dffc4d0bf3c80076522fdcf356ee74"; got != want {
		t.Errorf("digest of the frames %q, want %q", got, want)
	}
}
