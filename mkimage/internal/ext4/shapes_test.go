package ext4

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// Sizes that end just before, at and after what the last group needs for itself, and trees of any shape.
func TestFsckFindsNothingInRandomShapes(t *testing.T) {
	need.Tool(t, "e2fsck", "e2fsprogs")
	cases := uint64(60)
	if testing.Short() {
		cases = 10
	}
	for seed := range cases {
		r := rand.New(rand.NewPCG(seed, 1))
		o := options(r.Int64N(60)*128*mib + 48*mib)
		if r.IntN(2) == 0 {
			// Around the start of a flex group, whose first group holds the tables of all.
			o.Size = (1 + r.Int64N(3)) * flexGroups * groupBlocks * blockSize
		}
		o.Size += r.Int64N(64*mib) - 20*mib
		o.GrowTo = o.Size * (1 + r.Int64N(3000))
		if o.GrowTo > 1<<44 {
			o.GrowTo = 1 << 44
		}
		var files []File
		for i := range r.IntN(40) {
			path := fmt.Sprintf("f%d", i)
			for d := r.IntN(4); d > 0; d-- {
				path = fmt.Sprintf("dir%d/%s", r.IntN(3), path)
			}
			files = append(files, noise(path, r.Int64N(1<<r.IntN(21))))
		}
		files = append(files, noise("rest", r.Int64N(20*mib)))
		path := image(t, o, files)
		check(t, path)
		if t.Failed() {
			t.Fatalf("seed %d: size %d, grow to %d, %d files", seed, o.Size, o.GrowTo, len(files))
		}
		os.Remove(path)
	}
}

// Records that an earlier file system left in the journal would be replayed after a crash: they are overwritten.
func TestNoOldRecordStaysInTheJournal(t *testing.T) {
	debugfs := need.Tool(t, "debugfs", "e2fsprogs")
	dir := t.TempDir()
	path := filepath.Join(dir, "data")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := options(100 * mib)
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{2}), o.Size); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, o, nil); err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(dir, "journal")
	if out, err := exec.Command(debugfs, "-R", "dump <8> "+journal, path).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	b, err := os.ReadFile(journal)
	if err != nil || len(b) != 16*mib {
		t.Fatalf("journal of %d bytes, %v, want 16 MiB", len(b), err)
	}
	if rest := b[blockSize:]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("the journal is not empty")
	}
}
