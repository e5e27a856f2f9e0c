package squash_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/slotboot/slotboot/squash"
)

// openImage opens an image in memory.
func openImage(t testing.TB, b []byte) *squash.Image {
	t.Helper()
	m, err := squash.Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// imageEntries lists an image as entries, as folderEntries does for a folder of the host.
func imageEntries(t testing.TB, m *squash.Image) []squash.Entry {
	t.Helper()
	var list []squash.Entry
	links := map[uint32]string{}
	err := m.Walk(func(f *squash.Found) error {
		x, err := f.Xattrs()
		if err != nil {
			return err
		}
		e := squash.Entry{Path: f.Path, Mode: f.Mode, UID: f.UID, GID: f.GID, ModTime: f.ModTime, Target: f.Target, Major: f.Major, Minor: f.Minor, Xattrs: x}
		if f.Mode.IsRegular() {
			e.Size = f.Size
			e.Open = func() (io.ReadCloser, error) { return f.Open(), nil }
		}
		if f.Links > 1 && !f.Mode.IsDir() {
			if first, ok := links[f.Inode]; ok {
				e = squash.Entry{Path: f.Path, HardlinkTo: first}
			} else {
				links[f.Inode] = f.Path
			}
		}
		list = append(list, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestReaderReadsWhatTheWriterWrote(t *testing.T) {
	for _, c := range []squash.Compression{squash.Zstd, squash.Gzip, squash.XZ, squash.LZ4, squash.None} {
		for _, size := range []int{4096, 16384} {
			entries := everyKind(size)
			same(t, "Image", imageEntries(t, openImage(t, build(t, squash.Options{Compression: c, BlockSize: size}, entries))), entries)
		}
	}
}

func TestImageIsAnFS(t *testing.T) {
	// fstest knows nothing of devices and of names that are not UTF-8.
	var entries []squash.Entry
	for _, e := range everyKind(4096) {
		if e.Path != "usr/\xff \n\"name\"" && e.Mode&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) == 0 && e.Path != "usr/z-fifo" && e.Path != "usr/z-link" && e.Path != "linkx" {
			entries = append(entries, e)
		}
		if e.Path == "usr/file05" {
			entries = append(entries, squash.Entry{Path: "usr/up", Mode: fs.ModeSymlink | 0o777, Target: "../link2"})
		}
	}
	entries = append(entries, squash.Entry{Path: "link2", Mode: fs.ModeSymlink | 0o777, Target: "/usr/./up2"},
		squash.Entry{Path: "usr/up2", Mode: fs.ModeSymlink | 0o777, Target: "../../../usr/file05"})
	for i, e := range entries {
		if e.Path == "link" {
			entries[i].Target = "usr/file04"
		}
	}
	m := openImage(t, build(t, squash.Options{BlockSize: 4096}, entries))
	if err := fstest.TestFS(m, "usr/file05", "usr/up", "empty", "link"); err != nil {
		t.Fatal(err)
	}
	want, err := fs.ReadFile(m, "usr/file05")
	if err != nil {
		t.Fatal(err)
	}
	got, err := fs.ReadFile(m, "usr/up")
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("ReadFile(usr/up) = %d bytes, %v; want the %d bytes that three symlinks lead to", len(got), err, len(want))
	}
	if target, err := fs.ReadLink(m, "usr/up"); err != nil || target != "../link2" {
		t.Fatalf("ReadLink(usr/up) = %q, %v", target, err)
	}
	if x, err := m.Xattrs("usr/setuid2"); err != nil || x["trusted.overlay.opaque"] != "y" {
		t.Fatalf("Xattrs(usr/setuid2) = %v, %v", x, err)
	}
	fi, err := m.Stat("usr/setuid2")
	if err != nil || fi.Sys().(*squash.Stat).Links != 2 || fi.Mode()&fs.ModeSetuid == 0 {
		t.Fatalf("Stat(usr/setuid2) = %+v, %v; want setuid and two links", fi, err)
	}
}

func TestRandomReadsReturnWhatSequentialOnesDo(t *testing.T) {
	content := append(append(text(1, 700_000), make([]byte, 300_000)...), noise(2, 123_456)...)
	m := openImage(t, build(t, squash.Options{BlockSize: 4096}, []squash.Entry{body(squash.Entry{Path: "f", Mode: 0o644}, content)}))
	f, err := m.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		off := i * 7919 % len(content)
		p := make([]byte, min(i*37%9000+1, len(content)-off))
		if _, err := f.(io.ReaderAt).ReadAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, content[off:off+len(p)]) {
			t.Fatalf("ReadAt(%d bytes, %d) differs from the content", len(p), off)
		}
	}
	var rest bytes.Buffer
	if _, err := f.(io.Seeker).Seek(777_777, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := f.(io.WriterTo).WriteTo(&rest); err != nil || n != int64(rest.Len()) || !bytes.Equal(rest.Bytes(), content[777_777:]) {
		t.Fatalf("WriteTo from byte 777777 = %d, %v; want the rest of the file", n, err)
	}
	if n, err := f.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("Read after WriteTo = %d, %v; want 0, EOF", n, err)
	}
	if n, err := f.(io.ReaderAt).ReadAt(make([]byte, 10), int64(len(content))-4); n != 4 || err != io.EOF {
		t.Fatalf("ReadAt over the end = %d, %v; want 4, EOF", n, err)
	}
}

func TestSameBytesWhateverTheWorkers(t *testing.T) {
	entries := everyKind(16384)
	for _, c := range []squash.Compression{squash.Zstd, squash.Gzip, squash.XZ, squash.LZ4} {
		want := build(t, squash.Options{Compression: c, BlockSize: 16384, Workers: 1}, entries)
		for _, workers := range []int{2, 3, 16} {
			got := build(t, squash.Options{Compression: c, BlockSize: 16384, Workers: workers}, entries)
			if diff := cmp.Diff(len(want), len(got)); diff != "" || !bytes.Equal(got, want) {
				t.Fatalf("%v with %d workers: another image than with one (%d and %d bytes)", c, workers, len(got), len(want))
			}
		}
	}
}

func TestBlocksCoverAllStoredBytes(t *testing.T) {
	var m buffer
	sum, err := write(&m, squash.Options{BlockSize: 4096}, everyKind(4096))
	if err != nil {
		t.Fatal(err)
	}
	img := openImage(t, m.b)
	blocks, err := img.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[squash.BlockKind]int{}
	var data int64
	for _, b := range blocks {
		kinds[b.Kind]++
		if b.Kind == squash.DataBlock || b.Kind == squash.FragmentBlock {
			data += int64(b.Stored)
		}
	}
	if data != sum.DataBytes || kinds[squash.FragmentBlock] != sum.Fragments {
		t.Fatalf("Blocks() = %d bytes of data, %d fragments; want %d and %d", data, kinds[squash.FragmentBlock], sum.DataBytes, sum.Fragments)
	}
	if kinds[squash.InodeBlock] == 0 || kinds[squash.FolderBlock] == 0 || kinds[squash.TableBlock] < 5 {
		t.Fatalf("Blocks() has these kinds: %v", kinds)
	}
}

func TestHolesAreToldToWritersThatAskForThem(t *testing.T) {
	body := append(make([]byte, 3*4096), "end"...)
	image := openImage(t, build(t, squash.Options{BlockSize: 4096}, []squash.Entry{
		{Path: "d", Mode: dirMode}, {Path: "d/f", Mode: 0o644, Size: int64(len(body)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }},
		{Path: "d2", Mode: dirMode}}))
	var w holeCounter
	var paths []string
	err := image.ContentsFrom("d", func(f *squash.Found, r io.Reader) error {
		paths = append(paths, f.Path)
		if r == nil {
			return nil
		}
		_, err := io.Copy(&w, r)
		return err
	})
	if err != nil || w.holes != 3*4096 || w.Buffer.String() != "end" || !slices.Equal(paths, []string{"d", "d/f"}) {
		t.Errorf("ContentsFrom(d) = %v, %d bytes of holes, %q, %v, want d and d/f, 12288 and the end", paths, w.holes, w.Buffer.String(), err)
	}
	if err := image.WalkFrom("nowhere", func(*squash.Found) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WalkFrom(nowhere) = %v, want fs.ErrNotExist", err)
	}
}

type holeCounter struct {
	bytes.Buffer
	holes int
}

func (w *holeCounter) Hole(size int) error {
	w.holes += size
	return nil
}

func TestContentsGivesWhatWalkAndOpenDo(t *testing.T) {
	m := openImage(t, build(t, squash.Options{BlockSize: 4096}, append(everyKind(4096), body(squash.Entry{Path: "zz"}, text(1, 300_000)))))
	var want, got []string
	if err := m.Walk(func(f *squash.Found) error {
		var b bytes.Buffer
		if f.Mode.IsRegular() {
			if _, err := io.Copy(&b, f.Open()); err != nil {
				return err
			}
		}
		want = append(want, f.Path, b.String())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	contents := func(read func(f *squash.Found, r io.Reader) ([]byte, error)) func(*squash.Found, io.Reader) error {
		return func(f *squash.Found, r io.Reader) error {
			if (r != nil) != f.Mode.IsRegular() {
				t.Errorf("Contents gives %s (%v) the reader %v", f.Path, f.Mode, r)
			}
			got = append(got, f.Path)
			if r == nil {
				got = append(got, "")
				return nil
			}
			b, err := read(f, r)
			got = append(got, string(b))
			return err
		}
	}
	for name, read := range map[string]func(f *squash.Found, r io.Reader) ([]byte, error){
		"Read": func(_ *squash.Found, r io.Reader) ([]byte, error) { return io.ReadAll(r) },
		"WriteTo": func(_ *squash.Found, r io.Reader) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, r)
			return b.Bytes(), err
		},
	} {
		got = nil
		if err := m.Contents(contents(read)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Contents with %s differs from Walk (-want +got):\n%.2000s", name, diff)
		}
	}
	paths := 0
	if err := m.Contents(func(*squash.Found, io.Reader) error { paths++; return nil }); err != nil || paths != len(want)/2 {
		t.Fatalf("Contents without reading = %d paths, %v; want %d", paths, err, len(want)/2)
	}
	if err := m.Contents(func(f *squash.Found, _ io.Reader) error {
		if f.Path == "usr" {
			return fs.SkipAll
		}
		return nil
	}); err != fs.SkipAll {
		t.Fatalf("Contents stopped by visit = %v, want visit's error", err)
	}
}
