package word

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestHashSeesTheFirstBytesOnly(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for n, first := range map[int]uint64{3: First3, 4: First4, 5: First5, 6: First6} {
		others := 0
		for range 1000 {
			v := rnd.Uint64()
			behind := v ^ rnd.Uint64()<<(8*n)
			if a, b := Hash(v, first, 48), Hash(behind, first, 48); a != b {
				t.Fatalf("Hash of %d bytes: %#x gives %d, %#x gives %d, want the same", n, v, a, behind, b)
			}
			if Hash(v, first, 48) != Hash(v^1<<(8*n-1), first, 48) {
				others++
			}
		}
		if others < 990 {
			t.Errorf("Hash of %d bytes: a bit of the last of them changes %d of 1000 hashes", n, others)
		}
	}
}

func TestCommonAndPrefixCountWhatAByteLoopCounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 5000 {
		src := make([]byte, 2+rnd.IntN(60))
		for i := range src {
			src[i] = byte(rnd.IntN(1 + rnd.IntN(3)))
		}
		in := Frame(nil, src)
		b := Front + 1 + rnd.IntN(len(src)-1)
		a, limit := Front+rnd.IntN(b-Front), b+rnd.IntN(Front+len(src)-b+1)
		want := 0
		for b+want < limit && in[a+want] == in[b+want] {
			want++
		}
		if got := Common(in, a, b, limit); got != want {
			t.Fatalf("Common(%v, %d, %d, %d) = %d, want %d", in, a, b, limit, got, want)
		}
		if got := Prefix(in[a:], in[b:limit]); got != want {
			t.Fatalf("Prefix(%v, %v) = %d, want %d", in[a:], in[b:limit], got, want)
		}
	}
}

func TestAFrameShowsNothingOfTheInputBefore(t *testing.T) {
	long := Frame(nil, bytes.Repeat([]byte{7}, 1000))
	got := Frame(long, []byte("ab"))
	if want := append([]byte{0, 'a', 'b'}, make([]byte, Pad)...); !bytes.Equal(got, want) {
		t.Errorf("Frame of ab in a used buffer = %v, want %v", got, want)
	}
}
