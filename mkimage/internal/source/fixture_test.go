package source

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// tarOf makes a tar with the files name, body, name, body ...
func tarOf(tb testing.TB, pairs ...string) []byte {
	tb.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1]))}
		if strings.HasSuffix(pairs[i], "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		io.WriteString(tw, pairs[i+1])
	}
	if err := tw.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func plain(b []byte) []byte { return b }

// blobs are the files of an OCI layout or a docker archive, by name.
type blobs map[string][]byte

func (s blobs) add(mediaType string, b []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digestOf(b), Size: int64(len(b))}
	s[blobName(d.Digest)] = b
	return d
}

func (s blobs) addJSON(mediaType string, v any) descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return s.add(mediaType, b)
}

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// image adds an image for platform p and returns its descriptor, as an index has it.
func (s blobs) image(p string, pack func([]byte) []byte, layers ...[]byte) descriptor {
	want, _ := parsePlatform(p)
	var ids []string
	var list []descriptor
	for _, l := range layers {
		ids = append(ids, digestOf(l))
		list = append(list, s.add(mediaLayer, pack(l)))
	}
	cfg := s.addJSON(mediaConfig, map[string]any{
		"created": "2024-02-03T04:05:06Z", "os": want.OS, "architecture": want.Architecture, "variant": want.Variant,
		"config": map[string]any{"Labels": map[string]string{"a": "b"}, "Env": []string{"PATH=/bin"}, "Entrypoint": []string{"/init"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	d := s.addJSON(mediaManifest, map[string]any{"schemaVersion": 2, "mediaType": mediaManifest, "config": cfg, "layers": list})
	d.Platform = &want
	return d
}

func (s blobs) nested(list ...descriptor) descriptor {
	return s.addJSON(mediaIndex, map[string]any{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": list})
}

func tagged(d descriptor, tag string) descriptor {
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	return d
}

// index sets index.json.
func (s blobs) index(list ...descriptor) blobs {
	b, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": list})
	s["index.json"], s["oci-layout"] = b, []byte(`{"imageLayoutVersion":"1.0.0"}`)
	return s
}

// dockerSaved makes the files of docker save: before version 25 with a folder for each layer, else with blobs and an index.
func dockerSaved(modern bool, tag string, layers ...[]byte) blobs {
	s := blobs{}
	var ids, names []string
	for _, l := range layers {
		ids = append(ids, digestOf(l))
		name := blobName(digestOf(l))
		if !modern { // as docker 20.10 writes it: a folder for each layer, named by an id of its own
			id := strings.TrimPrefix(digestOf([]byte("id of "+digestOf(l))), "sha256:")
			name = id + "/layer.tar"
			s[id+"/VERSION"], s[id+"/json"] = []byte("1.0"), []byte(`{"id":"`+id+`","created":"1970-01-01T00:00:00Z","os":"linux"}`)
		}
		s[name] = l
		names = append(names, name)
	}
	cfg, _ := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	cfgName := strings.TrimPrefix(digestOf(cfg), "sha256:") + ".json"
	if modern {
		cfgName = blobName(digestOf(cfg))
	}
	s[cfgName] = cfg
	if modern {
		var list []descriptor
		for _, l := range layers {
			list = append(list, descriptor{MediaType: mediaLayer, Digest: digestOf(l), Size: int64(len(l))})
		}
		d := s.addJSON(mediaManifest, map[string]any{"schemaVersion": 2, "config": descriptor{MediaType: mediaConfig, Digest: digestOf(cfg), Size: int64(len(cfg))}, "layers": list})
		d.Annotations = map[string]string{"io.containerd.image.name": tag}
		s.index(d)
	}
	if repo, version, ok := strings.Cut(tag, ":"); ok && !modern {
		s["repositories"], _ = json.Marshal(map[string]map[string]string{repo: {version: strings.TrimSuffix(names[len(names)-1], "/layer.tar")}})
	}
	b, _ := json.Marshal([]saved{{Config: cfgName, RepoTags: []string{tag}, Layers: names}})
	s["manifest.json"] = b
	return s
}

// folder writes the files to a new folder.
func (s blobs) folder(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, b := range s {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// archive returns the files as a tar.
func (s blobs) archive(tb testing.TB) []byte {
	var pairs []string
	for name, b := range s {
		pairs = append(pairs, name, string(b))
	}
	return tarOf(tb, pairs...)
}

// write puts b into a new file.
func write(tb testing.TB, name string, b []byte) string {
	tb.Helper()
	p := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		tb.Fatal(err)
	}
	return p
}

// read opens ref and returns the image and the uncompressed layers.
func read(tb testing.TB, ref string, opt Options) (*Image, [][]byte, error) {
	tb.Helper()
	img, err := Open(tb.Context(), ref, opt)
	if err != nil {
		return nil, nil, err
	}
	tb.Cleanup(func() { img.Close() })
	var all [][]byte
	for _, l := range img.Layers {
		r, err := l.Open()
		if err != nil {
			return img, all, err
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return img, all, err
		}
		all = append(all, b)
	}
	return img, all, nil
}
