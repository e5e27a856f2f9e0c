package lzmaenc

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/ulikunitz/xz/lzma"
)

// inputs are streams of many kinds, all of them small.
func inputs() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 70000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var text, gaps []byte
	for len(text) < 300000 {
		text = fmt.Appendf(text, "line %d says %s\n", r.IntN(5000), bytes.Repeat([]byte{byte('a' + r.IntN(5))}, r.IntN(9)))
	}
	for len(gaps) < 200000 {
		gaps = append(append(gaps, make([]byte, r.IntN(900))...), noise[:r.IntN(7)]...)
	}
	all := map[string][]byte{"a byte": {7}, "four": []byte("abcd"), "noise": noise, "text": text, "gaps": gaps,
		"zeros": make([]byte, 500000), "twice": append(noise[:50000:50000], noise[:50000]...)}
	for n := range 40 {
		all[fmt.Sprint("short ", n)] = bytes.Repeat([]byte("abcab"), 9)[:n+1]
	}
	return all
}

func TestAnyDecoderGivesBackWhatWasEncoded(t *testing.T) {
	for name, plain := range inputs() {
		for _, p := range []Params{{Dict: 4 << 10, LC: 3, PB: 2}, {Dict: 1 << 20, LC: 4, PB: 0}, {Dict: 1 << 16, LC: 0, LP: 2, PB: 4}} {
			var out bytes.Buffer
			if err := Encode(&out, bytes.NewReader(plain), int64(len(plain)), p); err != nil {
				t.Fatalf("%s: Encode: %v", name, err)
			}
			d, err := lzma.NewReader(bytes.NewReader(out.Bytes()))
			if err != nil {
				t.Fatalf("%s, %+v: %v", name, p, err)
			}
			got, err := io.ReadAll(d)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, %+v: decoded to %d bytes, %v, want the %d that were encoded", name, p, len(got), err, len(plain))
			}
		}
	}
}

func TestOutputIsAsSmallAsTheReferenceEncoders(t *testing.T) {
	need.Tool(t, "xz", "xz-utils")
	for _, name := range []string{"text", "gaps", "twice"} {
		plain := inputs()[name]
		var out bytes.Buffer
		if err := Encode(&out, bytes.NewReader(plain), int64(len(plain)), Params{Dict: 1 << 20, LC: 3, PB: 2}); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("xz", "--format=lzma", "-9e", "-c")
		cmd.Stdin = bytes.NewReader(plain)
		ref, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if float64(out.Len()) > 1.01*float64(len(ref)) {
			t.Errorf("%s: %d bytes, xz -9e makes %d", name, out.Len(), len(ref))
		}
		cmd = exec.Command("xz", "--format=lzma", "-dc")
		cmd.Stdin = bytes.NewReader(out.Bytes())
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: xz gives back %d bytes, %v, want the %d that were encoded", name, len(got), err, len(plain))
		}
	}
}

func TestAnInputOfAnotherSizeIsAnError(t *testing.T) {
	for _, size := range []int64{0, 4, 6, 1 << 33, -1} {
		if err := Encode(io.Discard, bytes.NewReader([]byte("hello")), size, Params{Dict: 4096}); err == nil {
			t.Errorf("5 bytes encoded as %d: no error", size)
		}
	}
}
