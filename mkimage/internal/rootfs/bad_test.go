package rootfs

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slotboot/slotboot/mkimage/internal/source"
)

func TestBadLayersGiveAnErrorOrADocumentedRoot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		layers [][]ent
		opt    Options
		want   string // the files, or
		err    string // what the error says
		is     error
	}{
		{name: "no layers", want: "."},
		{name: "names that climb out", layers: layersIn([]ent{file("../../evil", ""), file("a/../../b", ""), file("/abs", "")}), want: ". abs b evil"},
		{name: "link, then a file through it", layers: layersIn([]ent{sym("out", "/etc"), file("out/passwd", "")}), want: ". etc etc/passwd out"},
		{name: "link out, then a file through it", layers: layersIn([]ent{sym("out", "../../.."), file("out/passwd", "")}), want: ". out passwd"},
		{name: "hard link to nothing", layers: layersIn([]ent{hard("a", "b")}), err: "layer 1: a: hard link to b: file does not exist", is: ErrNotExist},
		{name: "hard link out", layers: layersIn([]ent{hard("a", "../../../etc/passwd")}), err: "hard link to ../../../etc/passwd: file does not exist", is: ErrNotExist},
		{name: "two entries for one name", layers: layersIn([]ent{file("a", "1"), file("a", "2")}), want: ". a"},
		{name: "4096 deep", layers: layersIn([]ent{file(strings.Repeat("d/", 4096)+"f", "")}), err: "the path is 4097 elements deep, want 1024 at most", is: ErrLimit},
		{name: "deep by links", layers: layersIn([]ent{sym("l", strings.Repeat("d/", 1000)), file("l/"+strings.Repeat("e/", 100)+"f", "")}), err: "deep, want 1024 at most", is: ErrLimit},
		{name: "loop of links", layers: layersIn([]ent{sym("a", "b"), sym("b", "a"), file("a/f", "")}), err: "too many symbolic links", is: ErrLoop},
		{name: "long links in a row", layers: layersIn([]ent{dir("d"), sym("a", strings.Repeat("./", 2000)+"d"), sym("b", strings.Repeat("./", 2000)+"a"), sym("c", strings.Repeat("./", 2000)+"b"), file("c/f", "")}), err: "their targets have 12003 bytes", is: ErrLoop},
		{name: "hops over the limit", layers: layersIn([]ent{dir("d"), sym("a", "d"), sym("b", "a"), sym("c", "b"), file("c/f", "")}), opt: Options{Limits: Limits{Hops: 2}}, err: "too many symbolic links (2)", is: ErrLoop},
		{name: "entries over the limit", layers: layersIn(many(20)), opt: Options{Limits: Limits{Entries: 10}}, err: "more than 10 entries", is: ErrLimit},
		{name: "implied folders over the limit", layers: layersIn([]ent{file("a/b/c/d/e", "")}), opt: Options{Limits: Limits{Entries: 4}}, err: "more than 4 entries", is: ErrLimit},
		{name: "bytes over the limit", layers: layersIn([]ent{file("a", "12345")}, []ent{file("a", "12345")}), opt: Options{Limits: Limits{Bytes: 9}}, err: "more than 9 bytes of files", is: ErrLimit},
		{name: "names over the limit", layers: layersIn([]ent{file("abc", ""), file("def", "")}), opt: Options{Limits: Limits{Meta: 5}}, err: "more than 5 bytes of names", is: ErrLimit},
		{name: "name of 256 bytes", layers: layersIn([]ent{file(strings.Repeat("n", 256), "")}), err: "a name of 256 bytes, want 255 at most", is: ErrLimit},
		{name: "long link", layers: layersIn([]ent{sym("a", strings.Repeat("n", 4096))}), err: "symbolic link with a target of 4096 bytes"},
		{name: "file as the root", layers: layersIn([]ent{file("./.", "")}), err: "the root: not a folder", is: ErrNotDir},
		{name: "link as the root", layers: layersIn([]ent{sym("/", "usr")}), err: "the root: not a folder", is: ErrNotDir},
		{name: "owner too large", layers: layersIn([]ent{file("a", "").owner(1<<32, 0)}), err: "owner 4294967296:0: want 0 to 4294967295"},
		{name: "negative owner", layers: layersIn([]ent{file("a", "").owner(0, -1)}), err: "owner 0:-1"},
		{name: "unknown type", layers: layersIn([]ent{{tar.Header{Typeflag: 'Z', Name: "z"}, ""}}), err: "entry of type 'Z', which is not known"},
		{name: "bad attribute", layers: layersIn([]ent{file("a", "").attr(paxLibarchive+"user.x", "!!!")}), want: ". a"},
		{name: "attribute without a name", layers: layersIn([]ent{file("a", "").attr(schily, "x")}), err: "extended attribute with a name of 0 bytes"},
		{name: "device out of range", layers: layersIn([]ent{node(tar.TypeChar, "c", 5000, 1)}), err: "device 5000:1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree, err := Flatten(layersOf(t, tc.layers...), tc.opt)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("Flatten: %v; want %q, %v", err, tc.err, tc.is)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tree.Close()
			if diff := cmp.Diff(strings.Fields(tc.want), paths(tree)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// streamed is a layer that is made while it is read.
func streamed(name string, write func(tw *tar.Writer) error) *source.Layer {
	return source.NewLayer(name, func() (io.ReadCloser, error) {
		pr, pw := io.Pipe()
		go func() {
			tw := tar.NewWriter(pw)
			err := write(tw)
			if err == nil {
				err = tw.Close()
			}
			pw.CloseWithError(err)
		}()
		return pr, nil
	})
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestAGigabyteOfZerosTakesNoDiskAndNoMemory(t *testing.T) {
	const size = 1 << 30
	bomb := []*source.Layer{streamed("bomb", func(tw *tar.Writer) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: size}); err != nil {
			return err
		}
		_, err := io.CopyN(tw, zeroReader{}, size)
		return err
	})}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tree, err := Flatten(bomb, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("allocated %d bytes, want 16 MiB at most", got)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(tree.spool.file.Fd()), &st); err != nil || st.Blocks*512 > 4<<20 {
		t.Errorf("the spool takes %d bytes, %v; want 4 MiB at most", st.Blocks*512, err)
	}
	if n, err := tree.Lookup("zeros"); err != nil || n.Size != size {
		t.Errorf("zeros: %+v, %v; want %d bytes", n, err, size)
	}
	if _, err := Flatten(bomb, Options{Limits: Limits{Bytes: 1 << 20}}); !errors.Is(err, ErrLimit) {
		t.Errorf("with a limit of 1 MiB: %v, want ErrLimit", err)
	}
}

// headers is a tar of n empty files, made faster than tar.Writer can.
type headers struct {
	block []byte
	i, n  int
}

func (h *headers) Read(p []byte) (int, error) {
	done := 0
	for ; h.i < h.n && len(p)-done >= 512; done += 512 {
		b := p[done : done+512]
		copy(b, h.block)
		copy(b, fmt.Sprintf("%02x/%d", h.i%256, h.i))
		copy(b[148:156], "        ")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		h.i++
	}
	if done == 0 {
		return 0, io.EOF
	}
	return done, nil
}

func TestAMillionEmptyEntriesAreARootInLimitedMemory(t *testing.T) {
	const n = 1_000_000
	layer := []*source.Layer{source.NewLayer("million", func() (io.ReadCloser, error) {
		header := tarball(t, []ent{file("", "")})[:512]
		return io.NopCloser(bufio.NewReaderSize(&headers{block: header, n: n}, 1<<20)), nil
	})}
	tree, err := Flatten(layer, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	if mem.HeapAlloc > 400<<20 {
		t.Errorf("the tree takes %d MiB, want 400 at most", mem.HeapAlloc>>20)
	}
	t.Logf("the tree takes %d bytes an entry", mem.HeapAlloc/n)
	count := 0
	tree.Walk(func(string, *Node, string) error { count++; return nil })
	if count != n+256+1 {
		t.Errorf("%d entries, want %d", count, n+257)
	}
}

func TestManyOpaqueMarkersTakeNoSquareTime(t *testing.T) {
	const n = 50_000 // squared, this is minutes
	layer := streamed("markers", func(tw *tar.Writer) error {
		for i := range 2 * n {
			name := fmt.Sprint("d/", i)
			if i >= n {
				name = "d/" + whiteoutOpaque
			}
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name}); err != nil {
				return err
			}
		}
		return nil
	})
	tree, err := Flatten([]*source.Layer{layer}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if list, err := tree.ReadDir("d"); err != nil || len(list) != n {
		t.Errorf("%d entries, %v; want %d", len(list), err, n)
	}
}

func TestStrictRefusesWhatOnlyWarnsOtherwise(t *testing.T) {
	merge := []ent{dir("usr/bin"), file("usr/bin/sh", ""), sym("bin", "usr/bin")}
	for _, tc := range []struct {
		name   string
		layers [][]ent
		want   string
	}{
		{"climbs out", layersIn([]ent{file("../a", "")}), "../a climbs out of the root: taken as a"},
		{"file through a lower link", layersIn(merge, []ent{file("bin/new", "")}), "bin/new goes through the symbolic link bin"},
		{"folder over a lower link", layersIn(merge, []ent{dir("bin")}), "the folder bin replaces a symbolic link to the folder usr/bin"},
		{"two entries", layersIn([]ent{file("a", ""), file("a", "")}), "two entries for a: the last one counts"},
		{"link to a lower layer", layersIn([]ent{file("a", "")}, []ent{hard("b", "a")}), "b is a hard link to a of a lower layer"},
		{"bare whiteout", layersIn([]ent{gone("d/.wh.")}), "the whiteout d/.wh. names nothing"},
		{"whiteout of the same layer", layersIn([]ent{file("a", ""), gone(".wh.a")}), ".wh.a hides what the same layer adds"},
		{"attribute", layersIn([]ent{file("a", "").attr(paxLibarchive+"user.%zz", "eA==")}), "attribute user.%zz"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var warnings []string
			tree, err := Flatten(layersOf(t, tc.layers...), Options{Warn: func(s string) { warnings = append(warnings, s) }})
			if err != nil {
				t.Fatal(err)
			}
			tree.Close()
			if len(warnings) != 1 || !strings.Contains(warnings[0], tc.want) {
				t.Errorf("warnings %q; want one with %q", warnings, tc.want)
			}
			if _, err := Flatten(layersOf(t, tc.layers...), Options{Strict: true}); !errors.Is(err, ErrStrict) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("strict: %v; want ErrStrict with %q", err, tc.want)
			}
		})
	}
	ordinary := layersIn(append(merge, dir("etc"), file("etc/a", "a"), hard("etc/b", "etc/a")), []ent{dir("usr"), dir("usr/bin"), file("usr/bin/sh", "new"), gone("etc/.wh.a"), file("opt/x/y", "")})
	if tree, err := Flatten(layersOf(t, ordinary...), Options{Strict: true}); err != nil {
		t.Errorf("strict on an ordinary image: %v", err)
	} else {
		tree.Close()
	}
}

func TestWarningsOfAKindAreCounted(t *testing.T) {
	var l []ent
	for i := range 50 {
		l = append(l, file(fmt.Sprint("../f", i), ""))
	}
	var warnings []string
	tree := flat(t, Options{Warn: func(s string) { warnings = append(warnings, s) }}, l)
	defer tree.Close()
	if len(warnings) != maxTold+1 || warnings[maxTold] != "45 more warnings like the last about names that climb out" {
		t.Errorf("warnings %q", warnings)
	}
}

func TestWhiteoutNamesInARootFileSystemAreFiles(t *testing.T) {
	layers := layersOf(t, []ent{file("a", ""), file(".wh.a", "x")})
	layers[0].Plain = true
	tree, err := Flatten(layers, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if diff := cmp.Diff([]string{".", ".wh.a", "a"}, paths(tree)); diff != "" {
		t.Error(diff)
	}
}

func TestARootFileSystemThatWasCutOffIsNoticed(t *testing.T) {
	whole := tarball(t, []ent{file("a", "a"), file("b", "b")})
	for _, tc := range []struct {
		at   int
		warn bool
		is   error
	}{{len(whole), false, nil}, {2048, true, nil}, {2048 - 512, false, source.ErrCorrupt}, {2048 - 600, false, source.ErrCorrupt}} {
		var warnings []string
		l := layerOf("tar", whole[:tc.at])
		l.Plain = true
		tree, err := Flatten([]*source.Layer{l}, Options{Warn: func(s string) { warnings = append(warnings, s) }})
		if err == nil {
			tree.Close()
		}
		if !errors.Is(err, tc.is) || (len(warnings) > 0) != tc.warn {
			t.Errorf("%d of %d bytes: %v, warnings %q; want %v, warning %v", tc.at, len(whole), err, warnings, tc.is, tc.warn)
		}
	}
}

func TestAttributesOfBsdtarAreRead(t *testing.T) {
	tree := flat(t, Options{}, []ent{
		file("a", "").attr(paxLibarchive+"user.%C3%BC%25", "aGFsbG8").attr(paxLibarchive+"security.capability", "AQAAAg=="),
		file("both", "").attr(paxLibarchive+"user.a", "eA").attr(schily+"user.a", "exact"),
	})
	for path, want := range map[string]map[string]string{"a": {"user.ü%": "hallo", "security.capability": "\x01\x00\x00\x02"}, "both": {"user.a": "exact"}} {
		n, err := tree.Lookup(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, n.Xattrs); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func TestSparseEntriesHaveTheirHoles(t *testing.T) {
	for name, b := range sparseTars(t) {
		tree, err := Flatten([]*source.Layer{layerOf("sparse", b)}, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := tree.ReadFile("sparse", 1<<20)
		want := make([]byte, 300000)
		copy(want, "head")
		copy(want[150000:], "middle")
		copy(want[len(want)-4:], "tail")
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %d bytes, %v; want %d with three pieces of data", name, len(got), err, len(want))
		}
		tree.Close()
	}
}
