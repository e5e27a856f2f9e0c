package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slotboot/slotboot/internal/need"
)

var created = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// slotSet is a slot set folder; edit changes its manifest before it is encoded.
func slotSet(t testing.TB, edit func(*Manifest)) fstest.MapFS {
	t.Helper()
	set := fstest.MapFS{
		SlotCfgName: {Data: []byte("set slotboot_args=\"console=ttyS0\"\n")},
		KernelName:  {Data: bytes.Repeat([]byte("kernel "), 300)},
		InitrdName:  {Data: bytes.Repeat([]byte("i"), 512)},
		RootfsName:  {Data: bytes.Repeat([]byte("squashfs"), 5000)},
	}
	describeSet(t, set, edit)
	return set
}

func describeSet(t testing.TB, set fstest.MapFS, edit func(*Manifest)) {
	t.Helper()
	payloads, err := Describe(set)
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{
		Format: Format, Version: "1.4.2", Created: created, Arch: "amd64", Kernel: "6.1.0-56-cloud-amd64", Tool: "mkimage test",
		Source: Source{Kind: "oci"}, Build: BuildID(payloads), Payloads: payloads,
	}
	if edit != nil {
		edit(m)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	set[ManifestName] = &fstest.MapFile{Data: raw}
}

func written(t testing.TB, set fs.FS) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, set); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// files reads a stream to its end.
func files(s *Stream) (map[string]string, error) {
	got := map[string]string{ManifestName: string(s.Raw)}
	if s.Signature != nil {
		got[SignatureName] = string(s.Signature)
	}
	for {
		entry, err := s.Next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		data, err := io.ReadAll(entry)
		if err != nil {
			return got, err
		}
		got[entry.Payload.Name] = string(data)
	}
}

func read(data []byte) (map[string]string, error) {
	s, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return files(s)
}

func contents(set fstest.MapFS) map[string]string {
	want := make(map[string]string)
	for name, f := range set {
		want[name] = string(f.Data)
	}
	return want
}

func TestABundleGivesBackTheSlotSet(t *testing.T) {
	signed, bare := slotSet(t, nil), slotSet(t, nil)
	signed[SignatureName] = &fstest.MapFile{Data: []byte("untrusted comment: x\n")}
	delete(bare, SlotCfgName)
	describeSet(t, bare, nil)
	for name, set := range map[string]fstest.MapFS{"plain": slotSet(t, nil), "signed": signed, "without slot.cfg": bare} {
		data := written(t, set)
		for how, r := range map[string]io.Reader{"at once": bytes.NewReader(data), "byte by byte": iotest.OneByteReader(bytes.NewReader(data)),
			"data with EOF": iotest.DataErrReader(bytes.NewReader(data))} {
			s, err := NewReader(r)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, how, err)
			}
			got, err := files(s)
			if diff := cmp.Diff(contents(set), got); err != nil || diff != "" {
				t.Errorf("%s, %s: %v (-slot set +bundle):\n%s", name, how, err, diff)
			}
		}
		s, err := ReadFolder(set)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := files(s); err != nil || !cmp.Equal(contents(set), got) {
			t.Errorf("%s: the folder reads differently: %v", name, err)
		}
	}
}

func TestTheSameSlotSetGivesTheSameBundle(t *testing.T) {
	one, two := written(t, slotSet(t, nil)), written(t, slotSet(t, nil))
	if !bytes.Equal(one, two) {
		t.Error("two bundles of one slot set differ")
	}
}

func TestTarShowsABundle(t *testing.T) {
	tool := need.Tool(t, "tar", "tar")
	set := slotSet(t, nil)
	path := filepath.Join(t.TempDir(), "x.bundle")
	if err := os.WriteFile(path, written(t, set), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "tvf", path)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	want := fmt.Sprintf(`-rw-r--r-- root/root %9d 2026-11-21 10:00 manifest.json
-rw-r--r-- root/root        34 2026-11-21 10:00 slot.cfg
-rw-r--r-- root/root      2100 2026-11-21 10:00 vmlinuz
-rw-r--r-- root/root       512 2026-11-21 10:00 initrd
-rw-r--r-- root/root     40000 2026-11-21 10:00 rootfs.squashfs
`, len(set[ManifestName].Data))
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("tar tvf (-want +got):\n%s", diff)
	}
}

func TestHeadersOfAnySizeAreWhatArchiveTarReads(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, 1<<33 - 1, 1 << 33, MaxPayload} {
		h := entryHeader(RootfsName, size, created)
		name, got, err := parseHeader(h)
		if err != nil || name != RootfsName || got != size {
			t.Errorf("size %d reads back as %q, %d, %v", size, name, got, err)
		}
		std, err := tar.NewReader(bytes.NewReader(h)).Next()
		if err != nil || std.Size != size || std.Name != RootfsName || std.Mode != 0o644 || !std.ModTime.Equal(created) || std.Uname != "root" {
			t.Errorf("size %d: archive/tar reads %+v, %v", size, std, err)
		}
	}
}

func TestEveryCutIsFoundOut(t *testing.T) {
	data := written(t, slotSet(t, nil))
	for n := 0; n < len(data); n += 1 + n/50 {
		if _, err := read(data[:n]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut at byte %d of %d: %v, want ErrInvalid", n, len(data), err)
		}
	}
	if _, err := read(data[:len(data)-1]); !errors.Is(err, ErrInvalid) {
		t.Errorf("cut by its last byte: %v, want ErrInvalid", err)
	}
}

// TestEveryFlippedByteIsFoundOutOrHarmless flips one byte at a time. The mode, owner and time in a tar header are not
// used, and are free to differ; nothing that is handed out may.
func TestEveryFlippedByteIsFoundOutOrHarmless(t *testing.T) {
	set := slotSet(t, nil)
	data := written(t, set)
	want := contents(set)
	for i := 0; i < len(data); i += 1 + i/900 {
		data[i] ^= 0x20
		got, err := read(data)
		data[i] ^= 0x20
		if err == nil && got[ManifestName] != want[ManifestName] {
			continue // a letter of a text in the manifest: the signature's business
		}
		if err == nil && !cmp.Equal(got, want) {
			t.Fatalf("byte %d flipped: other content and no error", i)
		}
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("byte %d flipped: %v, want ErrInvalid", i, err)
		}
	}
}

func TestNothingMayFollowABundleButOnADevice(t *testing.T) {
	data := written(t, slotSet(t, nil))
	for name, tail := range map[string]string{"a zero": "\x00", "a block of zeros": strings.Repeat("\x00", 512), "garbage": "x"} {
		long := append(bytes.Clone(data), tail...)
		if _, err := read(long); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "behind its end") {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		s, err := NewDeviceReader(bytes.NewReader(long))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := files(s); err != nil {
			t.Errorf("%s on a device: %v", name, err)
		}
	}
}

func TestADeviceIsNotReadBehindTheArchive(t *testing.T) {
	data := written(t, slotSet(t, nil))
	s, err := NewDeviceReader(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errors.New("read too far"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files(s); err != nil {
		t.Error(err)
	}
}

func TestEntriesComeInTheManifestsOrderAndNoOthers(t *testing.T) {
	set := slotSet(t, nil)
	build := func(entries ...string) []byte {
		var b bytes.Buffer
		for _, name := range entries {
			data := []byte("extra")
			if f := set[name]; f != nil {
				data = f.Data
			}
			b.Write(entryHeader(name, int64(len(data)), created))
			b.Write(data)
			b.Write(make([]byte, padding(int64(len(data)))))
		}
		b.Write(make([]byte, 1024))
		return b.Bytes()
	}
	if _, err := read(build(ManifestName, SlotCfgName, KernelName, InitrdName, RootfsName)); err != nil {
		t.Fatalf("the right order: %v", err)
	}
	for _, entries := range [][]string{
		{}, {KernelName}, {ManifestName}, {ManifestName, SlotCfgName, KernelName, InitrdName},
		{ManifestName, KernelName, SlotCfgName, InitrdName, RootfsName},
		{SlotCfgName, ManifestName, KernelName, InitrdName, RootfsName},
		{ManifestName, SlotCfgName, KernelName, InitrdName, RootfsName, RootfsName},
		{ManifestName, SlotCfgName, KernelName, InitrdName, RootfsName, "extra"},
		{ManifestName, ManifestName, SlotCfgName, KernelName, InitrdName, RootfsName},
		{ManifestName, SlotCfgName, SignatureName, KernelName, InitrdName, RootfsName},
		{ManifestName, "../slot.cfg", KernelName, InitrdName, RootfsName},
		{ManifestName, "/slot.cfg", KernelName, InitrdName, RootfsName},
		{ManifestName, "./slot.cfg", KernelName, InitrdName, RootfsName},
	} {
		if _, err := read(build(entries...)); !errors.Is(err, ErrInvalid) {
			t.Errorf("entries %q: %v, want ErrInvalid", entries, err)
		}
	}
}

func TestOnlyRegularFilesAreEntries(t *testing.T) {
	for _, kind := range "123456xgLKS" {
		data := written(t, slotSet(t, nil))
		data[156] = byte(kind)
		copy(data[148:], fmt.Sprintf("%06o\x00 ", checksum(data[:512])))
		if _, err := read(data); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("type %q: %v, want ErrInvalid", kind, err)
		}
	}
}

func TestAReadErrorIsNotCalledBadContent(t *testing.T) {
	data := written(t, slotSet(t, nil))
	broken := errors.New("cable pulled")
	for _, n := range []int{0, 100, 600, 3000, 9000, len(data) - 600, len(data)} {
		s, err := NewReader(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)))
		if err == nil {
			_, err = files(s)
		}
		if !errors.Is(err, broken) || errors.Is(err, ErrInvalid) {
			t.Errorf("error behind byte %d: %v, want %v", n, err, broken)
		}
	}
}

func TestAnEntryLeftUnreadIsStillChecked(t *testing.T) {
	set := slotSet(t, nil)
	data := written(t, set)
	data[bytes.Index(data, []byte("kernel kernel"))] ^= 1
	s, err := NewReader(bytes.NewReader(data))
	for err == nil {
		_, err = s.Next()
	}
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "vmlinuz: sha256") {
		t.Errorf("Next = %v, want the digest of vmlinuz", err)
	}
	if _, again := s.Next(); again != err {
		t.Errorf("Next after an error = %v, want %v again", again, err)
	}
}

func TestADeltaBundleCarriesDeltasAndIsCheckedByTheirDigests(t *testing.T) {
	set := slotSet(t, nil)
	patch := []byte("a delta")
	patchSet := fstest.MapFS{SlotCfgName: set[SlotCfgName], KernelName: set[KernelName], InitrdName: set[InitrdName], RootfsName: {Data: patch}}
	carried, err := Describe(patchSet)
	if err != nil {
		t.Fatal(err)
	}
	describeSet(t, set, func(m *Manifest) {
		m.Payloads[3].Delta = &Delta{Format: "test/1", Size: int64(len(patch)), SHA256: carried[3].SHA256, From: m.Payloads[0].SHA256}
	})
	s, err := NewStream(set[ManifestName].Data, nil, func(p *Payload) (io.Reader, error) { return patchSet.Open(p.Name) })
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteStream(&b, s); err != nil {
		t.Fatal(err)
	}
	got, err := read(b.Bytes())
	if err != nil || got[RootfsName] != "a delta" {
		t.Errorf("the bundle gives %q, %v", got[RootfsName], err)
	}
	if m, err := Verify(set, func(int) {}); err != nil || m.Payloads[3].Delta != nil {
		t.Errorf("Verify of the installed files = %+v, %v", m, err)
	}
	if err := Write(io.Discard, set); err == nil {
		t.Error("Write makes a bundle whose manifest says delta and whose payload is none")
	}
}

func TestAFolderThatIsNoSlotSetIsAClearError(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(fstest.MapFS)
		want string
	}{
		"no kernel":         {func(s fstest.MapFS) { delete(s, KernelName) }, "vmlinuz: there is no such file"},
		"kernel is longer":  {func(s fstest.MapFS) { s[KernelName].Data = append(s[KernelName].Data, 0) }, "vmlinuz has 2101 bytes, want 2100"},
		"kernel is shorter": {func(s fstest.MapFS) { s[KernelName].Data = s[KernelName].Data[1:] }, "vmlinuz has 2099 bytes, want 2100"},
		"kernel differs":    {func(s fstest.MapFS) { s[KernelName].Data[5] ^= 1 }, "vmlinuz: sha256"},
		"kernel is a folder": {func(s fstest.MapFS) {
			s[KernelName] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		}, "vmlinuz: not a regular file"},
		"a FIFO":              {func(s fstest.MapFS) { s[RootfsName].Mode = fs.ModeNamedPipe }, "not a regular file"},
		"the manifest is big": {func(s fstest.MapFS) { s[ManifestName].Data = make([]byte, MaxManifest+1) }, "manifest.json"},
		"a big signature":     {func(s fstest.MapFS) { s[SignatureName] = &fstest.MapFile{Data: make([]byte, MaxSignature+1)} }, "minisig"},
	} {
		set := slotSet(t, nil)
		tc.edit(set)
		_, err := Verify(set, func(int) {})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Verify = %v, want %q", name, err, tc.want)
		}
		if err := Write(io.Discard, set); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Write = %v, want ErrInvalid", name, err)
		}
	}
	if _, err := ReadFolder(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v, want fs.ErrNotExist", err)
	}
}

func TestVerifyTellsEveryByteItReads(t *testing.T) {
	var sum int64
	m, err := Verify(slotSet(t, nil), func(n int) { sum += int64(n) })
	if err != nil || sum != m.Size() || sum != 34+2100+512+40000 {
		t.Errorf("Verify told %d bytes, %v, want %d", sum, err, m.Size())
	}
}

func FuzzReader(f *testing.F) {
	small := fstest.MapFS{KernelName: {Data: []byte("k")}, InitrdName: {Data: []byte("i")}, RootfsName: {Data: []byte("r")}}
	describeSet(f, small, nil)
	data := written(f, small)
	f.Add(data)
	f.Add(data[:1500])
	f.Add(append(bytes.Clone(data), 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := read(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("read = %v, which does not wrap ErrInvalid", err)
			}
			return
		}
		m, err := ParseManifest([]byte(got[ManifestName]))
		if err != nil {
			t.Fatalf("the manifest was accepted once: %v", err)
		}
		for _, p := range m.Payloads {
			if size, _ := p.Carried(); int64(len(got[p.Name])) != size {
				t.Fatalf("%s: %d bytes, want %d", p.Name, len(got[p.Name]), size)
			}
		}
	})
}
