package gzipenc

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/lz/lztest"
	"github.com/slotboot/slotboot/internal/need"
)

// gzipped returns the deflate stream that gzip itself makes. It gets a file, as packages are built from files.
func gzipped(t testing.TB, gzip string, plain []byte) []byte {
	t.Helper()
	out := lztest.Run(t, plain, gzip, "-9nc")
	return out[10 : len(out)-8]
}

// sizes are around the ends of gzip's window and buffer.
func sizes() (all []int) {
	for _, at := range []int{0, 259, windowSize, 2*windowSize - minLookahead, 2 * windowSize, 3 * windowSize, 5 * windowSize} {
		for _, d := range []int{-3, -2, -1, 0, 1, 2, 3, 130, 257, 258, 259, 260, 261, 262, 263} {
			if at+d >= 0 {
				all = append(all, at+d)
			}
		}
	}
	return all
}

func TestStreamsAreThoseOfGzipAtTheEdgesOfItsBuffers(t *testing.T) {
	program := need.Tool(t, "gzip", "gzip")
	var e Encoder
	r := rand.New(rand.NewPCG(1, 2))
	for _, kind := range lztest.Kinds() {
		for _, size := range sizes() {
			if testing.Short() && r.IntN(8) != 0 {
				continue
			}
			plain := lztest.Sample(kind, size, r)
			if got, want := e.Deflate(nil, plain), gzipped(t, program, plain); !bytes.Equal(got, want) {
				t.Errorf("Deflate of %d bytes of %s: %d bytes, gzip -9 makes %d others", size, kind, len(got), len(want))
			}
		}
	}
}

func TestStreamsAreThoseOfGzipForRandomSizes(t *testing.T) {
	program := need.Tool(t, "gzip", "gzip")
	var e Encoder
	r := rand.New(rand.NewPCG(3, 4))
	n := 300
	if testing.Short() {
		n = 100
	}
	for range n {
		kind := lztest.Kinds()[r.IntN(len(lztest.Kinds()))]
		plain := lztest.Sample(kind, r.IntN(1<<(4+r.IntN(16))), r)
		if got, want := e.Deflate(nil, plain), gzipped(t, program, plain); !bytes.Equal(got, want) {
			t.Errorf("Deflate of %d bytes of %s: %d bytes, gzip -9 makes %d others", len(plain), kind, len(got), len(want))
		}
	}
}

// TestNearlyEveryManualPageAndChangelogIsMadeAgain takes what the packages of this machine brought. A few come from
// other compressors.
func TestNearlyEveryManualPageAndChangelogIsMadeAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("reads /usr/share")
	}
	var e Encoder
	same, all := 0, 0
	for _, dir := range []string{"/usr/share/doc", "/usr/share/man"} {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(p, ".gz") || all == 500 {
				return nil
			}
			data, err := os.ReadFile(p)
			if err != nil || len(data) < 18 || data[3] != 0 || data[8] != 2 {
				return nil
			}
			r, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				return nil
			}
			if plain, err := io.ReadAll(r); err == nil {
				all++
				if bytes.Equal(e.Deflate(nil, plain), data[10:len(data)-8]) {
					same++
				}
			}
			return nil
		})
	}
	if all < 100 {
		t.Skipf("only %d files by gzip -9n in /usr/share/doc and /usr/share/man", all)
	}
	if same < all*99/100 {
		t.Errorf("Deflate makes %d of %d files again, want at least 99 %%", same, all)
	}
	t.Logf("%d of %d", same, all)
}

// golden are digests of what gzip 1.12 makes, so that the bytes are held to where gzip is another.
var golden = map[string]string{
	"zeros": "0f5d66fab389299b69679789125dd10dc6ebb0adac42680089da7b7a25307a1b",
	"noise": "7ecb1c4a01d80ef48cd4a8fadc4427e2f49fb85ef10ed373401273ecf4ff7b59",
	"words": "54aaa26b1435e5aeab2d99622f9a656176f99186a09cc2497e0b4694ada2cbd2",
	"lines": "7f6abae63888ffb9e40eea7af9a39295c7edb4143abf957b435baf7188c5231d",
	"steps": "9f59d3a0987f412ccddde73e96fbdf865ad4aaaa997ee2d2de0bffa91ee98199",
	"mixed": "bb0ab12745ddecc430e7a505ce442897e19a9b4b88821164ff57853a7735edfa",
}

func TestBytesNeverChange(t *testing.T) {
	lztest.Frozen(t, golden, new(Encoder).Deflate)
}

func BenchmarkDeflate(b *testing.B) { lztest.Bench(b, 128<<10, 16, new(Encoder).Deflate) }

func FuzzStreamsInflateToWhatWasDeflated(f *testing.F) {
	lztest.Fuzz(f, func(t *testing.T, plain []byte) {
		var e Encoder
		stream := e.Deflate(nil, plain)
		got, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream)))
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("inflate what Deflate makes of %d bytes: %d bytes, %v", len(plain), len(got), err)
		}
		if again := e.Deflate(nil, plain); !bytes.Equal(again, stream) {
			t.Fatalf("Deflate of the same %d bytes again: others", len(plain))
		}
		if program, err := exec.LookPath("gzip"); err == nil && !bytes.Equal(gzipped(t, program, plain), stream) {
			t.Fatalf("Deflate of %d bytes: not what gzip -9 makes", len(plain))
		}
	})
}
