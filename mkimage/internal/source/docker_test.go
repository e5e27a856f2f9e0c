package source

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDockerArchiveChoosesByNameAsDockerDoes(t *testing.T) {
	one, two := dockerSaved(false, "debian:12", tarOf(t, "one", "")), dockerSaved(false, "example.org/a/b:v1", tarOf(t, "two", ""))
	var all []saved
	s := blobs{}
	for _, x := range []blobs{one, two} {
		for name, b := range x {
			s[name] = b
		}
		var list []saved
		if err := json.Unmarshal(x["manifest.json"], &list); err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
	}
	s["manifest.json"], _ = json.Marshal(all)
	file := write(t, "two.tar", s.archive(t))
	for ref, want := range map[string]string{":debian:12": "one", ":docker.io/library/debian:12": "one", ":example.org/a/b:v1": "two", ":@0": "one", ":@1": "two"} {
		_, layers, err := read(t, "docker-archive:"+file+ref, Options{})
		if err != nil || !bytes.Contains(layers[0], []byte(want)) {
			t.Errorf("docker-archive:FILE%s: %v; want the image with %s", ref, err, want)
		}
	}
	if _, _, err := read(t, "docker-archive:"+file, Options{}); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "linux/amd64 example.org/a/b:v1") {
		t.Errorf("without a name: %v; want ErrAmbiguous and a list", err)
	}
}

// TestDockerArchiveFollowsLinksToLayers: docker before 25 stored a layer that two images share once, and linked to it.
func TestDockerArchiveFollowsLinksToLayers(t *testing.T) {
	layer := tarOf(t, "a", "a")
	s := dockerSaved(false, "x:1", layer)
	var list []saved
	json.Unmarshal(s["manifest.json"], &list)
	for name, target := range map[string]string{"real": "", "link": "../other/layer.tar", "loop": "../loop/layer.tar"} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		list[0].Layers = []string{name + "/layer.tar"}
		s["manifest.json"], _ = json.Marshal(list)
		for file, body := range s {
			if strings.HasSuffix(file, "/layer.tar") {
				file = "other/layer.tar"
				if target == "" {
					file = name + "/layer.tar"
				}
			}
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Size: int64(len(body))})
			tw.Write(body)
		}
		if target != "" {
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name + "/layer.tar", Linkname: target})
		}
		tw.Close()
		_, got, err := read(t, "-", Options{Stdin: &b})
		if name == "loop" {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("link to itself: %v; want ErrCorrupt", err)
			}
			continue
		}
		if diff := cmp.Diff([][]byte{layer}, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestDockerArchiveIsCheckedAgainstItsNames(t *testing.T) {
	for _, modern := range []bool{false, true} {
		for what, prefix := range map[string]string{"configuration": `{"architecture"`, "layer": "a\x00"} {
			s := dockerSaved(modern, "x:1", tarOf(t, "a", "body"))
			for name, b := range s {
				if name != "manifest.json" && bytes.HasPrefix(b, []byte(prefix)) {
					if what == "layer" {
						b[512] ^= 1
					} else {
						s[name] = append(b, ' ')
					}
				}
			}
			_, _, err := read(t, "-", Options{Stdin: bytes.NewReader(s.archive(t))})
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("docker 25 %v, %s changed: %v; want ErrCorrupt", modern, what, err)
			}
		}
	}
}

func TestDocker25ArchiveGivesTheManifestDigest(t *testing.T) {
	img, _, err := read(t, "-", Options{Stdin: bytes.NewReader(dockerSaved(true, "x:1", tarOf(t, "a", "a")).archive(t))})
	if err != nil || !strings.HasPrefix(img.ManifestDigest, "sha256:") || img.Layers[0].Digest == "" {
		t.Errorf("%v, manifest %q, layer %q; want digests", err, img.ManifestDigest, img.Layers[0].Digest)
	}
}

// TestContainerdStoreArchiveHasOtherPlatforms: docker with the containerd store names one platform in manifest.json and all
// in index.json.
func TestContainerdStoreArchiveHasOtherPlatforms(t *testing.T) {
	s := dockerSaved(true, "x:1", tarOf(t, "amd", ""))
	var idx document
	json.Unmarshal(s["index.json"], &idx)
	amd := idx.Manifests[0]
	amd.Platform = &platform{OS: "linux", Architecture: "amd64"}
	s.index(s.nested(amd, s.image("linux/arm64", plain, tarOf(t, "arm", ""))))
	b := s.archive(t)
	for _, p := range []string{"linux/amd64", "linux/arm64"} {
		img, _, err := read(t, "-", Options{Stdin: bytes.NewReader(b), Platform: p})
		if err != nil || img.Platform() != p {
			t.Errorf("%s: %v, %v", p, img, err)
		}
	}
}

func TestLayersMayBeReadAgain(t *testing.T) {
	s := blobs{}
	l := tarOf(t, "a", "a")
	s.index(s.image("linux/amd64", zstded, l))
	img, _, err := read(t, "oci-archive:"+write(t, "x", gzipped(s.archive(t))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := img.Layers[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, l) {
			t.Errorf("%d bytes, %v; want %d", len(b), err, len(l))
		}
		r.Close()
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("Read after Close: no error")
		}
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
	if r, err := img.Layers[0].Open(); err == nil {
		if _, err := io.ReadAll(r); err == nil {
			t.Error("a layer can be read after Close")
		}
	}
}
