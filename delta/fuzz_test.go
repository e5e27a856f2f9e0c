package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/slotboot/slotboot/squash"
)

// known tells whether an error of a delta is one that callers can tell apart.
func known(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrOtherSource) || errors.Is(err, ErrUnsupported)
}

// fuzzImage makes small images, so that the fuzzer gets far.
var fuzzImage = squash.Options{BlockSize: 4096}

func FuzzHeader(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	before := randomTree(r, 3)
	d, _ := mustMake(f, before.image(f, fuzzImage), edited(r, before).image(f, fuzzImage))
	f.Add(d[:bytes.IndexByte(d, '}')])
	f.Add(d[:min(len(d), 2000)])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ReadHeader(bytes.NewReader(data))
		if err != nil {
			if !known(err) {
				t.Fatalf("ReadHeader = %v, want one of the package's errors", err)
			}
			return
		}
		var again bytes.Buffer
		if err := writeHeader(&again, h); err != nil {
			t.Fatalf("a header that was read cannot be written: %v", err)
		}
	})
}

// limited is a target that ends a bomb. What a delta makes must be no more than its header says.
type limited struct{ left int64 }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		panic("Apply writes more than the header says")
	}
	return len(p), nil
}

// FuzzColumns lets the fuzzer write the plain columns, behind correct digests, so that it gets past them.
func FuzzColumns(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 2))
	before := randomTree(r, 6)
	fuzzColumns(f, before.image(f, fuzzImage), edited(r, before).image(f, fuzzImage))
}

// FuzzPacks does the same for a kernel.
func FuzzPacks(f *testing.F) {
	old, next := kernels(6000)
	fuzzColumns(f, old, next)
}

func fuzzColumns(f *testing.F, old, next []byte) {
	d, rep := mustMake(f, old, next)
	cols := plainColumns(f, d)
	f.Add(cols[0], cols[1], cols[2], cols[3], cols[4], cols[5], rep.Header.Target.Size)
	f.Fuzz(func(t *testing.T, control, length, seek, diff, extra, check []byte, size int64) {
		if size < 0 || size > 8<<20 {
			return
		}
		h := rep.Header
		h.Target.Size = size
		crafted := store(h, [numColumns][]byte{control, length, seek, diff, extra, check})
		_, err := Apply(&limited{size}, bytes.NewReader(old), bytes.NewReader(crafted), ApplyOptions{Workers: 1})
		if err != nil && !known(err) {
			t.Fatalf("Apply = %v, want one of the package's errors", err)
		}
	})
}

// plainColumns takes a delta apart.
func plainColumns(t testing.TB, d []byte) (cols [numColumns][]byte) {
	t.Helper()
	r := bytes.NewReader(d)
	h, err := ReadHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	mux := newDemux(r, h.Columns)
	for i, c := range h.Columns {
		plain, err := openColumn(c, i, mux.column(i))
		if err == nil {
			cols[i], err = io.ReadAll(plain)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return cols
}

// store puts a delta together whose columns are not compressed.
func store(h Header, cols [numColumns][]byte) []byte {
	h.Columns = nil
	var frames bytes.Buffer
	for i, c := range cols {
		h.Columns = append(h.Columns, Column{columnNames[i], "store", int64(len(c)), int64(len(c)), fmt.Sprintf("%x", sha256.Sum256(c))})
		for len(c) > 0 {
			n := min(len(c), maxFrame)
			frames.Write(binary.AppendUvarint([]byte{byte(i)}, uint64(n)))
			frames.Write(c[:n])
			c = c[n:]
		}
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	out := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
	sum := sha256.Sum256(text)
	out = append(append(out, text...), sum[:]...)
	out = append(out, frames.Bytes()...)
	frames.WriteByte(frameEnd)
	end := sha256.Sum256(frames.Bytes()[:frames.Len()-1])
	return append(append(out, frameEnd), end[:]...)
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("the old content of a file"), []byte("the new content of the file"), 3)
	f.Add([]byte{}, []byte("x"), 0)
	f.Fuzz(func(t *testing.T, old, target []byte, from int) {
		if from < 0 || from > len(old) || len(old) > 1<<16 || len(target) > 1<<16 {
			return
		}
		var p patcher
		p.run(newIndex(old), target, from)
		if got := replay(t, old, from, &p); !bytes.Equal(got, target) {
			t.Fatalf("a patch of %d to %d bytes gives %d other bytes", len(old), len(target), len(got))
		}
	})
}
