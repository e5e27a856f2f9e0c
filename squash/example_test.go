package squash_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"strings"
	"time"

	"github.com/slotboot/slotboot/squash"
)

func Example() {
	f, err := os.CreateTemp("", "example-*.squashfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()

	w, err := squash.NewWriter(f, squash.Options{ModTime: time.Unix(1_700_000_000, 0), ClampTimes: true})
	if err != nil {
		log.Fatal(err)
	}
	const greeting = "hello from slot A\n"
	for _, e := range []squash.Entry{
		{Path: "etc", Mode: fs.ModeDir | 0o755},
		{Path: "etc/motd", Mode: 0o644, Size: int64(len(greeting)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(greeting)), nil
		}},
		{Path: "etc/issue", Mode: fs.ModeSymlink | 0o777, Target: "motd"},
	} {
		if err := w.Add(e); err != nil {
			log.Fatal(err)
		}
	}
	sum, err := w.Close()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum.Inodes, "inodes,", sum.Size, "bytes")

	image, err := squash.Open(f)
	if err != nil {
		log.Fatal(err)
	}
	text, err := fs.ReadFile(image, "etc/issue") // through the symlink
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))
	// Output:
	// 4 inodes, 4096 bytes
	// hello from slot A
}

// A folder of the host becomes an image. fs.FS tells no owners; on Unix they are in Info().Sys().
func ExampleWriter_Add_fromFS() {
	source := os.DirFS("testdata/example")
	out, err := os.CreateTemp("", "example-*.squashfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	w, err := squash.NewWriter(out, squash.Options{Compression: squash.Gzip})
	if err != nil {
		log.Fatal(err)
	}
	err = fs.WalkDir(source, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return w.Add(squash.Entry{Path: path, Mode: info.Mode(), ModTime: info.ModTime(), Size: info.Size(),
			Open: func() (io.ReadCloser, error) { return source.Open(path) }})
	})
	if err != nil {
		log.Fatal(err)
	}
	sum, err := w.Close()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum.Inodes, "inodes with", sum.FileBytes, "bytes")
	// Output: 3 inodes with 22 bytes
}

func ExampleImage_Contents() {
	image, err := squash.Open(exampleImage())
	if err != nil {
		log.Fatal(err)
	}
	err = image.Contents(func(f *squash.Found, r io.Reader) error {
		size := int64(0)
		if r != nil { // a regular file
			var err error
			if size, err = io.Copy(io.Discard, r); err != nil {
				return err
			}
		}
		fmt.Println(f.Mode, f.UID, size, f.Path)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// drwxr-xr-x 0 0 .
	// drwxr-xr-x 0 0 bin
	// urwxr-xr-x 0 7 bin/su
}

func ExampleImage_Blocks() {
	image, err := squash.Open(exampleImage())
	if err != nil {
		log.Fatal(err)
	}
	blocks, err := image.Blocks()
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range blocks[:2] {
		fmt.Println(b.Kind, b.Offset, b.Stored, b.Packed, b.Path)
	}
	// Output:
	// fragment 96 7 false bin/su
	// inode 105 50 true
}

// A block is made again from its plain bytes: what a device does that gets a delta.
func ExampleImage_DetectCodec() {
	r := exampleImage()
	image, err := squash.Open(r)
	if err != nil {
		log.Fatal(err)
	}
	id, err := image.DetectCodec()
	if err != nil { // squash.ErrForeign: made by another program
		log.Fatal(err)
	}
	codec, err := squash.NewCodec(id, image.Info().BlockSize)
	if err != nil {
		log.Fatal(err)
	}
	decoder, err := squash.NewDecoder(image.Info().Compression, image.Info().BlockSize)
	if err != nil {
		log.Fatal(err)
	}
	blocks, err := image.Blocks()
	if err != nil {
		log.Fatal(err)
	}
	inodes := blocks[1]
	stored, plain := make([]byte, inodes.Stored), make([]byte, 8<<10)
	if _, err := r.ReadAt(stored, inodes.Offset); err != nil {
		log.Fatal(err)
	}
	n, err := decoder.Decode(plain, stored)
	if err != nil {
		log.Fatal(err)
	}
	again, err := codec.Compress(nil, plain[:n])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id, inodes.Kind, n, bytes.Equal(again, stored))
	// Output: slot-zstd-2/1 inode 96 true
}

func ExampleOpen_damaged() {
	b, err := io.ReadAll(io.NewSectionReader(exampleImage(), 0, 4096))
	if err != nil {
		log.Fatal(err)
	}
	b[12] = 7 // the block size
	_, err = squash.Open(bytes.NewReader(b))
	fmt.Println(err)
	// Output: open squashfs: block size at offset 12 is 131079, want a power of two from 4096 to 1048576
}

func ExampleErrXattr() {
	w, err := squash.NewWriter(&buffer{}, squash.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = w.Add(squash.Entry{Path: "f", Xattrs: map[string]string{"system.posix_acl_access": "..."}})
	fmt.Println(errors.Is(err, squash.ErrXattr), err)
	_, _ = w.Close()
	// Output: true add f: key "system.posix_acl_access": xattr not in user.*, trusted.* or security.*
}

// exampleImage is an image in memory.
func exampleImage() io.ReaderAt {
	var m buffer
	_, err := write(&m, squash.Options{}, []squash.Entry{
		{Path: "bin", Mode: fs.ModeDir | 0o755},
		body(squash.Entry{Path: "bin/su", Mode: fs.ModeSetuid | 0o755}, []byte("program")),
	})
	if err != nil {
		log.Fatal(err)
	}
	return &m
}
