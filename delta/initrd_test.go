package delta

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slotboot/slotboot/squash/zstdenc"
)

// archiveOf is a newc archive of files, by path and content in turn.
func archiveOf(files ...string) []byte {
	var b bytes.Buffer
	for i := 0; i < len(files)+2; i += 2 {
		name, body := cpioTrailer, ""
		if i < len(files) {
			name, body = files[i], files[i+1]
		}
		fmt.Fprintf(&b, "070701%08x%08x%016x%08x%08x%08x%032x%08x%08x%s\x00", i, 0o100644, 0, 1, 0, len(body), 0, len(name)+1, 0, name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(body)
		b.Write(make([]byte, -b.Len()&3))
	}
	return b.Bytes()
}

// An initrd under test: frames of modules, and init in the last one.
type ramdisk struct {
	release string
	moved   uint32 // addresses in every file
	size    int    // of each of five modules
	init    string
}

func (d ramdisk) archives() (all [][]byte) {
	var modules []string
	for i := range 5 {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		modules = append(modules, fmt.Sprintf("lib/modules/%s/kernel/drivers/x%d.ko", d.release, i), string(program(r, d.size+i*100, d.moved)))
	}
	return [][]byte{archiveOf(modules[:4]...), archiveOf(modules[4:]...), archiveOf("etc/conf", "a=b\n", "init", d.init)}
}

// frames is the initrd as mkimage writes it.
func (d ramdisk) frames() (out []byte) {
	var p packer
	for _, a := range d.archives() {
		out = p.pack(out, zstdFrame, a)
	}
	return out
}

// ramdisks returns two initrds that differ in everything, a little.
func ramdisks(size int) (old, next ramdisk) {
	r := rand.New(rand.NewPCG(9, 9))
	body := string(program(r, size, 0))
	old = ramdisk{"6.1.0-9-cloud", 0, size, body}
	return old, ramdisk{"6.1.0-10-cloud", 16, size, body[:size/2] + "another string" + body[size/2:]}
}

func TestInitrdIsDiffedInsideItsFrames(t *testing.T) {
	t.Parallel()
	a, b := ramdisks(30_000)
	onlyInit := a
	onlyInit.init = b.init
	for name, next := range map[string][]byte{"all": b.frames(), "init": onlyInit.frames()} {
		old := a.frames()
		d, rep := mustMake(t, old, next)
		mustApply(t, old, next, d)
		if len(rep.Header.Needs) != 1 || rep.Header.Needs[0] != zstdEncoder {
			t.Errorf("%s: the delta needs %q, want %q", name, rep.Header.Needs, zstdEncoder)
		}
		if len(d) > len(next)/20 || rep.Header.Memory > 64<<20 {
			t.Errorf("%s: a delta of %d bytes for %d, which needs %d bytes to apply", name, len(d), len(next), rep.Header.Memory)
		}
		for _, have := range []int{1, 30_000, len(next) - 100, len(next)} {
			var rest bytes.Buffer
			o := ApplyOptions{Have: bytes.NewReader(next[:have]), HaveSize: int64(have)}
			if _, err := Apply(&rest, bytes.NewReader(old), bytes.NewReader(d), o); err != nil || !bytes.Equal(rest.Bytes(), next[have:]) {
				t.Errorf("%s: resumed at %d of %d: %v, %d bytes written", name, have, len(next), err, rest.Len())
			}
		}
		if _, err := Apply(io.Discard, bytes.NewReader(next), bytes.NewReader(d), ApplyOptions{}); !errors.Is(err, ErrOtherSource) {
			t.Errorf("%s: Apply to another file = %v, want ErrOtherSource", name, err)
		}
	}
}

func TestFilesOfAnInitrdAreFoundByNameInWhateverFrame(t *testing.T) {
	a, b := ramdisks(40_000)
	all := b.archives()
	var p packer
	old := a.frames()
	next := p.pack(nil, zstdFrame, append(bytes.Clone(all[2]), all[1]...))
	next = p.pack(next, zstdFrame, all[0])
	d, rep := mustMake(t, old, next)
	mustApply(t, old, next, d)
	if len(d) > len(next)/20 {
		t.Errorf("a delta of %d bytes for %d", len(d), len(next))
	}
	found := 0
	for _, f := range rep.Files {
		if f.Path == "init" || f.Path[0] == 'l' {
			found++
			if f.Extra > 1000 {
				t.Errorf("%+v: want nearly all of it patched", f)
			}
		}
	}
	if found != 6 {
		t.Errorf("%d of 6 files in %+v", found, rep.Files)
	}
}

// foreign are the other forms an old initrd may have.
var foreign = map[string]func(w io.Writer) (io.WriteCloser, error){
	"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, 9) },
	"zstd of another tool": func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithWindowSize(8<<20), zstd.WithEncoderCRC(true))
	},
	"one long frame": func(w io.Writer) (io.WriteCloser, error) { return &closing{w: w, kind: zstdFrame}, nil },
	"lz4":            func(w io.Writer) (io.WriteCloser, error) { return &closing{w: w, kind: lz4Block}, nil },
}

// closing packs as one pack.
type closing struct {
	bytes.Buffer
	w    io.Writer
	kind kind
}

func (c *closing) Close() error {
	if c.kind == lz4Block {
		_, err := c.w.Write(kernel(c.Bytes()))
		return err
	}
	_, err := c.w.Write(zstdenc.New(zstdenc.Best).EncodeLong(nil, c.Bytes()))
	return err
}

func TestOldInitrdOfAnotherFormIsPatchedFromAsWell(t *testing.T) {
	t.Parallel()
	a, b := ramdisks(30_000)
	next := b.frames()
	for name, open := range foreign {
		var old bytes.Buffer
		old.Write(archiveOf("kernel/x86/microcode/GenuineIntel.bin", string(randomBody(rand.New(rand.NewPCG(1, 1)), 5000))))
		z, err := open(&old)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range a.archives() {
			z.Write(part)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		d, _ := mustMake(t, old.Bytes(), next)
		mustApply(t, old.Bytes(), next, d)
		if len(d) > len(next)/20 {
			t.Errorf("%s: a delta of %d bytes for %d", name, len(d), len(next))
		}
	}
}

func TestNewInitrdOfAnotherToolStaysAsItIs(t *testing.T) {
	a, b := ramdisks(30_000)
	old := a.frames()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zeros := archiveOf("zeros", string(make([]byte, 1<<20)))
	var p packer
	for name, next := range map[string][]byte{
		"another encoder": enc.EncodeAll(b.archives()[0], nil),
		"too large":       p.pack(nil, zstdFrame, archiveOf("a", string(bytes.Repeat(randomBody(rand.New(rand.NewPCG(3, 3)), maxZstd/8), 8)))),
		"zeros":           p.pack(nil, zstdFrame, zeros),
	} {
		d, rep := mustMake(t, old, next)
		mustApply(t, old, next, d)
		if len(rep.Header.Needs) != 0 || rep.Literal != int64(len(next)) {
			t.Errorf("%s: the delta needs %q, want nothing; %d bytes are literal, want all %d", name, rep.Header.Needs, rep.Literal, len(next))
		}
	}
}

func TestPacksThatTakeTooMuchMemoryStayAsTheyAre(t *testing.T) {
	a, b := ramdisks(30_000)
	old, next := a.frames(), b.frames()
	_, rep := mustMake(t, old, next)
	var d bytes.Buffer
	o := MakeOptions{TempDir: t.TempDir(), memory: rep.Header.Memory - 1}
	rep, err := Make(&d, bytes.NewReader(old), bytes.NewReader(next), int64(len(old)), int64(len(next)), o)
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, old, next, d.Bytes())
	if len(rep.Header.Needs) != 0 || rep.Header.Memory > o.memory {
		t.Errorf("the delta needs %q and %d bytes of memory, want nothing and at most %d", rep.Header.Needs, rep.Header.Memory, o.memory)
	}
}

func TestDamagedDeltaOfAnInitrdIsAnErrorAndNeverAPanic(t *testing.T) {
	t.Parallel()
	a, b := ramdisks(30_000)
	old, next := a.frames(), b.frames()
	d, rep := mustMake(t, old, next)
	cols := plainColumns(t, d)
	for i := range cols[colControl] {
		for _, flip := range []byte{1, 2, 4, 0x40, 0x80} {
			bad := cols
			bad[colControl] = bytes.Clone(cols[colControl])
			bad[colControl][i] ^= flip
			if _, err := Apply(io.Discard, bytes.NewReader(old), bytes.NewReader(store(rep.Header, bad)), ApplyOptions{}); !known(err) {
				t.Fatalf("byte %d of control changed by %x: %v, want one of the package's errors", i, flip, err)
			}
		}
	}
	for i := 0; i < len(old); i += 1 + len(old)/300 { // the old file, too
		bad := bytes.Clone(old)
		bad[i] ^= 4
		var got bytes.Buffer
		if _, err := Apply(&got, bytes.NewReader(bad), bytes.NewReader(d), ApplyOptions{}); err == nil && !bytes.Equal(got.Bytes(), next) || err != nil && !errors.Is(err, ErrOtherSource) {
			t.Fatalf("byte %d of the old file changed: %v, want ErrOtherSource", i, err)
		}
	}
}

func TestInitrdsOfRandomFilesComeBackBitForBit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		var p packer
		disk := func(tr tree) (out []byte) {
			var part []string
			for _, name := range slices.Sorted(maps.Keys(tr)) {
				if part = append(part, name, string(tr[name])); r.IntN(4) == 0 {
					out = p.pack(out, zstdFrame, archiveOf(part...))
					part = nil
				}
			}
			return p.pack(out, zstdFrame, archiveOf(part...))
		}
		before := randomTree(r, 1+r.IntN(30))
		old, next := disk(before), disk(edited(r, before))
		d, _ := mustMake(t, old, next)
		mustApply(t, old, next, d)
	}
}

func FuzzArchived(f *testing.F) {
	f.Add(archiveOf("init", "text", "dev/null", ""))
	f.Add(append(archiveOf("a", "b"), archiveOf("c", "d")...))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, plain []byte) {
		at := 0
		for _, e := range archived(plain) {
			if e.skip != at || e.size < 0 || e.path == "" {
				t.Fatalf("%+v, want it to begin at %d", e, at)
			}
			at += e.size
		}
		if at != len(plain) {
			t.Fatalf("the entries end at %d of %d", at, len(plain))
		}
	})
}

// FuzzPackSearch: whatever stands in a file, the packs found in it do not overlap and unpack to what they say.
func FuzzPackSearch(f *testing.F) {
	_, b := ramdisks(300)
	f.Add(append([]byte("front"), b.frames()...))
	f.Add(append(gzipped([]byte("a text of some length"), true), 0, 0, 0))
	f.Add(kernel([]byte("a kernel, a kernel, a kernel")))
	f.Fuzz(func(t *testing.T, file []byte) {
		var end int64
		for _, p := range findPacks(file) {
			if p.off < end || p.off+int64(p.stored) > int64(len(file)) {
				t.Fatalf("%+v in a file of %d bytes, behind one that ends at %d", p, len(file), end)
			}
			end = p.off + int64(p.stored)
			if _, err := unpack(p.kind, file[p.off:end], p.plain); err != nil {
				t.Fatalf("unpack(%+v) = %v", p, err)
			}
		}
	})
}

// FuzzInitrds is FuzzColumns for an initrd.
func FuzzInitrds(f *testing.F) {
	a, b := ramdisks(3000)
	fuzzColumns(f, a.frames(), b.frames())
}
