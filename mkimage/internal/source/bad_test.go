package source

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// bad is an image that cannot be used, and what Open or reading its layers says.
type bad struct {
	name string
	// files are the files of an OCI layout, or
	files func(tb testing.TB) blobs
	// ref is the whole name.
	ref func(tb testing.TB) string
	tag string // after oci:DIR
	opt Options
	err string
	is  error
	// hint is in the hint.
	hint string
}

// one returns an image of one layer, edited by edit before index.json is written.
func one(edit func(s blobs, d descriptor) descriptor) func(tb testing.TB) blobs {
	return func(tb testing.TB) blobs {
		s := blobs{}
		d := s.image("linux/amd64", gzipped, bigLayer(tb, 1000))
		return s.index(edit(s, d))
	}
}

// blobOf returns the name of the blob that starts with prefix.
func blobOf(s blobs, prefix string) string {
	for name, b := range s {
		if strings.HasPrefix(name, "blobs/") && bytes.HasPrefix(b, []byte(prefix)) {
			return name
		}
	}
	panic("no blob starts with " + prefix)
}

const gzipMagic = "\x1f\x8b"

func badLayers() []bad {
	layer := func(edit func([]byte) []byte) func(tb testing.TB) blobs {
		return one(func(s blobs, d descriptor) descriptor {
			name := blobOf(s, gzipMagic)
			s[name] = edit(bytes.Clone(s[name]))
			return d
		})
	}
	return []bad{
		{name: "layer with another digest", files: layer(func(b []byte) []byte { b[4] ^= 1; return b }), err: "layer 1 of 1: image is damaged: content is sha256:", is: ErrCorrupt},
		{name: "layer with a wrong byte", files: layer(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), err: "layer 1 of 1", is: ErrCorrupt},
		{name: "layer cut off", files: layer(func(b []byte) []byte { return b[:len(b)/2] }), err: "layer 1 of 1: image is damaged: cut off after ", is: ErrCorrupt},
		{name: "empty layer blob", files: layer(func(b []byte) []byte { return nil }), err: "cut off after 0 of", is: ErrCorrupt},
		{name: "layer with a tail", files: layer(func(b []byte) []byte { return append(b, 0) }), err: "more than the", is: ErrCorrupt},
		{name: "layer missing", files: one(func(s blobs, d descriptor) descriptor { delete(s, blobOf(s, gzipMagic)); return d }), err: "is missing", is: ErrCorrupt},
		{name: "wrong diff id", files: func(tb testing.TB) blobs {
			s := blobs{}
			l := s.add(mediaLayer, gzipped(tarOf(tb, "a", "a")))
			return s.index(rawImage(s, []string{digestOf([]byte("other"))}, l))
		}, err: "uncompressed (diff id): image is damaged: content is sha256:", is: ErrCorrupt},
		{name: "gzip cut, digest of the cut bytes", files: func(tb testing.TB) blobs {
			s := blobs{}
			b := bigLayer(tb, 1000)
			l := s.add(mediaLayer, gzipped(b)[:500])
			return s.index(rawImage(s, []string{digestOf(b)}, l))
		}, err: "unpack: unexpected EOF", is: ErrCorrupt},
		{name: "zstd cut, digest of the cut bytes", files: func(tb testing.TB) blobs {
			s := blobs{}
			b := bigLayer(tb, 1000)
			l := s.add(mediaLayer, zstded(b)[:500])
			return s.index(rawImage(s, []string{digestOf(b)}, l))
		}, err: "layer 1 of 1", is: ErrCorrupt},
		{name: "bomb", files: func(tb testing.TB) blobs {
			s := blobs{}
			b := make([]byte, 8<<20)
			return s.index(rawImage(s, []string{digestOf(b)}, s.add(mediaLayer, gzipped(b))))
		}, opt: Options{MaxBytes: 1 << 20}, err: "layer 1 of 1: unpacks to more bytes than allowed", is: ErrTooLarge},
		{name: "encrypted layer", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(rawImage(s, []string{digestOf(nil)}, s.add(mediaLayer+"+gzip+encrypted", nil)))
		}, err: "the layer is encrypted"},
		{name: "layer that is no tar", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(rawImage(s, []string{digestOf(nil)}, s.add("application/vnd.in-toto+json", nil)))
		}, err: "not a tar"},
		{name: "more layers than diff ids", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(rawImage(s, nil, s.add(mediaLayer, nil)))
		}, err: "the manifest has 1 layers, the configuration 0 diff ids", is: ErrCorrupt},
		{name: "no layers", files: func(tb testing.TB) blobs { s := blobs{}; return s.index(rawImage(s, nil)) }, err: "has no layers: there is nothing to boot"},
	}
}

// rawImage adds an image with these diff ids and layers, whether they fit or not.
func rawImage(s blobs, ids []string, layers ...descriptor) descriptor {
	cfg := s.addJSON(mediaConfig, map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"diff_ids": ids}})
	return s.addJSON(mediaManifest, map[string]any{"schemaVersion": 2, "config": cfg, "layers": layers})
}

func badManifests() []bad {
	return []bad{
		{name: "manifest with another digest", files: one(func(s blobs, d descriptor) descriptor {
			s[blobName(d.Digest)] = append(s[blobName(d.Digest)], ' ')
			return d
		}), err: "manifest sha256:", is: ErrCorrupt},
		{name: "manifest with another size", files: one(func(s blobs, d descriptor) descriptor { d.Size++; return d }), err: "bytes, want", is: ErrCorrupt},
		{name: "configuration with another digest", files: one(func(s blobs, d descriptor) descriptor {
			name := blobOf(s, `{"architecture"`)
			s[name] = append(s[name], ' ')
			return d
		}), err: "configuration: image is damaged: content is", is: ErrCorrupt},
		{name: "digest that is a path", files: one(func(s blobs, d descriptor) descriptor { d.Digest = "sha256:../../../../etc/passwd"; return d }), err: "want 64 lower-case hex digits", is: ErrCorrupt},
		{name: "digest of another kind", files: one(func(s blobs, d descriptor) descriptor { d.Digest = "md5:00"; return d }), err: "want sha256:... or sha512:...", is: ErrCorrupt},
		{name: "schema 1", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(s.add("application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{"schemaVersion":1,"name":"a","fsLayers":[{"blobSum":"sha256:aa"}]}`)))
		}, err: "docker schema 1", hint: "push the image again"},
		{name: "manifest that is no JSON", files: func(tb testing.TB) blobs { s := blobs{}; return s.index(s.add(mediaManifest, []byte("<html>"))) }, err: "manifest is not JSON", is: ErrCorrupt},
		{name: "manifest of nothing", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(s.addJSON("text/plain", map[string]any{"schemaVersion": 2}))
		}, err: "neither an index nor an image manifest", is: ErrCorrupt},
		{name: "index.json of nothing", files: func(tb testing.TB) blobs { return blobs{}.index() }, err: "neither an index nor", is: ErrCorrupt},
		{name: "artifact", files: func(tb testing.TB) blobs {
			s := blobs{}
			cfg := s.add("application/vnd.cncf.helm.config.v1+json", []byte("{}"))
			return s.index(s.addJSON(mediaManifest, map[string]any{"schemaVersion": 2, "config": cfg, "layers": []descriptor{}}))
		}, err: "is not a container image: its configuration is application/vnd.cncf.helm"},
		{name: "attestations only", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(s.nested(s.image("unknown/unknown", plain, tarOf(tb, "a", ""))))
		}, err: "the index holds no image", is: ErrNotFound},
		{name: "nested too deep", files: func(tb testing.TB) blobs {
			s := blobs{}
			d := s.image("linux/amd64", plain, tarOf(tb, "a", ""))
			for range maxNesting + 1 {
				d = s.nested(d)
			}
			return s.index(d)
		}, err: "nested more than 8 deep", is: ErrCorrupt},
	}
}

func badChoices() []bad {
	two := func(tb testing.TB) blobs {
		s := blobs{}
		return s.index(tagged(s.image("linux/amd64", plain, tarOf(tb, "a", "")), "v1"), tagged(s.image("linux/amd64", plain, tarOf(tb, "b", "")), "v2"))
	}
	archs := func(tb testing.TB) blobs {
		s := blobs{}
		return s.index(s.nested(s.image("linux/amd64", plain, tarOf(tb, "a", "")), s.image("linux/arm64/v8", plain, tarOf(tb, "b", ""))))
	}
	return []bad{
		{name: "two tags", files: two, err: "several images fit:\n  linux/amd64 sha256:", is: ErrAmbiguous, hint: "name the tag after a colon"},
		{name: "no such tag", files: two, tag: ":v3", err: `tag "v3": not found: there is v1, v2`, is: ErrNotFound},
		{name: "no such digest", files: two, tag: "@" + digestOf(nil), err: "is missing"},
		{name: "empty tag", files: two, tag: ":", err: "the tag after the colon is empty"},
		{name: "two platforms", files: archs, err: "linux/arm64/v8 sha256:", is: ErrAmbiguous, hint: "--platform linux/amd64"},
		{name: "no such platform", files: archs, opt: Options{Platform: "linux/s390x"}, err: "the image is for linux/amd64, linux/arm64/v8, want linux/s390x", is: ErrNotFound},
		{name: "no such variant", files: archs, opt: Options{Platform: "linux/arm64/v9"}, err: "the image is for", is: ErrNotFound},
		{name: "another platform than the index says", files: one(func(s blobs, d descriptor) descriptor {
			d.Platform = &platform{OS: "linux", Architecture: "arm64"}
			return d
		}),
			opt: Options{Platform: "linux/arm64"}, err: "the image is for linux/amd64, want linux/arm64", is: ErrNotFound},
		{name: "image for Windows", files: func(tb testing.TB) blobs {
			s := blobs{}
			return s.index(s.image("windows/amd64", plain, tarOf(tb, "a", "")))
		}, err: "the image is for windows/amd64, want linux", is: ErrNotFound},
		{name: "bad platform", files: archs, opt: Options{Platform: "linux/a/b/c"}, err: "want os/arch or os/arch/variant"},
	}
}

func badNames(tb testing.TB) []bad {
	at := func(kind string, s func(tb testing.TB) blobs, suffix string) func(tb testing.TB) string {
		return func(tb testing.TB) string { return kind + write(tb, "x.tar", s(tb).archive(tb)) + suffix }
	}
	docker := func(tb testing.TB) blobs { return dockerSaved(false, "debian:12", tarOf(tb, "a", "a")) }
	oci := one(func(_ blobs, d descriptor) descriptor { return d })
	is := func(s string) func(testing.TB) string { return func(testing.TB) string { return s } }
	return []bad{
		{name: "empty name", ref: is(""), err: "the name is empty", hint: "oci:DIR"},
		{name: "image in a registry, bare", ref: is("debian:12"), err: "the name has no transport", hint: "docker://debian:12"},
		{name: "docker: without slashes", ref: is("docker:debian"), err: "two slashes", hint: "docker://debian"},
		{name: "docker-daemon", ref: is("docker-daemon:debian:12"), err: "docker-daemon is not supported", hint: "docker save debian:12 | mkimage ... -"},
		{name: "bare layout", ref: func(tb testing.TB) string { return oci(tb).folder(tb) }, err: "the name has no transport", hint: "write oci:/"},
		{name: "bare folder", ref: func(tb testing.TB) string { return tb.TempDir() }, err: "the name has no transport", hint: "write dir:/"},
		{name: "bare docker archive", ref: at("", docker, ""), err: "the name has no transport", hint: "write docker-archive:/"},
		{name: "bare OCI archive", ref: at("", oci, ""), err: "the name has no transport", hint: "write oci-archive:/"},
		{name: "bare tar", ref: func(tb testing.TB) string { return write(tb, "x.tar.gz", gzipped(tarOf(tb, "etc/", ""))) }, err: "the name has no transport", hint: "write tar:/"},
		{name: "path of nothing", ref: is("./nothing.tar"), err: "no such file", is: ErrNotFound},
		{name: "archive of nothing", ref: is("nothing.tar.gz"), err: "no such file", is: ErrNotFound},
		{name: "layout that is not there", ref: is("oci:/nonexistent/x:tag"), err: "no such file", is: ErrNotFound},
		{name: "layout that is a root", ref: func(tb testing.TB) string { return "oci:" + tb.TempDir() }, err: "no index.json", is: ErrCorrupt, hint: "write dir:"},
		{name: "layout that is an archive", ref: at("oci:", oci, ""), err: "not a folder", hint: "write oci-archive:/"},
		{name: "archive that is a layout", ref: func(tb testing.TB) string { return "oci-archive:" + oci(tb).folder(tb) }, err: "not a file", hint: "write oci:/"},
		{name: "OCI archive that docker saved", ref: at("oci-archive:", docker, ""), err: "made by docker save", hint: "docker-archive:"},
		{name: "tar that is a folder", ref: func(tb testing.TB) string { return "tar:" + tb.TempDir() }, err: "not a file", hint: "write dir:/"},
		{name: "folder that is a file", ref: at("dir:", docker, ""), err: "not a folder", hint: "write docker-archive:/"},
		{name: "root on standard input", ref: is("-"), opt: Options{Stdin: bytes.NewReader(tarOf(tb, "etc/", ""))}, err: "it is no image", hint: "tar:-"},
		{name: "nothing on standard input", ref: is("-"), opt: Options{Stdin: strings.NewReader("")}, err: "the archive is empty", is: ErrCorrupt},
		{name: "noise on standard input", ref: is("-"), opt: Options{Stdin: strings.NewReader(strings.Repeat("noise", 1000))}, err: "read archive", is: ErrCorrupt},
		{name: "closed standard input", ref: is("-"), err: "standard input is closed"},
		{name: "cut gzip on standard input", ref: is("-"), opt: Options{Stdin: bytes.NewReader(gzipped(bytes.Repeat([]byte("x"), 1<<20))[:200])}, err: "unpack archive: unexpected EOF", is: ErrCorrupt},
		{name: "bomb on standard input", ref: is("-"), opt: Options{Stdin: bytes.NewReader(gzipped(make([]byte, 8<<20))), MaxBytes: 1 << 20}, err: "larger than the limit of 1048576 bytes", is: ErrTooLarge},
		{name: "no such reference", ref: at("docker-archive:", docker, ":debian:13"), err: "there is debian:12", is: ErrNotFound},
		{name: "no such index", ref: at("docker-archive:", docker, ":@1"), err: "the archive has 1", is: ErrNotFound},
		{name: "docker archive for another platform", ref: at("docker-archive:", docker, ""), opt: Options{Platform: "linux/arm64"}, err: "the image is for linux/amd64, want linux/arm64", is: ErrNotFound},
	}
}

func TestBadImagesAreRefusedWithTheirReason(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, list := range [][]bad{badLayers(), badManifests(), badChoices(), badNames(t)} {
		for _, tc := range list {
			t.Run(tc.name, func(t *testing.T) {
				spool := t.TempDir()
				tc.opt.TempDir = spool
				var ref string
				if tc.files != nil {
					ref = "oci:" + tc.files(t).folder(t) + tc.tag
				} else {
					ref = tc.ref(t)
				}
				_, _, err := read(t, ref, tc.opt)
				if err == nil || !strings.Contains(err.Error(), tc.err) || tc.is != nil && !errors.Is(err, tc.is) {
					t.Fatalf("%s: %v; want %q, %v", ref, err, tc.err, tc.is)
				}
				if !strings.Contains(Hint(err), tc.hint) || tc.hint == "" && Hint(err) != "" {
					t.Errorf("%s: hint %q, want %q", ref, Hint(err), tc.hint)
				}
				if left, _ := filepath.Glob(filepath.Join(spool, "*")); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			})
		}
	}
}
