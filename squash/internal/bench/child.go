package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"

	"github.com/slotboot/slotboot/squash"
	"github.com/slotboot/slotboot/squash/internal/tartree"
)

// child is the part that is measured.
func child(what string, args []string) error {
	switch what {
	case "write":
		return write(args)
	case "million":
		return million(args)
	}
	if len(args) != 1 {
		return errors.New("want an image")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := squash.Open(f)
	if err != nil {
		return err
	}
	switch what {
	case "contents":
		return m.Contents(func(_ *squash.Found, r io.Reader) error {
			if r == nil {
				return nil
			}
			_, err := io.Copy(io.Discard, r)
			return err
		})
	case "walk":
		return m.Walk(func(f *squash.Found) error {
			if !f.Mode.IsRegular() {
				return nil
			}
			_, err := io.Copy(io.Discard, f.Open())
			return err
		})
	case "random":
		return random(m)
	}
	return fmt.Errorf("no child called %s", what)
}

func random(m *squash.Image) error {
	var files []*squash.File
	if err := m.Walk(func(f *squash.Found) error {
		if f.Mode.IsRegular() && f.Size >= 4096 {
			files = append(files, f.Open())
		}
		return nil
	}); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 4096)
	for range 20_000 {
		f := files[r.IntN(len(files))]
		if _, err := f.ReadAt(b, r.Int64N(f.Size()-4095)); err != nil {
			return err
		}
	}
	return nil
}

// million writes a folder of a million small files, no two of them alike.
func million(args []string) error {
	out, err := os.Create(args[0])
	if err != nil {
		return err
	}
	w, err := squash.NewWriter(out, squash.Options{Level: 1})
	if err != nil {
		return err
	}
	if err := w.Add(squash.Entry{Path: "d", Mode: fs.ModeDir | 0o755}); err != nil {
		return err
	}
	for i := range 1_000_000 {
		text := fmt.Sprintf("content of file %d\n", i)
		if err := w.Add(squash.Entry{Path: fmt.Sprintf("d/file%07d", i), Mode: 0o644, Size: int64(len(text)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}); err != nil {
			return err
		}
	}
	if _, err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

func write(args []string) error {
	flags := flag.NewFlagSet("write", flag.ContinueOnError)
	block := flags.Int("block", 0, "")
	comp := flags.String("comp", "zstd", "")
	level := flags.Int("level", 0, "")
	codec := flags.String("codec", "", "")
	copies := flags.Int("copies", 0, "")
	noFragments := flags.Bool("nofragments", false, "")
	noTails := flags.Bool("notails", false, "")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	c, err := squash.ParseCompression(*comp)
	if err != nil {
		return err
	}
	tree, err := tartree.Open(args[0])
	if err != nil {
		return err
	}
	defer tree.Close()
	out, err := os.Create(args[1])
	if err != nil {
		return err
	}
	w, err := squash.NewWriter(out, squash.Options{BlockSize: *block, Compression: c, Level: *level, Codec: *codec, NoDuplicates: *copies > 0,
		NoFragments: *noFragments, NoTailPacking: *noTails})
	if err != nil {
		return err
	}
	for i := range max(*copies, 1) {
		for _, e := range tree.Entries {
			if *copies > 0 {
				top := fmt.Sprint(i)
				if e.Path == "." {
					e.Mode = fs.ModeDir | 0o755
				}
				e.Path = path.Join(top, e.Path)
				if e.HardlinkTo != "" {
					e.HardlinkTo = path.Join(top, e.HardlinkTo)
				}
			}
			if err := w.Add(e); err != nil {
				return err
			}
		}
	}
	if _, err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}
