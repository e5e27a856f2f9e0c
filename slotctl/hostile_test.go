package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/verity"
	"github.com/slotboot/slotboot/slots"
)

// hostile is a device that trusts one key, has committed sequence 5 of product kiosk, and gets bad input. Whatever a row
// does to the manifest is signed by the trusted key, unless the row is about signatures: the input must be refused for
// what it is, not for who made it.
type hostile struct {
	*fixture
	keys          string
	mine, revoked signer
	set           string // a good slot set, of sequence 6, signed
	files         durable.FS
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{fixture: newFixture(t), keys: t.TempDir(), mine: newSigner(t), revoked: newSigner(t), files: durable.OS{}}
	put(t, h.keys+"/mine.pub", h.mine.pub)
	put(t, h.keys+"/lost.pub", h.revoked.pub)
	put(t, h.keys+"/revoked/lost.pub", h.revoked.pub)
	for path, args := range map[string][]string{h.data + "/slots/A": {"1", "sequence=5"}, h.data + "/slots/B": {"0", "sequence=4"}, h.fixture.set: {"2", "sequence=6"}} {
		if err := writeSlotSet(path, args[0], append(args[1:], "compatible=kiosk", "size=5000")); err != nil {
			t.Fatal(err)
		}
	}
	put(t, h.data+"/state/floor", []byte("5\n"))
	h.set = h.fixture.set
	h.mine.sign(t, h.set)
	return h
}

func (h *hostile) read(name string) []byte {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.set, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

// manifest changes the text of the manifest, once, and signs it.
func (h *hostile) manifest(old, new string) *hostile {
	h.t.Helper()
	raw := string(h.read(bundle.ManifestName))
	if !strings.Contains(raw, old) {
		h.t.Fatalf("the manifest has no %q", old)
	}
	put(h.t, filepath.Join(h.set, bundle.ManifestName), []byte(strings.Replace(raw, old, new, 1)))
	h.mine.sign(h.t, h.set)
	return h
}

// edit changes what the manifest says and encodes it as it stands, and signs it.
func (h *hostile) edit(change func(m *bundle.Manifest)) *hostile {
	h.t.Helper()
	m := new(bundle.Manifest)
	if err := json.Unmarshal(h.read(bundle.ManifestName), m); err != nil {
		h.t.Fatal(err)
	}
	change(m)
	m.Build = bundle.BuildID(m.Payloads)
	raw, err := m.Encode() // as mkimage writes it
	if err != nil {        // which it would not
		raw, err = json.Marshal(m)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	put(h.t, filepath.Join(h.set, bundle.ManifestName), raw)
	h.mine.sign(h.t, h.set)
	return h
}

// signature replaces the signature.
func (h *hostile) signature(text []byte) string {
	put(h.t, filepath.Join(h.set, bundle.SignatureName), text)
	return h.tar(nil)
}

// file is an entry of a bundle.
type file struct {
	name string
	data []byte
	kind byte
	size int64 // in the header; 0: of data
}

// tar writes the slot set as a bundle, whose entries change can change, and returns its path.
func (h *hostile) tar(change func(all []file) []file) string {
	h.t.Helper()
	var all []file
	for _, name := range []string{bundle.ManifestName, bundle.SignatureName, bundle.SlotCfgName, bundle.KernelName, bundle.InitrdName, bundle.RootfsName} {
		all = append(all, file{name: name, data: h.read(name)})
	}
	if change != nil {
		all = change(all)
	}
	var b bytes.Buffer
	for _, f := range all {
		size, kind := int64(len(f.data)), byte(tar.TypeReg)
		if f.size != 0 {
			size = f.size
		}
		if f.kind != 0 {
			kind = f.kind
		}
		header := &tar.Header{Name: f.name, Mode: 0o644, Size: size, Typeflag: kind, Linkname: map[bool]string{true: "/etc/passwd"}[kind == tar.TypeSymlink || kind == tar.TypeLink]}
		if size >= 1<<33 {
			header.Format = tar.FormatGNU // in base 256
		}
		if err := tar.NewWriter(&b).WriteHeader(header); err != nil {
			h.t.Fatal(err)
		}
		b.Write(f.data)
		b.Write(make([]byte, -len(f.data)&511))
	}
	b.Write(make([]byte, 1024))
	return h.bytes(b.Bytes())
}

func (h *hostile) bytes(data []byte) string {
	path := filepath.Join(h.t.TempDir(), "update.bundle")
	put(h.t, path, data)
	return path
}

// with changes one entry of the bundle.
func with(name string, change func(f *file)) func([]file) []file {
	return func(all []file) []file {
		for n := range all {
			if all[n].name == name {
				change(&all[n])
			}
		}
		return all
	}
}

// verityRoot gives the slot set a root with a hash tree, which change can spoil before it is signed.
func (h *hostile) verityRoot(change func(data []byte, v *bundle.Verity)) string {
	h.t.Helper()
	data := bytes.Repeat([]byte("squashfs"), 3*verity.BlockSize/8)
	var tree verity.Hasher
	tree.Write(data)
	b := bytes.NewBuffer(data)
	root, err := tree.Finish(b)
	if err != nil {
		h.t.Fatal(err)
	}
	v := &bundle.Verity{RootHash: root.Hash, DataBlocks: root.DataBlocks}
	change(b.Bytes(), v)
	put(h.t, filepath.Join(h.set, bundle.RootfsName), b.Bytes())
	return h.edit(func(m *bundle.Manifest) {
		p := &m.Payloads[3]
		p.Size, p.SHA256, p.Verity = int64(b.Len()), fmt.Sprintf("%x", sha256.Sum256(b.Bytes())), v
	}).tar(nil)
}

// verityDelta makes the root one with a hash tree, carried as a delta of the data alone, which change can spoil.
func (h *hostile) verityDelta(change func(data []byte)) string {
	h.t.Helper()
	var data []byte
	h.verityRoot(func(all []byte, v *bundle.Verity) { data = bytes.Clone(all[:v.DataBlocks*verity.BlockSize]) })
	change(data)
	return h.delta(h.rootA(), same, data)
}

// delta makes the root a delta from the given file to what make returns.
func (h *hostile) delta(old []byte, spoil func(d []byte) []byte, to []byte) string {
	h.t.Helper()
	var d bytes.Buffer
	if _, err := delta.Make(&d, bytes.NewReader(old), bytes.NewReader(to), int64(len(old)), int64(len(to)), delta.MakeOptions{}); err != nil {
		h.t.Fatal(err)
	}
	carried := spoil(d.Bytes())
	from := fmt.Sprintf("%x", sha256.Sum256(old))
	m, err := bundle.ParseManifest(h.read(bundle.ManifestName))
	if err != nil {
		h.t.Fatal(err)
	}
	m.Payloads[3].Delta = &bundle.Delta{Format: delta.Format, Size: int64(len(carried)), SHA256: fmt.Sprintf("%x", sha256.Sum256(carried)), From: from}
	raw, err := m.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.tar(func(all []file) []file { // the signature is that of the whole manifest already
		all[0].data, all[5].data = raw, carried
		return all
	})
}

// swapper calls swap when the first payload is about to be written.
type swapper struct {
	durable.OS
	swap func()
	done bool
}

func (s *swapper) Create(path string) (durable.File, error) {
	if !s.done {
		s.done = true
		s.swap()
	}
	return s.OS.Create(path)
}

// What bad input leaves behind.
const (
	nothing   = "both slots and the block untouched"
	emptied   = "slot A untouched, slot B empty and bad"
	installed = "installed"
)

type hostileRow struct {
	name string
	src  func(h *hostile) string
	code int
	says string
	left string
}

func same(d []byte) []byte { return d }

var hostileRows = []hostileRow{
	// Signatures.
	{"no signature", func(h *hostile) string { return h.tar(func(all []file) []file { return append(all[:1], all[2:]...) }) }, 4, "not signed", nothing},
	{"empty signature", func(h *hostile) string { return h.signature(nil) }, 4, "not signed", nothing},
	{"signature of another manifest", func(h *hostile) string { return h.signature(minisign.Sign(h.mine.key, []byte("{}"))) }, 4, "does not fit", nothing},
	{"signature of the manifest and a byte", func(h *hostile) string {
		return h.signature(minisign.Sign(h.mine.key, append(h.read(bundle.ManifestName), '\n')))
	}, 4, "does not fit", nothing},
	{"bytes behind the signature", func(h *hostile) string { return h.signature(append(h.read(bundle.SignatureName), "x\n"...)) }, 4, "no minisign signature", nothing},
	{"signature that is none", func(h *hostile) string { return h.signature([]byte("rubbish")) }, 4, "no minisign signature", nothing},
	{"signature of a megabyte", func(h *hostile) string { return h.signature(make([]byte, 1<<20)) }, 4, "want at most 65536", nothing},
	{"foreign key", func(h *hostile) string {
		return h.signature(minisign.Sign(newSigner(h.t).key, h.read(bundle.ManifestName)))
	}, 4, "not trusted here", nothing},
	{"revoked key", func(h *hostile) string { return h.signature(minisign.Sign(h.revoked.key, h.read(bundle.ManifestName))) }, 4, "revoked", nothing},

	// The manifest.
	{"bytes behind the manifest", func(h *hostile) string { return h.manifest("\n}\n", "\n}\n{}").tar(nil) }, 4, "text behind its end", nothing},
	{"key twice", func(h *hostile) string { return h.manifest(`"version":`, `"version": "9", "version":`).tar(nil) }, 4, `key "version" twice`, nothing},
	{"key twice, in other case", func(h *hostile) string { return h.manifest(`"version":`, `"Version": "9", "version":`).tar(nil) }, 4, `unknown key "Version"`, nothing},
	{"unknown key", func(h *hostile) string { return h.manifest(`"version":`, `"run": "rm", "version":`).tar(nil) }, 4, "run", nothing},
	{"unknown format", func(h *hostile) string { return h.manifest(`"format": 1`, `"format": 2`).tar(nil) }, 4, "format 2, this program reads format 1", nothing},
	{"not UTF-8", func(h *hostile) string { return h.manifest(`"version": "2"`, "\"version\": \"\xff\"").tar(nil) }, 4, "not UTF-8", nothing},
	{"escape sequences for the terminal", func(h *hostile) string { return h.manifest(`"version": "2"`, `"version": "\u001b[2J"`).tar(nil) }, 4, "control characters", nothing},
	{"manifest of two megabytes", func(h *hostile) string { return h.manifest(`{`, `{`+strings.Repeat(" ", 2<<20)).tar(nil) }, 4, "want at most 1048576", nothing},
	{"manifest that nests", func(h *hostile) string {
		return h.manifest(`"version":`, `"x": `+strings.Repeat("[", 500_000)+`, "version":`).tar(nil)
	}, 4, "manifest: ", nothing},
	{"build of another slot set", func(h *hostile) string { return h.manifest(`"build": "`, `"build": "0`).tar(nil) }, 4, "which follows from the digests", nothing},
	{"size of 2^63", func(h *hostile) string { return h.manifest(`"size": 5000`, `"size": 9223372036854775808`).tar(nil) }, 4, "manifest: ", nothing},
	{"size of 2^63-1", func(h *hostile) string { return h.manifest(`"size": 5000`, `"size": 9223372036854775807`).tar(nil) }, 4, "manifest: ", nothing},
	{"negative size", func(h *hostile) string { return h.manifest(`"size": 5000`, `"size": -5000`).tar(nil) }, 4, "manifest: ", nothing},
	{"larger than the slot", func(h *hostile) string { return h.manifest(`"size": 5000`, `"size": 4398046511104`).tar(nil) }, 5, "no space", nothing},
	{"name that climbs", func(h *hostile) string { return h.manifest(`"name": "vmlinuz"`, `"name": "../A/vmlinuz"`).tar(nil) }, 4, "is no file of a slot set", nothing},
	{"absolute name", func(h *hostile) string { return h.manifest(`"name": "vmlinuz"`, `"name": "/etc/passwd"`).tar(nil) }, 4, "is no file of a slot set", nothing},
	{"name with a NUL", func(h *hostile) string { return h.manifest(`"name": "vmlinuz"`, `"name": "vmlinuz\u0000"`).tar(nil) }, 4, "is no file of a slot set", nothing},
	{"name of 5,000 bytes", func(h *hostile) string {
		return h.manifest(`"name": "vmlinuz"`, `"name": "`+strings.Repeat("v", 5000)+`"`).tar(nil)
	}, 4, "is no file of a slot set", nothing},
	{"payload twice", func(h *hostile) string {
		return h.edit(func(m *bundle.Manifest) { m.Payloads = append(m.Payloads, m.Payloads[1]) }).tar(nil)
	}, 4, "payload vmlinuz twice", nothing},
	{"payload missing", func(h *hostile) string {
		return h.edit(func(m *bundle.Manifest) { m.Payloads = m.Payloads[:3] }).tar(nil)
	}, 4, "no payload rootfs.squashfs", nothing},
	{"created before 1970", func(h *hostile) string { return h.manifest("2026-", "1969-").tar(nil) }, 4, "created in the year 1969", nothing},
	{"created in 1970", func(h *hostile) string { return h.manifest("2026-", "1970-").tar(nil) }, 0, "", installed},
	{"created in 2099", func(h *hostile) string { return h.manifest("2026-", "2099-").tar(nil) }, 0, "", installed},

	// Not for this device.
	{"other product", func(h *hostile) string { return h.manifest(`"kiosk"`, `"gate"`).tar(nil) }, 3, `it is for product "gate"`, nothing},
	{"other architecture", func(h *hostile) string { return h.edit(func(m *bundle.Manifest) { m.Arch = "sparc" }).tar(nil) }, 3, "it is for sparc", nothing},
	{"below the floor", func(h *hostile) string { return h.manifest(`"sequence": 6`, `"sequence": 4`).tar(nil) }, 3, "it has sequence 4", nothing},

	// The archive.
	{"empty file", func(h *hostile) string { return h.bytes(nil) }, 4, "not a bundle: it is empty", nothing},
	{"rubbish", func(h *hostile) string { return h.bytes(bytes.Repeat([]byte("rubbish "), 1000)) }, 4, "not a bundle: it is a text", nothing},
	{"manifest not first", func(h *hostile) string { return h.tar(func(all []file) []file { return append(all[2:], all[:2]...) }) }, 4, "want manifest.json", nothing},
	{"manifest that is a link", func(h *hostile) string {
		return h.tar(with(bundle.ManifestName, func(f *file) { f.kind, f.data = tar.TypeSymlink, nil }))
	}, 4, "want a regular file", nothing},
	{"payload that is a device", func(h *hostile) string {
		return h.tar(with(bundle.KernelName, func(f *file) { f.kind, f.data = tar.TypeChar, nil }))
	}, 4, "want a regular file", emptied},
	{"payload that is a link", func(h *hostile) string {
		return h.tar(with(bundle.KernelName, func(f *file) { f.kind, f.data = tar.TypeSymlink, nil }))
	}, 4, "want a regular file", emptied},
	{"entry name that climbs", func(h *hostile) string {
		return h.tar(with(bundle.KernelName, func(f *file) { f.name = "../A/vmlinuz" }))
	}, 4, "want vmlinuz", emptied},
	{"entry name that is absolute", func(h *hostile) string {
		return h.tar(with(bundle.KernelName, func(f *file) { f.name = "/etc/passwd" }))
	}, 4, "want vmlinuz", emptied},
	{"entries in another order", func(h *hostile) string {
		return h.tar(func(all []file) []file { all[3], all[4] = all[4], all[3]; return all })
	}, 4, "want vmlinuz", emptied},
	{"entry missing", func(h *hostile) string { return h.tar(func(all []file) []file { return all[:5] }) }, 4, "ends before rootfs.squashfs", emptied},
	{"entry too many", func(h *hostile) string {
		return h.tar(func(all []file) []file { return append(all, file{name: "evil", data: []byte("x")}) })
	}, 4, "behind the last payload", emptied},
	{"payload shorter", func(h *hostile) string {
		return h.tar(with(bundle.RootfsName, func(f *file) { f.data = f.data[:4000] }))
	}, 4, "has 4000 bytes, want 5000", emptied},
	{"payload longer", func(h *hostile) string {
		return h.tar(with(bundle.RootfsName, func(f *file) { f.data = append(f.data, 0) }))
	}, 4, "has 5001 bytes, want 5000", emptied},
	{"payload of 2^62 in its header", func(h *hostile) string { return h.tar(with(bundle.RootfsName, func(f *file) { f.size = 1 << 62 })) }, 4, "want 5000", emptied},
	{"payload of other content", func(h *hostile) string { return h.tar(with(bundle.RootfsName, func(f *file) { f.data[77] ^= 1 })) }, 4, "rootfs.squashfs: sha256", emptied},
	{"cut in the middle", func(h *hostile) string {
		data, _ := os.ReadFile(h.tar(nil))
		return h.bytes(data[:len(data)-3000])
	}, 4, "cut short", emptied},
	{"bytes behind the end", func(h *hostile) string {
		data, _ := os.ReadFile(h.tar(nil))
		return h.bytes(append(data, 0))
	}, 4, "bytes behind its end", emptied},

	// Right digests, wrong content.
	{"wrong verity root", func(h *hostile) string {
		return h.verityRoot(func(_ []byte, v *bundle.Verity) { v.RootHash = strings.Repeat("0", 64) })
	}, 4, "verity root hash", emptied},
	{"wrong hash tree", func(h *hostile) string {
		return h.verityRoot(func(data []byte, _ *bundle.Verity) { data[len(data)-1] ^= 1 })
	}, 4, "its hash tree is not that of its data", emptied},
	{"verity over more than there is", func(h *hostile) string {
		return h.verityRoot(func(_ []byte, v *bundle.Verity) { v.DataBlocks = 1 << 50 })
	}, 4, "verity over", nothing},

	// Deltas.
	{"delta from another version", func(h *hostile) string { return h.delta([]byte("other"), same, h.read(bundle.RootfsName)) }, 6, "delta from another version", nothing},
	{"delta that leaves the hash tree to the device", func(h *hostile) string { return h.verityDelta(func([]byte) {}) }, 0, "", installed},
	{"delta that makes data of another root hash", func(h *hostile) string { return h.verityDelta(func(data []byte) { data[9] ^= 1 }) }, 4, "it makes data of root hash", emptied},
	{"delta that is none", func(h *hostile) string {
		return h.delta(h.rootA(), func(d []byte) []byte { return bytes.Repeat([]byte("rubbish "), 100) }, h.read(bundle.RootfsName))
	}, 4, "rootfs.squashfs: ", emptied},
	{"delta that makes another file", func(h *hostile) string { return h.delta(h.rootA(), same, []byte("another file")) }, 4, "rootfs.squashfs: ", emptied},

	// What is no bundle, or does not stay one.
	{"FIFO", func(h *hostile) string { return h.fifo(filepath.Join(h.t.TempDir(), "fifo")) }, 4, "neither a file", nothing},
	{"link to a FIFO", func(h *hostile) string {
		path := filepath.Join(h.t.TempDir(), "link")
		os.Symlink(h.fifo(path+".fifo"), path)
		return path
	}, 4, "neither a file", nothing},
	{"character device", func(h *hostile) string { return "/dev/zero" }, 4, "neither a file", nothing},
	{"folder with a FIFO for a payload", func(h *hostile) string {
		os.Remove(h.set + "/" + bundle.KernelName)
		h.fifo(h.set + "/" + bundle.KernelName)
		return h.set
	}, 4, "vmlinuz: not a regular file", nothing},
	{"folder with a FIFO for a manifest", func(h *hostile) string {
		os.Remove(h.set + "/" + bundle.ManifestName)
		h.fifo(h.set + "/" + bundle.ManifestName)
		return h.set
	}, 4, "manifest.json: not a regular file", nothing},
	{"slot B itself", func(h *hostile) string { return h.data + "/slots/B" }, 2, "it is slot B itself", nothing},
	{"bundle replaced after the check", func(h *hostile) string {
		path, evil := h.tar(nil), h.bytes([]byte("evil"))
		h.files = &swapper{swap: func() { os.Rename(evil, path) }}
		return path // the file that was checked is still open: that one is installed
	}, 0, "", installed},
	{"payload of a folder replaced after the check", func(h *hostile) string {
		h.files = &swapper{swap: func() { put(h.t, h.set+"/"+bundle.RootfsName, bytes.Repeat([]byte("e"), 5000)) }}
		return h.set
	}, 4, "rootfs.squashfs: sha256", emptied},
	{"payload of a folder replaced by a FIFO after the check", func(h *hostile) string {
		h.files = &swapper{swap: func() {
			os.Remove(h.set + "/" + bundle.RootfsName)
			h.fifo(h.set + "/" + bundle.RootfsName)
		}}
		return h.set
	}, 4, "not a regular file", emptied},
	{"manifest of a folder replaced after the check", func(h *hostile) string {
		h.files = &swapper{swap: func() { put(h.t, h.set+"/"+bundle.ManifestName, []byte("{}")) }}
		return h.set // what was checked is what is written
	}, 0, "", installed},
}

func (h *hostile) rootA() []byte {
	data, err := os.ReadFile(h.data + "/slots/A/" + bundle.RootfsName)
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

func (h *hostile) fifo(path string) string {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func TestHostileInputLeavesTheRunningSlotAndNothingHalf(t *testing.T) {
	for _, row := range hostileRows {
		t.Run(row.name, func(t *testing.T) {
			h := newHostile(t)
			src := row.src(h)
			before := h.snapshots()
			done := make(chan struct{})
			var code int
			var stderr string
			go func() {
				defer close(done)
				code, stderr = h.run(t.Context(), h.files, "install", "--keys", h.keys, src)
			}()
			select {
			case <-done:
			case <-time.After(2 * time.Minute):
				t.Fatal("install hangs")
			}
			if code != row.code || !strings.Contains(stderr, row.says) {
				t.Errorf("install: exit status %d, %s, want %d and %q", code, stderr, row.code, row.says)
			}
			h.check(row.left, before)
		})
	}
}

func (h *hostile) snapshots() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	for name, path := range map[string]string{"A": h.data + "/slots/A", "B": h.data + "/slots/B", "block": h.grubenv, "floor": h.data + "/state"} {
		text, err := snapshot(path)
		if err != nil {
			h.t.Fatal(err)
		}
		all[name] = text
	}
	return all
}

// check compares the device with what the row says is left of it.
func (h *hostile) check(left string, before map[string]string) {
	h.t.Helper()
	after := h.snapshots()
	same := []string{"A", "floor"}
	if left == nothing {
		same = append(same, "B", "block")
	}
	for _, name := range same {
		if after[name] != before[name] {
			h.t.Errorf("%s was\n%.600s\nnow\n%.600s", name, before[name], after[name])
		}
	}
	s := h.state()
	switch left {
	case emptied:
		if want := (slots.State{Default: slots.A, Verified: true, Bad: slots.B, Limit: 3}); s != want {
			h.t.Errorf("the block says %+v, want %+v", s, want)
		}
		if files, err := fs.Glob(os.DirFS(h.data+"/slots/B"), "*"); err != nil || len(files) > 0 {
			h.t.Errorf("slot B holds %v, %v, want nothing", files, err)
		}
	case installed:
		if want := (slots.State{Default: slots.B, Limit: 3}); s != want {
			h.t.Errorf("the block says %+v, want %+v", s, want)
		}
		if err := h.bootable(slots.B, "2"); err != nil {
			h.t.Error(err)
		}
	}
}
