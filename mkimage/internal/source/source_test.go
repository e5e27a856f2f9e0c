package source

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEveryTransportGivesTheSameLayers(t *testing.T) {
	one, two := tarOf(t, "etc/", "", "etc/one", "1"), tarOf(t, "etc/two", "2")
	layers := [][]byte{one, two}
	for _, pack := range []struct {
		name string
		do   func([]byte) []byte
	}{{"plain", plain}, {"gzip", gzipped}, {"zstd", zstded}} {
		s := blobs{}
		s.index(tagged(s.image("linux/amd64", pack.do, one, two), "v1"))
		old, modern := dockerSaved(false, "debian:12", one, two).archive(t), dockerSaved(true, "debian:12", one, two).archive(t)
		stdin := func(b []byte) Options { return Options{Stdin: bytes.NewReader(pack.do(b))} }
		for _, tc := range []struct {
			ref, source string
			opt         Options
		}{
			{"oci:" + s.folder(t), "oci", Options{}},
			{"oci:" + s.folder(t) + ":v1", "oci:v1", Options{}},
			{"oci-archive:" + write(t, "x.tar", pack.do(s.archive(t))), "oci-archive", Options{}},
			{"oci-archive:" + write(t, "x.tar", pack.do(s.archive(t))) + ":v1", "oci-archive:v1", Options{}},
			{"docker-archive:" + write(t, "x.tar", pack.do(old)), "docker-archive", Options{}},
			{"docker-archive:" + write(t, "x.tar", pack.do(modern)) + ":debian:12", "docker-archive:debian:12", Options{}},
			{"docker-archive:" + write(t, "x.tar", pack.do(modern)) + ":@0", "docker-archive@0", Options{}},
			{"-", "stdin", stdin(old)},
			{"-", "stdin", stdin(modern)},
			{"-", "stdin", stdin(s.archive(t))},
		} {
			t.Run(pack.name+" "+tc.source, func(t *testing.T) {
				img, got, err := read(t, tc.ref, tc.opt)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(layers, got); diff != "" {
					t.Errorf("layers of %s: %s", tc.ref, diff)
				}
				if diff := cmp.Diff([]string{digestOf(one), digestOf(two)}, img.DiffIDs()); diff != "" {
					t.Error(diff)
				}
				if img.Source() != tc.source || img.Platform() != "linux/amd64" || img.ConfigDigest == "" {
					t.Errorf("image %q for %q, configuration %q; want %q for linux/amd64", img.Source(), img.Platform(), img.ConfigDigest, tc.source)
				}
			})
		}
	}
}

func TestConfigurationIsRead(t *testing.T) {
	s := blobs{}
	s.index(s.image("linux/arm64/v8", gzipped, tarOf(t, "a", "a")))
	img, _, err := read(t, "oci:"+s.folder(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Created: time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC), OS: "linux", Architecture: "arm64", Variant: "v8",
		Labels: map[string]string{"a": "b"}, Env: []string{"PATH=/bin"}, Entrypoint: []string{"/init"}}
	if diff := cmp.Diff(want, img.Config); diff != "" {
		t.Error(diff)
	}
}

func TestPlatformAndDigestChooseOneImage(t *testing.T) {
	s := blobs{}
	image := map[string]descriptor{}
	var list []descriptor
	for _, p := range []string{"linux/amd64", "linux/amd64/v3", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7", "windows/amd64"} {
		image[p] = s.image(p, gzipped, tarOf(t, p, p))
		list = append(list, image[p])
	}
	dir := s.index(s.nested(s.nested(list...), list[0])).folder(t)
	for _, tc := range []struct {
		suffix, platform, want string
		err                    error
	}{
		{"", "linux/amd64", "linux/amd64", nil},
		{"", "linux/amd64/v1", "linux/amd64", nil},
		{"", "linux/amd64/v3", "linux/amd64/v3", nil},
		{"", "linux/arm64", "linux/arm64/v8", nil},
		{"", "aarch64", "linux/arm64/v8", nil},
		{"", "linux/arm/v7", "linux/arm/v7", nil},
		{"", "linux/arm", "", ErrAmbiguous},
		{"", "", "", ErrAmbiguous},
		{"", "linux/riscv64", "", ErrNotFound},
		{"@" + image["linux/arm/v6"].Digest, "", "linux/arm/v6", nil},
		{"@" + image["linux/arm/v6"].Digest, "linux/amd64", "", ErrNotFound},
	} {
		img, _, err := read(t, "oci:"+dir+tc.suffix, Options{Platform: tc.platform})
		if !errors.Is(err, tc.err) || err == nil && img.ManifestDigest != image[tc.want].Digest {
			t.Errorf("oci:DIR%s for %q: %v; want %s, %v", tc.suffix, tc.platform, err, tc.want, tc.err)
		}
	}
}

func TestALayerMayBeClosedInTheMiddle(t *testing.T) {
	s := blobs{}
	s.index(s.image("linux/amd64", gzipped, bigLayer(t, 1<<18)))
	img, err := Open(t.Context(), "oci:"+s.folder(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 20 {
		r, err := img.Layers[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Error(err)
		}
		r.Close()
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("Read after Close: no error")
		}
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
