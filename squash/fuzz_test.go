package squash_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/slotboot/slotboot/squash"
)

// errBudget ends a walk through an image that is larger than a fuzz step should read.
var errBudget = errors.New("budget used up")

// readEverything uses every way to read an image, and returns how far it came. It must not panic; that is all.
func readEverything(b []byte) error {
	m, err := squash.Open(bytes.NewReader(b))
	if err != nil {
		return err
	}
	budget := int64(8 << 20)
	first := m.Walk(func(f *squash.Found) error {
		if budget -= 200; budget < 0 {
			return errBudget
		}
		if _, err := f.Xattrs(); err != nil {
			return err
		}
		if f.Mode.IsRegular() {
			n, err := io.Copy(io.Discard, io.LimitReader(f.Open(), budget))
			budget -= n
			if err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := m.Blocks(); first == nil {
		first = err
	}
	for _, name := range []string{"usr/file08", "link", "dev", "usr/z-link", "linkx/x"} {
		if f, err := m.Open(name); err == nil {
			_, _ = f.(io.Reader).Read(make([]byte, 100))
			if d, ok := f.(fs.ReadDirFile); ok {
				_, _ = d.ReadDir(100)
			}
		}
		_, _ = m.ReadLink(name)
		_, _ = m.Xattrs(name)
	}
	return first
}

// readAhead is the way that takes goroutines, which are too slow for every byte of an image.
func readAhead(b []byte) {
	m, err := squash.Open(bytes.NewReader(b))
	if err != nil {
		return
	}
	budget := int64(1 << 20)
	_ = m.ContentsFrom("usr", func(f *squash.Found, r io.Reader) error {
		if budget -= 200; budget < 0 {
			return errBudget
		}
		if r == nil {
			return nil
		}
		n, err := io.Copy(io.Discard, io.LimitReader(r, budget))
		budget -= n
		return err
	})
}

// seedTree is small, so that a mutation hits something that matters.
func seedTree() []squash.Entry {
	x := map[string]string{"trusted.a": "b", "trusted.long": string(text(1, 70))}
	return []squash.Entry{
		{Path: ".", Mode: fs.ModeDir | 0o755},
		{Path: "dev", Mode: fs.ModeDir | 0o755, Xattrs: x},
		{Path: "dev/blk", Mode: fs.ModeDevice | 0o660, Major: 259, Minor: 70000, GID: 6},
		{Path: "dev/fifo", Mode: fs.ModeNamedPipe | 0o660, Xattrs: x},
		{Path: "link", Mode: fs.ModeSymlink, Target: "usr/../usr/file00"},
		{Path: "linkx", Mode: fs.ModeSymlink, Target: "/linkx", Xattrs: map[string]string{"trusted.long": x["trusted.long"]}},
		{Path: "usr", Mode: fs.ModeDir},
		body(squash.Entry{Path: "usr/file00"}, text(2, 700)),
		body(squash.Entry{Path: "usr/file08", Xattrs: x}, append(make([]byte, 8192), text(3, 4500)...)),
		body(squash.Entry{Path: "usr/noise"}, noise(3, 40)),
		{Path: "usr/z-link", HardlinkTo: "usr/file08"},
	}
}

// seedImage is an image without its padding.
func seedImage(t testing.TB, o squash.Options, entries []squash.Entry) []byte {
	t.Helper()
	var m buffer
	sum, err := write(&m, o, entries)
	if err != nil {
		t.Fatal(err)
	}
	return m.b[:sum.Used]
}

func FuzzReader(f *testing.F) {
	for _, c := range []squash.Compression{squash.Zstd, squash.Gzip, squash.XZ, squash.LZ4, squash.None} {
		f.Add(seedImage(f, squash.Options{Compression: c, BlockSize: 4096}, seedTree()))
	}
	f.Add(seedImage(f, squash.Options{BlockSize: 16384, NoFragments: true, NoExport: true}, wideFolder(700)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readEverything(b)
		readAhead(b)
	})
}

// TestDamagedImagesAreErrorsAndNeverPanic flips bytes everywhere in an image without compression, where each byte of
// the tables is itself, and in compressed ones.
func TestDamagedImagesAreErrorsAndNeverPanic(t *testing.T) {
	for _, c := range []squash.Compression{squash.None, squash.Zstd, squash.LZ4} {
		image := seedImage(t, squash.Options{Compression: c, BlockSize: 4096}, seedTree())
		const step = 1
		for i := 0; i < len(image); i += step {
			for _, flip := range []byte{1, 0x80, 0xff} {
				damaged := bytes.Clone(image)
				damaged[i] ^= flip
				_ = readEverything(damaged)
			}
			if i%8 == 0 {
				damaged := bytes.Clone(image)
				damaged[i] ^= 0xff
				readAhead(damaged)
			}
		}
		for n := 0; n < len(image)-1; n += 13 {
			if err := readEverything(image[:n]); err == nil {
				t.Fatalf("%v image of %d bytes cut to %d reads without an error", c, len(image), n)
			}
		}
	}
}
