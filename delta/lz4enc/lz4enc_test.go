package lz4enc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/slotboot/slotboot/internal/lz/lztest"
	"github.com/slotboot/slotboot/internal/need"
)

// packed returns the block that lz4 itself makes, out of its legacy frame.
func packed(t testing.TB, program string, plain []byte) []byte {
	t.Helper()
	out := lztest.Run(t, plain, program, "-l", "-9", "-c")
	if n := binary.LittleEndian.Uint32(out[4:]); int(n) != len(out)-8 {
		t.Fatalf("lz4 makes a block of %d bytes and %d more", n, len(out)-8-int(n))
	}
	return out[8:]
}

func TestBlocksAreThoseOfLZ4(t *testing.T) {
	program := need.Tool(t, "lz4", "lz4")
	var e Encoder
	r := rand.New(rand.NewPCG(1, 2))
	n := 600
	if testing.Short() {
		n = 60
	}
	for i := range n {
		kind, size := lztest.Kinds()[r.IntN(len(lztest.Kinds()))], 1+i/3
		if i > 60 {
			size = 1 + r.IntN(1<<(4+r.IntN(16)))
		}
		plain := lztest.Sample(kind, size, r)
		if got, want := e.Block(nil, plain), packed(t, program, plain); !bytes.Equal(got, want) {
			t.Errorf("Block of %d bytes of %s: %d bytes, lz4 -9 makes %d others", size, kind, len(got), len(want))
		}
	}
}

func TestProgramsArePackedAsByLZ4(t *testing.T) {
	if testing.Short() {
		t.Skip("compresses 8 MiB")
	}
	program := need.Tool(t, "lz4", "lz4")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	self = self[:min(len(self), 8<<20)]
	var e Encoder
	if got, want := e.Block(nil, self), packed(t, program, self); !bytes.Equal(got, want) {
		t.Errorf("Block of %d bytes of this test: %d bytes, lz4 -9 makes %d others", len(self), len(got), len(want))
	}
}

// golden are digests of what lz4 1.9.4 makes.
var golden = map[string]string{
	"zeros": "c81655314573dd1521c3214eaeb32bc8dda43319b6a411365b25b03eeaae1a36",
	"noise": "9449e7d958302b41b92738cbfc52b3c320665f4c442280650add0d541e7ee42c",
	"words": "c99d07eb0ef50a9f641bb21b2d53a4bc8fb5eb3e1cc60668b09dea7c946fe51f",
	"lines": "f9febe2e6d486096987422258020cd2c81f792ac6b6f4270e519f02f1296fa61",
	"steps": "2b522eec9722bd56c3eaf7e6fc5a54e4b6fb775f43aef61b958ae1fccd4813a3",
	"mixed": "74fc1ce6413520e249495318abc13dc39269f483f2361ab2b507667738c6f86f",
}

func TestBytesNeverChange(t *testing.T) {
	lztest.Frozen(t, golden, new(Encoder).Block)
}

func BenchmarkBlock(b *testing.B) { lztest.Bench(b, 1<<20, 16, new(Encoder).Block) }

func FuzzBlocksUnpackToWhatWasPacked(f *testing.F) {
	lztest.Fuzz(f, func(t *testing.T, plain []byte) {
		if len(plain) == 0 {
			return
		}
		var e Encoder
		block := e.Block(nil, plain)
		got := make([]byte, len(plain))
		if n, err := lz4.UncompressBlock(block, got); err != nil || !bytes.Equal(got[:n], plain) {
			t.Fatalf("unpack what Block makes of %d bytes: %d bytes, %v", len(plain), n, err)
		}
		if program, err := exec.LookPath("lz4"); err == nil && !bytes.Equal(packed(t, program, plain), block) {
			t.Fatalf("Block of %d bytes: not what lz4 -9 makes", len(plain))
		}
	})
}
