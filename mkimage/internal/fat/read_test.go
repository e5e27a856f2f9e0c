package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	raw := memory(t, options())
	for _, f := range espFiles() {
		data, at, err := ReadFile(bytes.NewReader(raw), strings.ToUpper(f.Path))
		if err != nil || !bytes.Equal(data, f.Data) {
			t.Errorf("ReadFile(%s): got %d bytes, %v, want %d", f.Path, len(data), err, len(f.Data))
		}
		if len(f.Data) > 0 && !bytes.HasPrefix(raw[at:], f.Data) {
			t.Errorf("ReadFile(%s): does not start at %d", f.Path, at)
		}
	}
	names, err := List(bytes.NewReader(raw), "")
	if want := []string{"EFI", "empty", "A long name, with = and +x;.tar.gz", "exactly13char", "many"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("List of the root: got %q, %v, want %q", names, err, want)
	}
	if names, err = List(bytes.NewReader(raw), "many"); err != nil || len(names) != 60 || names[59] != "file number 59.text" {
		t.Errorf("List(many): got %d names, %v", len(names), err)
	}
}

func TestWhatOthersWroteIsRead(t *testing.T) {
	mkfs, mcopy := need.Tool(t, "mkfs.vfat", "dosfstools"), need.Tool(t, "mcopy", "mtools")
	mdel := need.Tool(t, "mdel", "mtools")
	dir := t.TempDir()
	path := filepath.Join(dir, "fs")
	run(t, mkfs, "-C", "-F", "32", "-s", "8", path, fmt.Sprint(300<<10))
	big := bytes.Repeat([]byte("fragmented "), 4000)
	for name, data := range map[string][]byte{"a.txt": []byte("a"), "long name": big, "UPPER.CFG": []byte("u")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copyIn := func(from, to string) { run(t, mcopy, "-i", path, filepath.Join(dir, from), "::"+to) }
	// A hole between two files makes the large one come in two pieces.
	copyIn("a.txt", "first")
	copyIn("a.txt", "a.txt")
	copyIn("UPPER.CFG", "UPPER.CFG")
	run(t, mdel, "-i", path, "::first")
	exec.Command("mmd", "-i", path, "::dir").Run()
	copyIn("long name", "dir/long name")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{"a.txt": "a", "upper.cfg": "u", "dir/long name": string(big)} {
		if got, _, err := ReadFile(f, name); err != nil || string(got) != want {
			t.Errorf("ReadFile(%s): got %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
	if names, err := List(f, ""); err != nil || !slices.Contains(names, "a.txt") || slices.Contains(names, "first") {
		t.Errorf("List: got %q, %v", names, err)
	}
}

func TestWhatIsNotThereIsErrNotExist(t *testing.T) {
	r := bytes.NewReader(memory(t, options()))
	for _, path := range []string{"nope", "EFI/nope", "empty/x", "EFI/BOOT/grubenv/x"} {
		if _, _, err := ReadFile(r, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadFile(%s): got %v, want fs.ErrNotExist", path, err)
		}
	}
	if _, _, err := ReadFile(r, "EFI"); err == nil {
		t.Error("a folder was read as a file")
	}
	if _, err := List(r, "empty"); err == nil {
		t.Error("a file was listed as a folder")
	}
}

// FuzzReadFile damages the tables and folders of a good file system: reading may fail, but must end.
func FuzzReadFile(f *testing.F) {
	o := options()
	o.Size = MinSize
	base := &buffer{make([]byte, o.Size)}
	if err := Write(base, o, espFiles()); err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(44), []byte{9})
	f.Add(uint32(13), []byte{0, 0xff, 0xff})
	f.Add(uint32(11), []byte{0, 2, 0xff})
	f.Add(uint32(minReserved*sector+8), []byte{2, 0, 0, 0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		r := &patched{base.b, int64(at) % (2 << 20), patch}
		ReadFile(r, "EFI/BOOT/grubenv")
		List(r, "many")
	})
}

type patched struct {
	base  []byte
	at    int64
	patch []byte
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := bytes.NewReader(p.base).ReadAt(b, off)
	for i := range b[:n] {
		if k := off + int64(i) - p.at; k >= 0 && k < int64(len(p.patch)) {
			b[i] = p.patch[k]
		}
	}
	return n, err
}

var _ io.ReaderAt = (*patched)(nil)
