package squash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.b = append(m.b, make([]byte, max(0, off+int64(len(p))-int64(len(m.b))))...)
	return copy(m.b[off:], p), nil
}

// hostile writes an image whose inodes change has been at: it says what no body could.
func hostile(t *testing.T, o Options, entries []Entry, change func(w *Writer)) []byte {
	t.Helper()
	var m memory
	w, err := NewWriter(&m, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(w)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return m.b
}

// peak runs f and returns how far the heap grew meanwhile.
func peak(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	var start runtime.MemStats
	runtime.ReadMemStats(&start)
	var top atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			top.Store(max(top.Load(), int64(now.HeapAlloc)))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return top.Load() - int64(start.HeapAlloc)
}

func readAllOf(m *Image) error {
	return m.Walk(func(f *Found) error {
		if _, err := f.Xattrs(); err != nil || !f.Mode.IsRegular() {
			return err
		}
		_, err := io.Copy(io.Discard, f.Open())
		return err
	})
}

func TestBombsTakeLessThan64MiB(t *testing.T) {
	const limit = 64 << 20
	regular := Entry{Path: "f", Mode: 0o600}
	holes := func(n int) func(w *Writer) {
		return func(w *Writer) {
			size := int64(n) * int64(w.o.BlockSize)
			w.tree.find("f").body = &file{size: size, run: &run{sizes: make([]uint32, n), holes: size}, fragment: noFragment}
		}
	}
	zeros := Entry{Path: "f", Mode: 0o600, Size: 256 << 20, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeroReader{}, 256<<20)), nil
	}}
	terabytes := hostile(t, Options{BlockSize: 1 << 20}, []Entry{regular}, holes(6<<20))
	for name, test := range map[string]struct {
		image []byte
		read  func(m *Image) error
	}{
		"list the blocks of 6 TiB of holes": {terabytes, func(m *Image) error { _, err := m.Blocks(); return err }},
		"read the end of 6 TiB of holes": {terabytes, func(m *Image) error {
			f, err := m.Open("f")
			if err == nil {
				_, err = f.(io.ReaderAt).ReadAt(make([]byte, 100), 6<<40-100)
			}
			return err
		}},
		"read many short blocks": {hostile(t, Options{BlockSize: 1 << 20, Level: 1, NoFragments: true}, manyFiles(300), nil), func(m *Image) error {
			for i := range 300 {
				if text, err := fs.ReadFile(m, fmt.Sprintf("f%03d", i)); err != nil || string(text) != fileText(i) {
					return fmt.Errorf("f%03d reads %q: %v", i, text, err)
				}
			}
			return nil
		}},
		"read blocks of zeros": {hostile(t, Options{BlockSize: 1 << 20, Level: 1}, []Entry{zeros}, nil), readAllOf},
	} {
		var err error
		grown := peak(func() {
			var m *Image
			if m, err = Open(bytes.NewReader(test.image)); err == nil {
				err = test.read(m)
			}
		})
		if err != nil || grown > limit {
			t.Errorf("%s, from %d bytes: %v, and %d MiB of memory; want less than %d", name, len(test.image), err, grown>>20, limit>>20)
		}
	}
}

// manyFiles are files of a line each, which compresses; fileText is what is in them.
func manyFiles(n int) (list []Entry) {
	for i := range n {
		list = append(list, Entry{Path: fmt.Sprintf("f%03d", i), Mode: 0o600, Size: int64(len(fileText(i))), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(fileText(i))), nil
		}})
	}
	return list
}

func fileText(i int) string { return strings.Repeat(fmt.Sprint("line of file ", i, "\n"), 20) }

func TestTinyMetadataBlocksAreNotKeptAsLargeOnes(t *testing.T) {
	image := hostile(t, Options{BlockSize: 4096, Compression: Gzip}, nil, nil)
	codec, err := NewCodec("slot-zlib/1", 4096)
	if err != nil {
		t.Fatal(err)
	}
	block, err := codec.Compress(nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	at, step := len(image), 2+len(block)
	for range n {
		image = append(append(image, byte(len(block)), 0), block...)
	}
	binary.LittleEndian.PutUint64(image[40:], uint64(len(image)))
	m, err := Open(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	grown := peak(func() {
		for i := range n {
			if b, _, err := m.metaBlock(int64(at+i*step), int64(len(image))); err != nil || string(b) != "x" {
				t.Fatalf("metaBlock at %d = %q, %v, want x", at+i*step, b, err)
			}
		}
	})
	if limit := int64(n * metaSize / 4); grown > limit { // what is decoded and thrown away counts until it is collected
		t.Errorf("%d metadata blocks of a byte take %d KiB of memory, want less than %d", n, grown>>10, limit>>10)
	}
	runtime.KeepAlive(m)
}

type zeroReader struct{}

// Read gives a block that is all zeros but for its first byte: it is stored.
func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	if len(p) > 0 {
		p[0] = 1
	}
	return len(p), nil
}

// TestLyingSizesAreErrorsWithOffsets changes one number of an image each.
func TestLyingSizesAreErrorsWithOffsets(t *testing.T) {
	le := binary.LittleEndian
	content := strings.Repeat("some text that compresses ", 1000)
	entries := []Entry{{Path: "f", Mode: 0o600, Size: int64(len(content)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}}
	whole := func(w *Writer) *file { return w.tree.find("f").body.(*file) }
	for name, test := range map[string]struct {
		change func(w *Writer)
		super  func(b []byte)
		want   string
	}{
		"size of 2^63":              {change: func(w *Writer) { whole(w).size = -1 << 63; w.tree.find("f").links = 2 }, want: "9223372036854775808"},
		"size of 2^62":              {change: func(w *Writer) { whole(w).size = 1 << 62 }, want: "table ends at offset"},
		"blocks beyond the image":   {change: func(w *Writer) { w.bodies.hold(whole(w)).start = 1 << 40 }, want: "the image at"},
		"fragment beyond the table": {change: func(w *Writer) { whole(w).fragment = 77 }, want: "fragment 77 is not in the table at offset"},
		"tail beyond the fragment":  {change: func(w *Writer) { whole(w).offset = 4000 }, want: "fragment at offset"},
		"block with another length": {change: func(w *Writer) {
			whole(w).size += 4096
			f := w.bodies.hold(whole(w))
			f.sizes = append(f.sizes, f.sizes[0])
		}, want: "block at offset"},
		"stored size beyond a block": {change: func(w *Writer) { w.bodies.hold(whole(w)).sizes[0] = 5000 }, want: "ends at offset"},
		"inode table after its end":  {super: func(b []byte) { le.PutUint64(b[64:], 1<<40) }, want: "offsets 64 and 72"},
		"block size of 3":            {super: func(b []byte) { le.PutUint32(b[12:], 3) }, want: "offset 12"},
		"block size of 2^31":         {super: func(b []byte) { le.PutUint32(b[12:], 1<<31) }, want: "offset 12"},
		"root that is a file":        {super: func(b []byte) { le.PutUint64(b[32:], 0) }, want: "root at offset 32"},
		"root beyond the table":      {super: func(b []byte) { le.PutUint64(b[32:], 1<<40) }, want: "outside of the table"},
		"2^32 fragments":             {super: func(b []byte) { le.PutUint32(b[16:], 1<<32-1) }, want: ""},
		"image of 2^63 bytes":        {super: func(b []byte) { le.PutUint64(b[40:], 1<<63) }, want: "offset 40"},
		"compressor 99":              {super: func(b []byte) { le.PutUint16(b[20:], 99) }, want: "offset 20"},
		"version 3":                  {super: func(b []byte) { le.PutUint16(b[28:], 3) }, want: "offset 28"},
		"another magic":              {super: func(b []byte) { b[0]++ }, want: "offset 0"},
	} {
		image := hostile(t, Options{BlockSize: 4096}, entries, test.change)
		if test.super != nil {
			test.super(image)
		}
		m, err := Open(bytes.NewReader(image))
		if err == nil {
			err = readAllOf(m)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}

// hold waits until the run of f is placed, and returns it for changes.
func (b *bodies) hold(f *file) *run {
	b.flush()
	_ = b.p.stop()
	return f.run
}

func TestFolderLoopsAreErrors(t *testing.T) {
	image := hostile(t, Options{BlockSize: 4096, Compression: None}, []Entry{
		{Path: "outer", Mode: fs.ModeDir | 0o755}, {Path: "outer/inner", Mode: fs.ModeDir | 0o755}, {Path: "second", Mode: fs.ModeDir | 0o755},
	}, nil)
	m, err := Open(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := m.resolve("outer", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"inner", "second"} {
		looped := bytes.Clone(image)
		entry := bytes.Index(looped, []byte(name)) - dirEntrySize
		binary.LittleEndian.PutUint16(looped[entry:], uint16(outer.ref))
		m, err := Open(bytes.NewReader(looped))
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		err = fs.WalkDir(m, ".", func(_ string, d fs.DirEntry, err error) error {
			if steps++; steps > 100 {
				return errors.New("it goes on for ever")
			}
			if err == nil {
				_, err = d.Info()
			}
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "second name") {
			t.Errorf("fs.WalkDir with %s being outer again = %v, want an error about a second name", name, err)
		}
		if err := readAllOf(m); err == nil || !strings.Contains(err.Error(), "second name") {
			t.Errorf("Walk with %s being outer again = %v, want an error about a second name", name, err)
		}
	}
}

// TestAWalkEndsWhereEveryFolderIsThereTwice has more folders than claims are kept of, each with two names for the next one:
// a tree of 2^40 paths.
func TestAWalkEndsWhereEveryFolderIsThereTwice(t *testing.T) {
	const deep = 40
	var entries []Entry
	for i, at := 0, ""; i < deep; i++ {
		entries = append(entries, Entry{Path: at + "a", Mode: fs.ModeDir | 0o755}, Entry{Path: at + "b", Mode: fs.ModeDir | 0o755})
		at += "a/"
	}
	image := hostile(t, Options{BlockSize: 4096, Compression: None}, entries, nil)
	m, err := Open(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	for path := ""; len(path) < 2*deep; path += "a/" { // b becomes a
		a, err := m.resolve(path+"a", false)
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.resolve(path+"b", false)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at+dirEntrySize < len(image); at++ {
			e := image[at:]
			if le16(e) == uint16(b.ref) && le16(e[4:]) == typeDir && le16(e[6:]) == 0 && e[8] == 'b' {
				binary.LittleEndian.PutUint16(e, uint16(a.ref))
			}
		}
	}
	if m, err = Open(bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(claimsMax) {
		m.claims[1<<63+i] = 0
	}
	paths := 0
	err = m.Walk(func(*Found) error {
		if paths++; paths > 1<<20 {
			return errors.New("it goes on for ever")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "second name") {
		t.Errorf("Walk of %d paths = %v, want an error about a second name", paths, err)
	}
}

func TestNamesLeadNoDeeperThanAWalk(t *testing.T) {
	var entries []Entry
	at := "d"
	for range walkDepth + 10 {
		entries = append(entries, Entry{Path: at, Mode: fs.ModeDir | 0o755})
		at += "/d"
	}
	image := hostile(t, Options{BlockSize: 4096, Level: 1}, entries, nil)
	m, err := Open(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stat(strings.Repeat("d/", walkDepth-1) + "d"); err != nil {
		t.Errorf("Stat %d deep: %v", walkDepth, err)
	}
	if _, err := m.Stat(strings.Repeat("d/", walkDepth+5) + "d"); !errors.Is(err, errDepth) {
		t.Errorf("Stat %d deep = %v, want %v", walkDepth+6, err, errDepth)
	}
}

func TestBlocksRefusesWhatNoReaderTakes(t *testing.T) {
	text := strings.Repeat("some text that compresses ", 500)
	entries := []Entry{{Path: "f", Mode: 0o600, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}}
	for name, test := range map[string]struct {
		change func(f *run)
		want   string
	}{
		"a block larger than a block":  {func(r *run) { r.sizes[0] = 4097 }, "want at most 4096"},
		"plain bytes that are too few": {func(r *run) { r.sizes[0] = 100 | blockPlain }, "stores 100 plain bytes, want 4096"},
		"a block in the superblock":    {func(r *run) { r.start = 3 }, "data block at offset 3"},
	} {
		image := hostile(t, Options{BlockSize: 4096}, entries, func(w *Writer) { test.change(w.bodies.hold(w.tree.find("f").body.(*file))) })
		image = append(image, make([]byte, 8192)...)
		binary.LittleEndian.PutUint64(image[40:], uint64(len(image)))
		m, err := Open(bytes.NewReader(image))
		if err == nil {
			_, err = m.Blocks()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Blocks: %v, want an error with %q", name, err, test.want)
		}
	}
}
