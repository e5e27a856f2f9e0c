package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// synthesize makes an OCI layout at dir, unless it is there: one gzip layer with Debian's kernel and files of about
// bytes in all, as a root has them: many small texts, programs, some large files that pack badly.
func synthesize(dir, kernel string, bytes int64) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	root, err := os.CreateTemp(filepath.Dir(dir), "synthetic-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(root.Name())
	defer root.Close()
	if err := writeRoot(root, kernel, bytes); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(root.Name(), tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return err
	}
	// umoci reads OCI's own media types only.
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return err
	}
	conf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	conf = conf.DeepCopy()
	conf.Architecture, conf.OS, conf.Created = "amd64", "linux", v1.Time{Time: time.Unix(1_700_000_000, 0)}
	if img, err = mutate.ConfigFile(img, conf); err != nil {
		return err
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	l, err := layout.Write(part, empty.Index)
	if err != nil {
		return err
	}
	tag, err := name.NewTag("synthetic:latest")
	if err != nil {
		return err
	}
	if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag.TagStr()})); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

func writeRoot(to io.Writer, kernel string, total int64) error {
	w := tar.NewWriter(to)
	err := filepath.WalkDir(kernel, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(kernel, p)
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return add(w, filepath.ToSlash(rel), 0o644, data)
	})
	if err != nil {
		return err
	}
	if err := add(w, "sbin/init", 0o755, []byte("#!/bin/sh\n")); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 4000)
	for i := range words {
		words[i] = make([]byte, 2+r.IntN(9))
		for j := range words[i] {
			words[i][j] = byte('a' + r.IntN(26))
		}
	}
	var made int64
	for i := 0; made < total; i++ {
		var body []byte
		switch {
		case i%400 == 0: // media, archives: a third of the bytes
			body = make([]byte, 4<<20)
			for j := 0; j < len(body); j += 8 {
				x := r.Uint64()
				for k := range 8 {
					body[j+k] = byte(x >> (8 * k))
				}
			}
		case i%20 == 0: // programs
			body = program(r, words, 100_000+r.IntN(600_000))
		default: // texts
			body = text(r, words, 500+r.IntN(20_000))
		}
		made += int64(len(body))
		if err := add(w, fmt.Sprintf("usr/share/%03d/%d", i/200, i), 0o644, body); err != nil {
			return err
		}
	}
	return w.Close()
}

func text(r *rand.Rand, words [][]byte, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		b.Write(words[int(float64(len(words))*r.Float64()*r.Float64())])
		b.WriteByte(" \n"[r.IntN(8)/7])
	}
	return b.Bytes()
}

// program returns bytes that pack to about a third: instructions repeat with other operands, and strings stand between.
func program(r *rand.Rand, words [][]byte, n int) []byte {
	codes := make([][]byte, 300)
	for i := range codes {
		codes[i] = make([]byte, 1+r.IntN(5))
		for j := range codes[i] {
			codes[i][j] = byte(r.Uint32())
		}
	}
	b := make([]byte, 0, n+64)
	for len(b) < n {
		b = append(b, codes[int(float64(len(codes))*r.Float64()*r.Float64())]...)
		switch r.IntN(4) {
		case 0:
			b = append(b, byte(r.Uint32()), byte(r.Uint32()))
		case 1:
			b = append(b, byte(r.Uint32()), 0, 0, 0)
		}
		if r.IntN(200) == 0 {
			b = append(b, words[r.IntN(len(words))]...)
		}
	}
	return b
}

func add(w *tar.Writer, name string, mode int64, body []byte) error {
	h := &tar.Header{Name: name, Mode: mode, Size: int64(len(body)), ModTime: time.Unix(1_700_000_000, 0)}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}
