package initrd

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/mkimage/internal/kernel"
	"github.com/slotboot/slotboot/squash/zstdenc"
)

// drivers is an initrd with several frames of modules.
func drivers() Contents {
	c := contents()
	for i := range 30 {
		c.Modules.Modules = append(c.Modules.Modules, kernel.Module{Path: fmt.Sprintf("kernel/drivers/x/driver%02d.ko", i), Data: program(i, 210_000)})
	}
	return c
}

// program is size bytes that pack well and fast.
func program(seed, size int) (b []byte) {
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%x:%s", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(seed)}), strings.Repeat("code ", 120))
	}
	return b[:size]
}

// frames splits a zstd initrd into its frames: each begins with the magic, which no other place of these has.
func frames(t *testing.T, data []byte) (all [][]byte) {
	t.Helper()
	magic := "\x28\xb5\x2f\xfd"
	for i, f := range strings.Split(string(data), magic) {
		if i > 0 {
			all = append(all, []byte(magic+f))
		}
	}
	return all
}

func TestEachFrameIsWholeArchivesThatADeltaMakesAgain(t *testing.T) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	c := drivers()
	seen := map[string]bool{".": true}
	all := frames(t, written(t, c, Zstd))
	if len(all) != 4 {
		t.Errorf("%d frames, want 3 of modules and 1 of init", len(all))
	}
	for i, f := range all {
		plain, err := dec.DecodeAll(f, nil)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if !bytes.HasPrefix(plain, []byte("070701")) || !bytes.Contains(plain[len(plain)-16:], []byte("TRAILER!!!\x00")) {
			t.Errorf("frame %d of %d bytes is no whole archive: the kernel says junk at the end of compressed archive", i, len(plain))
		}
		if again := zstdenc.New(zstdenc.Best).EncodeLong(nil, plain); !bytes.Equal(again, f) {
			t.Errorf("frame %d is not what %s makes", i, zstdenc.LongID)
		}
		a := archive(t, plain)
		for _, name := range a.Order {
			if !seen[path.Dir(name)] {
				t.Errorf("%s stands before its folder", name)
			}
			seen[name] = true
		}
		if len(plain) > frameSize+64<<10 {
			t.Errorf("frame %d has %d bytes of files, want at most %d", i, len(plain), frameSize)
		}
	}
	if last, err := dec.DecodeAll(all[len(all)-1], nil); err != nil || !bytes.Contains(last, c.Init) {
		t.Errorf("the last frame does not hold init (%v)", err)
	}
}

func TestNewInitChangesTheLastFrameAlone(t *testing.T) {
	c := drivers()
	before := frames(t, written(t, c, Zstd))
	c.Init = append(bytes.Clone(c.Init), "and more"...)
	after := frames(t, written(t, c, Zstd))
	for i := range after {
		if same := bytes.Equal(before[i], after[i]); same != (i < len(after)-1) {
			t.Errorf("frame %d of %d is the same: %v", i, len(after), same)
		}
	}
}

func TestDeltaOfAnInitrdLooksInsideWhateverKernelsUnpack(t *testing.T) {
	c := drivers()
	c.Init = program(99, 2_600_000) // a real one has as many bytes
	after := c
	after.Init = bytes.ReplaceAll(c.Init, []byte("code code :"), []byte("a longer string:"))
	after.Release = "6.1.0-10"
	for _, z := range []Compression{Zstd, LZ4} {
		old, next := written(t, c, z), written(t, after, z)
		var d, got bytes.Buffer
		rep, err := delta.Make(&d, bytes.NewReader(old), bytes.NewReader(next), int64(len(old)), int64(len(next)), delta.MakeOptions{TempDir: t.TempDir()})
		if err != nil {
			t.Fatalf("%s: %v", z, err)
		}
		if len(rep.Header.Needs) == 0 || rep.Literal > 0 || d.Len() > len(next)/10 {
			t.Errorf("%s: a delta of %d bytes for %d, which needs %q: the initrd is shipped as it is", z, d.Len(), len(next), rep.Header.Needs)
		}
		if _, err := delta.Apply(&got, bytes.NewReader(old), &d, delta.ApplyOptions{}); err != nil || !bytes.Equal(got.Bytes(), next) {
			t.Errorf("%s: Apply: %v, %d bytes, want the new initrd", z, err, got.Len())
		}
	}
}
