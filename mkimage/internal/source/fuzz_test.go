package source

import (
	"bytes"
	"io"
	"testing"
)

// FuzzStdin feeds the JSON documents of an archive: no panic, and layers only if every digest fits.
func FuzzStdin(f *testing.F) {
	layer := tarOf(f, "a", "a")
	oci := blobs{}
	oci.index(oci.nested(oci.image("linux/amd64", gzipped, layer)))
	for _, s := range []blobs{oci, dockerSaved(false, "x:1", layer), dockerSaved(true, "x:1", layer)} {
		f.Add(s["manifest.json"], s["index.json"], []byte("x"), "x")
		for name, b := range s {
			f.Add(s["manifest.json"], s["index.json"], b, name)
		}
	}
	f.Fuzz(func(t *testing.T, manifest, index, blob []byte, name string) {
		s := blobs{blobName(digestOf(blob)): blob, name: blob}
		if len(manifest) > 0 {
			s["manifest.json"] = manifest
		}
		if len(index) > 0 {
			s["index.json"] = index
		}
		var pairs []string
		for k, v := range s {
			if k == "" || bytes.IndexByte([]byte(k), 0) >= 0 {
				return
			}
			pairs = append(pairs, k, string(v))
		}
		img, err := Open(t.Context(), "-", Options{Stdin: bytes.NewReader(tarOf(t, pairs...)), MaxBytes: 1 << 20})
		if err != nil {
			return
		}
		defer img.Close()
		for _, l := range img.Layers {
			r, err := l.Open()
			if err != nil {
				continue
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err == nil && digestOf(b) != l.DiffID && l.DiffID[:7] == "sha256:" {
				t.Errorf("layer is %s, and %s was accepted", l.DiffID, digestOf(b))
			}
		}
	})
}
