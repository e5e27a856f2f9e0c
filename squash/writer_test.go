package squash_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/squash"
)

func TestEntriesThatCannotBeAreErrorsWithTheirPath(t *testing.T) {
	dir := squash.Entry{Path: "d", Mode: dirMode}
	short := body(squash.Entry{Path: "d/short"}, []byte("abc"))
	short.Size = 10
	long := body(squash.Entry{Path: "d/long"}, []byte("abc"))
	long.Size = 2
	gone := squash.Entry{Path: "d/gone", Size: 3, Open: func() (io.ReadCloser, error) { return nil, fs.ErrNotExist }}
	for _, test := range []struct {
		e    squash.Entry
		want string
	}{
		{squash.Entry{Path: "usr/bin/x"}, "its folder usr/bin has not been added"},
		{squash.Entry{Path: "d/f/x"}, "d/f is not a folder"},
		{squash.Entry{Path: "d"}, "it has been added before"},
		{squash.Entry{Path: "/abs"}, "clean relative path"},
		{squash.Entry{Path: "d/../x"}, "clean relative path"},
		{squash.Entry{Path: "d/"}, "clean relative path"},
		{squash.Entry{Path: ""}, "clean relative path"},
		{squash.Entry{Path: "d/a\x00b"}, "NUL"},
		{squash.Entry{Path: strings.Repeat("n", 256)}, "256 bytes"},
		{squash.Entry{Path: strings.Repeat("n", 65536)}, "65536 bytes"},
		{squash.Entry{Path: "."}, "the root is a folder"},
		{squash.Entry{Path: "x", HardlinkTo: "nowhere"}, "nowhere, which has not been added"},
		{squash.Entry{Path: "x", HardlinkTo: "d"}, "which is a folder"},
		{squash.Entry{Path: "x", Mode: fs.ModeSymlink}, "target of 0 bytes"},
		{squash.Entry{Path: "x", Mode: fs.ModeSymlink, Target: strings.Repeat("t", 4096)}, "target of 4096 bytes"},
		{squash.Entry{Path: "x", Mode: fs.ModeIrregular}, "no file type"},
		{squash.Entry{Path: "x", Mode: fs.ModeDevice, Major: 4096}, "device 4096:0"},
		{squash.Entry{Path: "x", Size: 5}, "5 bytes and no Open"},
		{squash.Entry{Path: "x", Size: -1}, "negative"},
		{squash.Entry{Path: "x", Xattrs: map[string]string{"system.posix_acl_access": "v"}}, "system.posix_acl_access"},
		{squash.Entry{Path: "x", Xattrs: map[string]string{"user.big": strings.Repeat("v", 65537)}}, "65537 bytes"},
		{short, "ends before its 10 bytes"},
		{long, "longer than its 2 bytes"},
		{gone, "does not exist"},
	} {
		w, err := squash.NewWriter(&buffer{}, squash.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []squash.Entry{dir, {Path: "d/f"}} {
			if err := w.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		err = w.Add(test.e)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "add "+test.e.Path+": ") {
			t.Errorf("Add(%.40q) = %v, want an error that begins with the path and has %q", test.e.Path, err, test.want)
		}
		if _, cerr := w.Close(); cerr != err {
			t.Errorf("Close after it = %v, want the same error", cerr)
		}
	}
	if _, err := write(&buffer{}, squash.Options{}, []squash.Entry{{Path: "x", Xattrs: map[string]string{"system.a": ""}}}); !errors.Is(err, squash.ErrXattr) {
		t.Errorf("Add with system.a = %v, want ErrXattr", err)
	}
}

func TestEncoderOfAnImageIsFoundOut(t *testing.T) {
	for id := range goldenCodecs {
		m := openImage(t, build(t, squash.Options{Codec: id, BlockSize: 4096}, everyKind(4096)))
		if got, err := m.DetectCodec(); got != id || err != nil {
			t.Errorf("DetectCodec of an image by %s = %q, %v", id, got, err)
		}
	}
	damaged := build(t, squash.Options{Codec: "kp-zlib-9/1"}, everyKind(16384))
	copy(damaged[96:], noise(1, 4000))
	if got, err := openImage(t, damaged).DetectCodec(); err == nil {
		t.Errorf("DetectCodec of an image with damaged blocks = %q", got)
	}
}

func TestOptionsThatCannotBeAreErrors(t *testing.T) {
	for _, o := range []squash.Options{
		{BlockSize: 2048}, {BlockSize: 3 << 20}, {BlockSize: 5000}, {Compression: squash.LZO}, {Compression: 77},
		{Level: 23}, {Level: -1}, {Compression: squash.Gzip, Level: 10}, {Compression: squash.XZ, Level: 10}, {Codec: "kp-zstd-9/1"}, {Codec: "lzop/1"},
		{Compression: squash.Zstd, Codec: "kp-zlib-9/1"},
	} {
		if _, err := squash.NewWriter(&buffer{}, o); err == nil {
			t.Errorf("NewWriter(%+v) = nil, want an error", o)
		}
	}
}

type brokenDisk struct{ left int }

var errDiskFull = errors.New("no space left on device")

func (d *brokenDisk) WriteAt(p []byte, _ int64) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errDiskFull
	}
	return len(p), nil
}

func TestAFullDiskIsAnErrorWhereverItHappens(t *testing.T) {
	entries := everyKind(4096)
	whole := len(build(t, squash.Options{BlockSize: 4096}, entries))
	for left := 0; left < whole; left += 1501 {
		if _, err := write(&brokenDisk{left}, squash.Options{BlockSize: 4096}, entries); !errors.Is(err, errDiskFull) {
			t.Fatalf("writing to a disk with %d bytes left = %v, want %v", left, err, errDiskFull)
		}
	}
}

func TestOrderPutsNamedFilesFirst(t *testing.T) {
	var list []squash.Entry
	for i := range 50 {
		list = append(list, body(squash.Entry{Path: fmt.Sprintf("f%02d", i), Mode: 0o644}, noise(uint64(i), 3*4096+1000)))
	}
	order := []string{"f40", "f07", "not-there", "f23", "f07"}
	m := openImage(t, build(t, squash.Options{BlockSize: 4096, Order: order}, list))
	same(t, "Image", imageEntries(t, m)[1:], list)
	blocks, err := m.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range blocks {
		if b.Kind == squash.DataBlock && b.FileOffset == 0 {
			got = append(got, b.Path)
		}
	}
	if want := []string{"f40", "f07", "f23", "f00", "f01"}; fmt.Sprint(got[:5]) != fmt.Sprint(want) {
		t.Fatalf("data of files comes in the order %v ..., want %v ...", got[:5], want)
	}
}

func TestCopiesAreStoredOnce(t *testing.T) {
	small, large := noise(1, 20_000), noise(2, 9<<20) // what is held back before it is compressed is 4 MiB
	list := func(n int) []squash.Entry {
		var out []squash.Entry
		for i := range n {
			out = append(out, body(squash.Entry{Path: fmt.Sprintf("a%d", i)}, small), body(squash.Entry{Path: fmt.Sprintf("b%d", i)}, large),
				body(squash.Entry{Path: fmt.Sprintf("c%d", i)}, append(bytes.Clone(small[:16384]), byte(i))))
		}
		return out
	}
	one, three := build(t, squash.Options{BlockSize: 4096}, list(1)), build(t, squash.Options{BlockSize: 4096}, list(3))
	if grown := len(three) - len(one); grown > 3<<10+4096 {
		t.Fatalf("image of three copies is %d bytes larger than of one, want only inodes more", grown)
	}
	same(t, "Image", imageEntries(t, openImage(t, three))[1:], list(3))
}

func TestTimesAreClamped(t *testing.T) {
	m := openImage(t, build(t, squash.Options{ModTime: at(1000), ClampTimes: true}, []squash.Entry{
		{Path: "early", ModTime: at(-5)}, {Path: "old", ModTime: at(999)}, {Path: "new", ModTime: at(1001)}, {Path: "far", ModTime: at(1 << 40)},
	}))
	for path, want := range map[string]int64{".": 1000, "early": 0, "old": 999, "new": 1000, "far": 1000} {
		if fi, err := m.Stat(path); err != nil || fi.ModTime().Unix() != want {
			t.Errorf("Stat(%s) has time %v (%v), want %d", path, fi.ModTime().Unix(), err, want)
		}
	}
	if got := m.Info().ModTime.Unix(); got != 1000 {
		t.Errorf("Info().ModTime = %d, want 1000", got)
	}
}

// goldenBlock is what the digests of encoders are taken of: text, code-like bytes, zeros and noise, in 128 KiB.
func goldenBlock() []byte {
	b := append(text(1, 60_000), make([]byte, 3000)...)
	for i := range 8000 {
		b = append(b, 0x48, 0x8b, byte(i>>5), byte(i))
	}
	b = append(b, noise(1, 9000)...)
	return append(b, text(2, 131072-len(b))...)
}

// TestEncodersAreFrozen: a delta rebuilds blocks on a device with the encoder that its id names. If this fails after an
// update of a library, the old one has to stay under the old id, or deltas of older images stop to fit.
func TestEncodersAreFrozen(t *testing.T) {
	block := goldenBlock()
	for id, want := range goldenCodecs {
		c, err := squash.NewCodec(id, len(block))
		if err != nil {
			t.Error(err)
			continue
		}
		if c.ID() != id {
			t.Errorf("NewCodec(%q).ID() = %q", id, c.ID())
		}
		for try := range 2 { // a fresh encoder, and one that has done something else
			h := sha256.New()
			for _, src := range [][]byte{block, block[:8192], block[50_000:90_001], block[:1], block[100_000:]} {
				out, err := c.Compress([]byte("prefix"), src)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(out, []byte("prefix")) {
					t.Fatalf("%s: Compress does not append", id)
				}
				h.Write(out[len("prefix"):])
				fmt.Fprint(h, len(out))
			}
			if got := fmt.Sprintf("%x", h.Sum(nil)[:16]); got != want {
				t.Errorf("%s, use %d: digest of the output is %q, want %q: a change of output needs a new id", id, try+1, got, want)
			}
		}
	}
}

var goldenCodecs = map[string]string{
	"slot-zstd-1/1":   "36e202e44b353756074ccc5efbe8bd18",
	"slot-zstd-2/1":   "b4bdc056c93478f07c649819d19cc0b0",
	"slot-zstd-3/1":   "e0943a6392905b277faa1a88ff2e619d",
	"slot-lz4/1":      "14340341b03a3841f05441d74b05ac00",
	"slot-xz/1":       "a1eccae46349e84e99f91ca63339401b",
	"slot-zlib/1":     "c47017e6b1eb40304aa66a9504613bc4",
	"kp-zlib-1/1":     "52cabdcc8d18b97e7127e0463b21d33b",
	"kp-zlib-6/1":     "ba979a7e860b108494c31f53c8bbbcfb",
	"kp-zlib-9/1":     "a985932f2a82350f6b6ea4692366d36e",
	"kp-zstd-1/1":     "eaf9e7272f76a79f6bb5fc0f44ff9912",
	"kp-zstd-2/1":     "ca357caab326fa309c61755ac87af799",
	"kp-zstd-3/1":     "5ae2c1b4c4d91218fdddef81517bc4e2",
	"kp-zstd-4/1":     "84c420e6e63421f3e08ca5757984be09",
	"pierrec-lz4-1/1": "b9deec314baa95d9dd79932c8be7a0f5",
	"pierrec-lz4-9/1": "ef7e2c44e30654b8a943efeab1959832",
	"store/1":         "47f7b2a72a4afcfd1679dda64de3cde2",
	"uk-xz/1":         "702a36a44e2d25d63a187d47ca1eaf8c",
}
