package squash_test

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/squash"
)

// TestXZReadsWhatTheSmallEncoderWrites takes blocks of one chunk, of many, and of plain ones.
func TestXZReadsWhatTheSmallEncoderWrites(t *testing.T) {
	tool := need.Tool(t, "xz", "xz-utils")
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 200_000)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	skewed := bytes.Clone(random) // compresses, but to more than a chunk holds
	for i := range skewed {
		skewed[i] &= 0x7f
	}
	mixed := append(append(text(1, 50_000), random[:70_000]...), skewed[:90_000]...)
	const size = 1 << 20
	c, err := squash.NewCodec("slot-xz/1", size)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := squash.NewDecoder(squash.XZ, size)
	if err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string][]byte{"text": text(2, 300_000), "random": random, "skewed": skewed, "mixed": mixed, "one byte": {1}, "two": {1, 1},
		"zeros": make([]byte, size), "64 KiB": random[:1<<16], "64 KiB and a byte": random[:1<<16+1]} {
		packed, err := c.Compress(nil, plain)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cmd := exec.Command(tool, "-dc", "--single-stream")
		cmd.Stdin = bytes.NewReader(packed)
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: xz -dc of %d bytes = %d bytes, %v, want the %d back", name, len(packed), len(got), err, len(plain))
		}
		got := make([]byte, size)
		if n, err := dec.Decode(got, packed); err != nil || !bytes.Equal(got[:n], plain) {
			t.Errorf("%s: Decode of %d bytes = %d bytes, %v, want the %d back", name, len(packed), n, err, len(plain))
		}
		if len(packed) > len(plain)+200 {
			t.Errorf("%s: %d bytes become %d", name, len(plain), len(packed))
		}
	}
}
