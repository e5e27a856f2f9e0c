package ext4

import (
	"bytes"
	"errors"
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

func TestTheRestOfALastBlockIsZero(t *testing.T) {
	letters := File{Path: "q", Size: 3*mib + 5, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(bytes.Repeat([]byte{0xa7}, 3*mib+5))), nil
	}}
	path := image(t, options(64*mib), []File{letters, {Path: "x", Size: 1, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte{'x'})), nil
	}}})
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, bytes.Repeat([]byte{0xa7}, 3*mib))
	block := raw[at+3*mib : at+3*mib+2*blockSize]
	want := append(bytes.Repeat([]byte{0xa7}, 5), make([]byte, blockSize-5)...)
	want = append(append(want, 'x'), make([]byte, blockSize-1)...)
	if !bytes.Equal(block, want) {
		t.Error("the last blocks of two files hold more than their ends")
	}
}

func TestE2fsckRebuildsItFromACopyOfTheSuperblock(t *testing.T) {
	e2fsck := need.Tool(t, "e2fsck", "e2fsprogs")
	for _, group := range []int64{1, 3} {
		files := deviceTree(mib)
		path := image(t, options(600*mib), files)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, 2*blockSize), 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
		out, err := exec.Command(e2fsck, "-fy", "-B", "4096", "-b", fmt.Sprint(group*groupBlocks), path).CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Fatalf("e2fsck from group %d: %v, want exit status 1\n%s", group, err, out)
		}
		check(t, path)
		dir := mount(t, path, "ro")
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(dir, file.Path)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAFileOfTooManyPiecesIsRefused(t *testing.T) {
	for size, fine := range map[int64]bool{150 << 30: true, 200 << 30: false} {
		_, err := plan(options(1<<40), []File{noise("huge", size)})
		if (err == nil) != fine {
			t.Errorf("a file of %d GiB: got %v", size>>30, err)
		}
	}
}
