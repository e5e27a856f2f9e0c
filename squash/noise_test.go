package squash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/squash/zstdenc"
)

// random returns n bytes that no encoder makes smaller.
func random(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestNoiseIsStoredPlainWithoutTryingAnEncoder(t *testing.T) {
	for _, n := range []int{noiseLeast, noiseLeast + 1, 128<<10 - 3, 128 << 10, 1 << 20} {
		for seed := range byte(20) {
			if !isNoise(random(n, seed)) {
				t.Errorf("isNoise(%d random bytes, seed %d) = false, want true", n, seed)
			}
		}
	}
	if isNoise(random(noiseLeast-1, 0)) {
		t.Errorf("isNoise of %d bytes = true, want false: too few to tell", noiseLeast-1)
	}
}

// asked is an encoder that remembers what it was asked to compress.
type asked struct{ blocks [][]byte }

func (*asked) ID() string { return "asked" }

func (a *asked) Compress(dst, src []byte) ([]byte, error) {
	a.blocks = append(a.blocks, bytes.Clone(src))
	return append(dst, "packed"...), nil
}

func TestNoiseReachesTheImageAndNotTheEncoder(t *testing.T) {
	const blockSize = 128 << 10
	var enc asked
	var image [2 * blockSize]byte
	p := startPipeline(writerAt(image[:]), 0, blockSize, 1, []Codec{&enc})
	noise, text := random(blockSize, 1), bytes.Repeat([]byte("text"), blockSize/4)
	r := &run{start: 1} // 0 would mean that it has none yet
	for _, plain := range [][]byte{noise, text} {
		p.submit(&job{kind: jobBlock, run: r, plain: bytes.Clone(plain)})
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if len(enc.blocks) != 1 || !bytes.Equal(enc.blocks[0], text) {
		t.Errorf("the encoder was asked for %d blocks, want the text alone", len(enc.blocks))
	}
	if want := []uint32{blockSize | blockPlain, 6}; !slices.Equal(r.sizes, want) {
		t.Errorf("stored sizes %#x, want %#x: noise as it is, text packed", r.sizes, want)
	}
	if !bytes.Equal(image[:blockSize], noise) || string(image[blockSize:][:6]) != "packed" {
		t.Error("the image does not hold the noise and then what the encoder made")
	}
}

// writerAt is a file in memory.
type writerAt []byte

func (w writerAt) WriteAt(p []byte, at int64) (int, error) { return copy(w[at:], p), nil }

func TestWhatAnEncoderMakesSmallerIsNotNoise(t *testing.T) {
	words := func(n int) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "%x ", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		}
		return b.Bytes()[:n]
	}
	twice := random(128<<10, 1)
	copy(twice[100<<10:], twice[3001:3001+512])
	biased := random(128<<10, 2)
	for i := range biased {
		if i%40 == 0 {
			biased[i] = 0
		}
	}
	half := append(random(64<<10, 3), words(64<<10)...)
	last := append(random(112<<10, 4), make([]byte, 16<<10)...)
	for name, block := range map[string][]byte{
		"zeros": make([]byte, 128<<10), "hexadecimal": words(128 << 10), "a copy of 512 bytes": twice, "one byte in 40 is 0": biased,
		"half text": half, "zeros at the end": last,
	} {
		if isNoise(block) {
			packed := len(zstdenc.New(zstdenc.Default).Encode(nil, block))
			t.Errorf("isNoise(%s) = true, want false: it takes %d of %d bytes", name, packed, len(block))
		}
	}
}

// What an encoder could still have saved of the blocks that it never saw.
func TestNothingWorthwhileIsLostToTheLookForNoise(t *testing.T) {
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, "), 2)
	rng := rand.New(rand.NewPCG(1, 2))
	var plain bytes.Buffer
	for plain.Len() < 6<<20 { // words in random order: packs well, and the packed bytes have some order left
		plain.Write(text[rng.IntN(40):][:3+rng.IntN(9)])
		plain.WriteByte(byte(rng.IntN(256)))
	}
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(plain.Bytes())
	z.Close()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zst := enc.EncodeAll(plain.Bytes(), nil)
	e := zstdenc.New(zstdenc.Best)
	for name, file := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst, "random": random(2<<20, 9)} {
		all, lost := 0, 0
		for len(file) >= 128<<10 {
			block := file[:128<<10]
			file = file[len(block):]
			if !isNoise(block) {
				continue
			}
			all += len(block)
			lost += max(0, len(block)-len(e.Encode(nil, block)))
		}
		t.Logf("%s: %d bytes taken for noise, of which %d could have been saved", name, all, lost)
		if lost*500 > all {
			t.Errorf("%s: of %d bytes taken for noise %d could have been saved, want at most 1 in 500", name, all, lost)
		}
		if name == "random" && all == 0 {
			t.Error("random: no block taken for noise")
		}
	}
}

func BenchmarkIsNoise(b *testing.B) {
	block := random(128<<10, 1)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		isNoise(block)
	}
}
