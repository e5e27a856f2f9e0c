package lztest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Encode appends src, compressed, to dst.
type Encode func(dst, src []byte) []byte

// Digest is that of what in becomes, in the order of the names. It freezes the output of an encoder.
func Digest(in map[string][]byte, encode Encode) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(in)) {
		sum.Write(encode(nil, in[name]))
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Frozen compares what samples of each kind become with their digests.
func Frozen(t *testing.T, golden map[string]string, encode Encode) {
	t.Helper()
	for _, kind := range Kinds() {
		out := encode([]byte("front"), Sample(kind, 300_000, rand.New(rand.NewPCG(5, 6))))
		if got := fmt.Sprintf("%x", sha256.Sum256(out)); got != golden[kind] {
			t.Errorf("encode %s: sha256 %s, want %s", kind, got, golden[kind])
		}
	}
}

// UsedWritesWhatFreshDoes tells one encoder that takes all of in from fresh ones, and makes sure that they append and leave
// their input alone.
func UsedWritesWhatFreshDoes(t *testing.T, in map[string][]byte, fresh func() Encode) {
	t.Helper()
	used := fresh()
	for name, src := range in { // any order
		keep := bytes.Clone(src)
		got, want := used([]byte("before"), src), fresh()(nil, src)
		if rest, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(rest, want) {
			t.Errorf("%s: a used encoder appends %d bytes to %q, a fresh one makes %d others", name, len(rest), got[:min(len(got), 6)], len(want))
		}
		if !bytes.Equal(src, keep) {
			t.Errorf("%s: encode changes its input", name)
		}
	}
}

// LongerPanics makes sure that more than limit bytes do, and that the panic says so.
func LongerPanics(t *testing.T, limit int, encode Encode) {
	t.Helper()
	defer func() {
		if r, want := fmt.Sprint(recover()), fmt.Sprintf("want at most %d", limit); !strings.Contains(r, want) {
			t.Errorf("encode %d bytes: panic %q, want %q", limit+1, r, want)
		}
	}()
	encode(nil, make([]byte, limit+1))
}

// Fuzz checks inputs made from the fuzzer's bytes: as they are, and repeated with changes, so that matches at all distances
// and of all lengths arise.
func Fuzz(f *testing.F, check func(t *testing.T, in []byte)) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, kind := range Kinds() {
		for i, n := range []int{0, 1, 7, 300, 5000} {
			f.Add(Sample(kind, n, r), uint16(n*7), byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint16, copies byte) {
		rnd := rand.New(rand.NewPCG(uint64(seed), uint64(copies)))
		in := bytes.Clone(data)
		for range copies {
			if len(in) == 0 || len(in) > 200_000 {
				break
			}
			from := rnd.IntN(len(in))
			in = append(in, in[from:from+rnd.IntN(len(in)-from+1)]...)
			in[rnd.IntN(len(in))] = byte(rnd.Uint32())
		}
		check(t, in[:min(len(in), MaxBlock)])
	})
}

// Run returns what a program writes to its standard output that is given plain as a file, its last argument. Some read less
// at a time from a pipe, and choose otherwise.
func Run(tb testing.TB, plain []byte, program string, args ...string) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "plain")
	if err := os.WriteFile(path, plain, 0o600); err != nil {
		tb.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command(program, append(args, path)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s: %v: %s", cmd, err, stderr.String())
	}
	return out
}
