package delta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"github.com/slotboot/slotboot/delta/gzipenc"
	"github.com/slotboot/slotboot/squash"
)

// tree is a small root: contents by path.
type tree map[string][]byte

// image writes a tree as a squashfs.
func (tr tree) image(t testing.TB, o squash.Options) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := squash.NewWriter(f, o)
	if err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1700000000, 0)
	if err := w.Add(squash.Entry{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: when}); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for p := range tr {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		body := tr[p]
		err := w.Add(squash.Entry{Path: p, Mode: 0o644, ModTime: when, Size: int64(len(body)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// randomTree makes files that compress about as well as programs do.
func randomTree(r *rand.Rand, files int) tree {
	tr := tree{}
	for i := range files {
		body := randomBody(r, r.IntN(1<<(8+r.IntN(10))))
		if i%3 == 0 {
			tr[fmt.Sprintf("file%03d.gz", i)] = gzipped(body, i%2 == 0)
			continue
		}
		tr[fmt.Sprintf("file%03d", i)] = body
	}
	return tr
}

// gzipped is what gzip -9n makes of text, or gzip -9, which notes name and time.
func gzipped(text []byte, plain bool) []byte {
	var e gzipenc.Encoder
	if plain {
		return appendMember(nil, &e, text, true)
	}
	return appendMember([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x60\x02\x03changelog\x00"), &e, text, false)
}

func randomBody(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		if len(b) > 100 && r.IntN(3) > 0 {
			at := r.IntN(len(b) - 50)
			b = append(b, b[at:at+min(8+r.IntN(40), n-len(b))]...)
		} else {
			b = append(b, byte(r.Uint32()>>r.IntN(8)))
		}
	}
	return b
}

// edited changes a tree as updates do: bytes here and there, inserts, new, renamed and removed files.
func edited(r *rand.Rand, tr tree) tree {
	next := tree{}
	for p, body := range tr {
		b := bytes.Clone(body)
		var f inflater
		text, header, err := f.inflate(b, maxText)
		gz := err == nil
		if gz {
			b = bytes.Clone(text)
		}
		switch r.IntN(8) {
		case 0:
			for range r.IntN(20) {
				if len(b) > 0 {
					b[r.IntN(len(b))]++
				}
			}
		case 1:
			at := r.IntN(len(b) + 1)
			b = append(append(b[:at:at], randomBody(r, r.IntN(500))...), b[at:]...)
		case 2:
			p += ".1"
		case 3:
			continue
		}
		if gz {
			b = gzipped(b, header == len(gzipHeader))
		}
		next[p] = b
	}
	next["new"] = randomBody(r, r.IntN(100000))
	return next
}

func mustMake(t testing.TB, old, next []byte) ([]byte, *Report) {
	t.Helper()
	var out bytes.Buffer
	rep, err := Make(&out, bytes.NewReader(old), bytes.NewReader(next), int64(len(old)), int64(len(next)), MakeOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatalf("Make: %v", err)
	}
	return out.Bytes(), rep
}

func TestApplyGivesBackTheNewImageForRandomTreesAndEdits(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		before := randomTree(r, 1+r.IntN(60))
		o := squash.Options{BlockSize: 4096 << r.IntN(7), Compression: []squash.Compression{squash.Zstd, squash.Gzip, squash.XZ, squash.LZ4, squash.None}[r.IntN(5)]}
		old, next := before.image(t, o), edited(r, before).image(t, o)
		d, rep := mustMake(t, old, next)
		if seed < 2 {
			if again, _ := mustMake(t, old, next); !bytes.Equal(d, again) {
				t.Errorf("seed %d: two makes give two deltas", seed)
			}
		}
		if rep.Literal > 0 {
			t.Errorf("seed %d: %d bytes of our own image were not reproduced", seed, rep.Literal)
		}
		for _, workers := range []int{1, 3} {
			var got bytes.Buffer
			if _, err := Apply(&got, bytes.NewReader(old), bytes.NewReader(d), ApplyOptions{Workers: workers}); err != nil {
				t.Fatalf("seed %d: Apply: %v", seed, err)
			}
			if !bytes.Equal(got.Bytes(), next) {
				t.Fatalf("seed %d: Apply gives another image", seed)
			}
		}
		var rest bytes.Buffer
		have := r.IntN(len(next))
		if _, err := Apply(&rest, bytes.NewReader(old), bytes.NewReader(d), ApplyOptions{Have: bytes.NewReader(next[:have]), HaveSize: int64(have)}); err != nil || !bytes.Equal(rest.Bytes(), next[have:]) {
			t.Fatalf("seed %d: resumed at %d of %d: %v", seed, have, len(next), err)
		}
	}
}

func TestFilesThatAreNoSquashfsAreDeltasToo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{0, 1, 5000, 700000} {
		old := randomBody(r, n)
		next := append(randomBody(r, 100), old...)
		d, _ := mustMake(t, old, next)
		var got bytes.Buffer
		if _, err := Apply(&got, bytes.NewReader(old), bytes.NewReader(d), ApplyOptions{}); err != nil || !bytes.Equal(got.Bytes(), next) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if n > 100000 && len(d) > 3000 {
			t.Errorf("100 bytes inserted before %d: a delta of %d bytes", n, len(d))
		}
	}
}

func TestAnyFlippedByteOfADeltaIsAnErrorAndNeverAPanic(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	before := randomTree(r, 20)
	o := squash.Options{BlockSize: 8192}
	old, next := before.image(t, o), edited(r, before).image(t, o)
	d, _ := mustMake(t, old, next)
	for range 250 {
		bad := bytes.Clone(d)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		if _, err := Apply(io.Discard, bytes.NewReader(old), bytes.NewReader(bad), ApplyOptions{}); err == nil {
			t.Fatal("a flipped bit goes unnoticed")
		}
	}
	for n := 0; n < len(d); n += 1 + len(d)/200 {
		if _, err := Apply(io.Discard, bytes.NewReader(old), bytes.NewReader(d[:n]), ApplyOptions{}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d of %d: %v, want ErrDamaged", n, len(d), err)
		}
	}
	if _, err := Apply(io.Discard, bytes.NewReader(old), bytes.NewReader(append(bytes.Clone(d), 0)), ApplyOptions{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte behind the end: %v, want ErrDamaged", err)
	}
}

func TestAnotherOldImageDoesNotFit(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	before := randomTree(r, 20)
	o := squash.Options{BlockSize: 8192}
	old, next := before.image(t, o), edited(r, before).image(t, o)
	d, _ := mustMake(t, old, next)
	for _, other := range [][]byte{nil, old[:len(old)/2], edited(r, before).image(t, o)} {
		if _, err := Apply(io.Discard, bytes.NewReader(other), bytes.NewReader(d), ApplyOptions{}); !errors.Is(err, ErrOtherSource) {
			t.Errorf("old image of %d bytes: %v, want ErrOtherSource", len(other), err)
		}
	}
}
