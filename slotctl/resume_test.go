package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/verity"
	"github.com/slotboot/slotboot/slots"
)

// large gives the fixture a root in v2 that is marked ten times on its way, and whose bytes all differ.
func large(f *fixture) {
	f.markEvery = 2000
	root := make([]byte, 0, 21_000)
	for n := 0; len(root) < 20_500; n++ {
		root = fmt.Appendf(root, "block %d of version 2\n", n)
	}
	put(f.t, filepath.Join(f.set, bundle.RootfsName), root)
	f.describe()
}

// describe makes the manifest of v2 that of its files.
func (f *fixture) describe() {
	f.t.Helper()
	s, err := os.ReadFile(filepath.Join(f.set, bundle.ManifestName))
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := bundle.ParseManifest(s)
	if err != nil {
		f.t.Fatal(err)
	}
	if m.Payloads, err = bundle.Describe(os.DirFS(f.set)); err != nil {
		f.t.Fatal(err)
	}
	m.Build = bundle.BuildID(m.Payloads)
	raw, err := m.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	put(f.t, filepath.Join(f.set, bundle.ManifestName), raw)
}

// written counts the writes to a file of the slot.
func written(log []string, name string) (n int) {
	for _, call := range log {
		if call == "write "+name {
			n++
		}
	}
	return n
}

// TestAnInstallThatWasCutGoesOnWhereItWasAndEndsWhole cuts before and within each call, twice, and installs again.
func TestAnInstallThatWasCutGoesOnWhereItWasAndEndsWhole(t *testing.T) {
	points, saved := 0, 0
	for _, short := range []bool{false, true} {
		for n := 0; ; n++ {
			f, first := newFixture(t), counting()
			large(f)
			first.cutAt, first.short = n, short
			if code, _ := f.run(context.Background(), first, "install", f.set); code == 0 {
				break
			}
			second := counting()
			second.cutAt, second.short = n/2+5, short
			if code, _ := f.run(context.Background(), second, "install", f.set); code != 0 {
				if err := f.judge(); err != nil {
					t.Errorf("cut at call %d and at %d again: %v", n, second.cutAt, err)
				}
			}
			third := counting()
			code, stderr := f.run(context.Background(), third, "install", f.set)
			if err := f.bootable(slots.B, "2"); code != 0 || err != nil || f.state().Default != slots.B {
				t.Errorf("cut at call %d (%s), short %v: the last install: exit status %d, %s, %v", n, first.log[n], short, code, stderr, err)
			}
			if _, err := os.Stat(f.data + "/slots/B/" + journalName); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("cut at call %d: the journal is left (%v)", n, err)
			}
			if all := written(third.log, bundle.RootfsName); all < 11 {
				saved++
			}
			points++
		}
	}
	t.Logf("%d points tried, %d went on in the middle of the root", points, saved)
	if saved < 50 {
		t.Errorf("only %d of %d installs went on in the middle: nothing is resumed", saved, points)
	}
}

// cutAfter installs v2 until n marks of the root are on the disk, and cuts then.
func cutAfter(t *testing.T, f *fixture, n int, src string) {
	t.Helper()
	files := counting()
	files.before = func(call int) {
		if written(files.log, journalName) == n+2 && files.cutAt < 0 { // its first line, and what is going to be written
			files.cutAt = call
		}
	}
	if code, stderr := f.run(t.Context(), files, "install", src); code == 0 {
		t.Fatalf("exit status 0 of an install that was cut: %s", stderr)
	}
}

func TestWhatACutHasSpoiledIsWrittenAnew(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"a bit":             func(dir string) { flipAt(t, dir+"/rootfs.squashfs", 5000) },
		"the root is empty": func(dir string) { put(t, dir+"/rootfs.squashfs", nil) },
		"the root is gone":  func(dir string) { os.Remove(dir + "/rootfs.squashfs") },
		"the root is long":  func(dir string) { os.Truncate(dir+"/rootfs.squashfs", 1<<20) },
		"journal of zeros":  func(dir string) { put(t, dir+"/"+journalName, make([]byte, 500)) },
		"journal is torn": func(dir string) {
			text, _ := os.ReadFile(dir + "/" + journalName)
			put(t, dir+"/"+journalName, text[:len(text)-4])
		},
		"journal lies": func(dir string) {
			text, _ := os.ReadFile(dir + "/" + journalName)
			put(t, dir+"/"+journalName, append(text, "rootfs.squashfs 9223372036854775807 00000000\nrootfs.squashfs -5 0\nvmlinuz 3 0\n"...))
		},
	} {
		f := newFixture(t)
		large(f)
		cutAfter(t, f, 5, f.set)
		spoil(f.data + "/slots/B")
		code, stderr := f.run(t.Context(), durable.OS{}, "install", f.set)
		if err := f.bootable(slots.B, "2"); code != 0 || err != nil {
			t.Errorf("%s: exit status %d, %s, %v", name, code, stderr, err)
		}
	}
}

// TestAResumeWritesToNoOtherFile links the root of slot B to that of slot A, and forges the journal to match.
func TestAResumeWritesToNoOtherFile(t *testing.T) {
	long := func(old, new string) error { return os.Symlink(strings.Repeat("/.", 60)+old, new) } // ext4 gives it a block
	for name, link := range map[string]func(old, new string) error{"hard link": os.Link, "symbolic link": os.Symlink, "long symbolic link": long} {
		f := newFixture(t)
		large(f)
		cutAfter(t, f, 5, f.set)
		dir, root := f.data+"/slots/B/", f.data+"/slots/A/"+bundle.RootfsName
		os.Remove(dir + bundle.RootfsName)
		if err := link(root, dir+bundle.RootfsName); err != nil {
			t.Fatal(err)
		}
		journal, _ := os.ReadFile(dir + journalName)
		head, _, _ := strings.Cut(string(journal), "\n")
		old, _ := os.ReadFile(root)
		put(t, dir+journalName, fmt.Appendf(nil, "%s\nrootfs.squashfs 4000 %08x\n", head, crc32Of(old[:4000])))
		code, stderr := f.run(t.Context(), durable.OS{}, "install", f.set)
		if err := errors.Join(f.bootable(slots.A, "1"), f.bootable(slots.B, "2")); code != 0 || err != nil {
			t.Errorf("%s: exit status %d, %s, %v", name, code, stderr, err)
		}
	}
}

func flipAt(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	put(t, path, data)
}

// TestTheDigestOfTheWholeDecidesAlsoAfterAResume forges a journal that vouches for a bad bit.
func TestTheDigestOfTheWholeDecidesAlsoAfterAResume(t *testing.T) {
	f := newFixture(t)
	large(f)
	cutAfter(t, f, 5, f.set)
	flipAt(t, f.data+"/slots/B/rootfs.squashfs", 50)
	path := f.data + "/slots/B/" + journalName
	text, _ := os.ReadFile(path)
	head, _, _ := strings.Cut(string(text), "\n")
	root, _ := os.ReadFile(f.data + "/slots/B/rootfs.squashfs")
	put(t, path, fmt.Appendf(nil, "%s\nrootfs.squashfs 4000 %08x\n", head, crc32Of(root[:4000])))
	code, stderr := f.run(t.Context(), durable.OS{}, "install", f.set)
	if code != exitInvalid || !strings.Contains(stderr, "rootfs.squashfs: sha256") || !strings.Contains(stderr, "slot B left empty") {
		t.Errorf("install: exit status %d: %s", code, stderr)
	}
	if code, stderr := f.run(t.Context(), durable.OS{}, "install", f.set); code != 0 {
		t.Errorf("install once more: exit status %d: %s", code, stderr)
	}
}

func TestAnotherSlotSetDoesNotGoOnWithWhatIsThere(t *testing.T) {
	f := newFixture(t)
	large(f)
	cutAfter(t, f, 5, f.set)
	if err := writeSlotSet(f.set, "2", []string{"size=20500"}); err != nil {
		t.Fatal(err)
	}
	files := counting()
	if code, stderr := f.run(t.Context(), files, "install", f.set); code != 0 || written(files.log, bundle.RootfsName) != 11 {
		t.Errorf("install: exit status %d, %d writes of the root, want 0 and 11: %s", code, written(files.log, bundle.RootfsName), stderr)
	}
}

// TestADownloadThatWasCutFetchesOnlyTheRest has a root that is larger than what is read over rather than asked for anew.
func TestADownloadThatWasCutFetchesOnlyTheRest(t *testing.T) {
	f := newFixture(t)
	f.markEvery = 100_000
	put(t, f.set+"/rootfs.squashfs", bytes.Repeat([]byte("0123456789abcdef"), 200_000))
	f.describe()
	var b bytes.Buffer
	if err := bundle.Write(&b, os.DirFS(f.set)); err != nil {
		t.Fatal(err)
	}
	s := &server{data: b.Bytes()}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked(r)
		s.serve(w, r)
	}))
	defer web.Close()
	cutAfter(t, f, 25, web.URL)
	s.requests = nil
	code, stderr := f.run(t.Context(), durable.OS{}, "install", web.URL)
	if err := f.bootable(slots.B, "2"); code != 0 || err != nil {
		t.Fatalf("install: exit status %d, %s, %v", code, stderr, err)
	}
	if len(s.requests) != 2 {
		t.Fatalf("%d requests, want one for the head and one for the rest", len(s.requests))
	}
	var from int
	if fmt.Sscanf(s.requests[1].Header.Get("Range"), "bytes=%d-", &from); from < 2_500_000 {
		t.Errorf("the rest of a root that was cut behind 2,500,000 bytes is asked for by %q", s.requests[1].Header.Get("Range"))
	}
}

// TestADeltaThatWasCutGoesOn has a hash tree behind the root, which the device makes.
func TestADeltaThatWasCutGoesOn(t *testing.T) {
	whole := 0
	for n := range 7 {
		h := newHostile(t)
		h.markEvery = verity.BlockSize
		old := bytes.Repeat([]byte("squashfs of version one "), 2000)
		put(t, h.data+"/slots/A/"+bundle.RootfsName, old)
		relabel(t, h.data+"/slots/A")
		src := verityDeltaOf(h, old, 6*verity.BlockSize)
		if n > 0 {
			cutAfter(t, h.fixture, n, src)
		}
		files := counting()
		code, stderr := h.run(t.Context(), files, "install", src)
		if err := h.bootable(slots.B, "2"); code != 0 || err != nil {
			t.Errorf("cut after %d marks: exit status %d, %s, %v", n, code, stderr, err)
		}
		got := written(files.log, bundle.RootfsName)
		if whole = max(whole, got); got > whole-n && n < 6 { // the last mark may stand in the hash tree
			t.Errorf("cut after %d marks: %d writes, want at most %d", n, got, whole-n)
		}
	}
}

// relabel makes the manifest in dir that of its files.
func relabel(t *testing.T, dir string) {
	f := &fixture{t: t, set: dir}
	f.describe()
}

// verityDeltaOf makes the root of h one of n bytes with a hash tree, and returns a bundle that carries the delta of its
// data from old.
func verityDeltaOf(h *hostile, old []byte, n int) string {
	h.t.Helper()
	data := make([]byte, 0, n+64)
	for k := 0; len(data) < n; k++ {
		data = fmt.Appendf(data, "squashfs of version two %d ", k)
	}
	data = data[:n]
	var tree verity.Hasher
	tree.Write(data)
	b := bytes.NewBuffer(bytes.Clone(data))
	root, err := tree.Finish(b)
	if err != nil {
		h.t.Fatal(err)
	}
	put(h.t, h.set+"/"+bundle.RootfsName, b.Bytes())
	h.edit(func(m *bundle.Manifest) {
		p := &m.Payloads[3]
		p.Size, p.SHA256 = int64(b.Len()), fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))
		p.Verity = &bundle.Verity{RootHash: root.Hash, DataBlocks: root.DataBlocks}
	})
	return h.delta(old, same, data)
}

func crc32Of(data []byte) uint32 { return crc32.Checksum(data, castagnoli()) }

// TestAnInterruptedInstallGoesOnLikeOneThatWasCut: a shutdown in the middle of a long download ends it by a signal.
func TestAnInterruptedInstallGoesOnLikeOneThatWasCut(t *testing.T) {
	f := newFixture(t)
	large(f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	files := counting()
	files.before = func(int) {
		if written(files.log, journalName) == 6 {
			cancel()
		}
	}
	code, stderr := f.run(ctx, files, "install", f.set)
	if code != exitFailed || !strings.Contains(stderr, "interrupted (slot B left bad and half written, slot A untouched)\nslotctl: hint: the same install goes on") {
		t.Errorf("interrupted install: exit status %d: %s", code, stderr)
	}
	if err := f.judge(); err != nil {
		t.Error(err)
	}
	again := counting()
	if code, stderr := f.run(t.Context(), again, "install", f.set); code != 0 || f.bootable(slots.B, "2") != nil {
		t.Errorf("install again: exit status %d, %s, %v", code, stderr, f.bootable(slots.B, "2"))
	}
	if n := written(again.log, bundle.RootfsName); n > 7 {
		t.Errorf("install again: %d writes of the root, want those behind the fifth mark", n)
	}
}

func TestStatusTellsWhichInstallWasCut(t *testing.T) {
	f := newFixture(t)
	large(f)
	cutAfter(t, f, 5, f.set)
	if out := f.output("status"); !strings.Contains(out, "B     partial, bad  2 ") || !strings.Contains(out, "An install of 2 into slot B was cut: the same install goes on where it was.\n") {
		t.Errorf("status says\n%s", out)
	}
	for name, text := range map[string]string{
		"another file": "rubbish\nversion: 3\n\n", "a terminal's escape": journalStart + "x\nversion: \x1b[2J\n", "half a line": journalStart + "x\nversion: 3", "nothing": "",
	} {
		put(t, f.data+"/slots/B/"+journalName, []byte(text))
		if out := f.output("status"); strings.Contains(out, "An install of") || strings.Contains(out, "\x1b") {
			t.Errorf("with %s for a journal status says\n%s", name, out)
		}
	}
}
