package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
)

// shelf is a registry that holds one slot set, and what tests make it do instead.
type shelf struct {
	h        *hostile
	artifact *bundle.Artifact
	manifest []byte // of the artifact
	blobs    map[string][]byte
	bearer   bool // it wants a token, and a login for that
	cutAt    int  // bytes of a blob per connection; 0: all
	blob     func(w http.ResponseWriter, r *http.Request, data []byte) bool
	gets     int               // of blobs
	tags     map[string][]byte // other manifests
	carried  string            // the blob of a delta
	got      []string          // the blobs that were asked for
	anyRef   bool              // it gives its manifest for every reference
}

// newShelf is the registry with the slot set of h.
func newShelf(t *testing.T, h *hostile) *shelf {
	t.Helper()
	src, err := bundle.ReadFolder(os.DirFS(h.set))
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{h: h, artifact: bundle.NewArtifact(src), blobs: map[string][]byte{}}
	for _, name := range bundle.FileNames() {
		data := h.read(name)
		s.blobs[bundle.Digest(data)] = data
	}
	s.encode()
	return s
}

func (s *shelf) encode() {
	raw, err := s.artifact.Encode()
	if err != nil {
		s.h.t.Fatal(err)
	}
	s.manifest = raw
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	switch known := user == "device" && password == "secret"; {
	case r.URL.Path == "/token" && known:
		fmt.Fprint(w, `{"token": "let-me-in"}`)
		return
	case r.URL.Path == "/token", !s.bearer && !known, s.bearer && r.Header.Get("Authorization") != "Bearer let-me-in":
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		if s.bearer && r.URL.Path != "/token" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="registry"`, r.Host))
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, what, _ := strings.Cut(r.URL.Path, "/v2/kiosk/")
	kind, name, _ := strings.Cut(what, "/")
	switch {
	case kind == "manifests" && (s.anyRef || name == "2" || name == bundle.Digest(s.manifest)):
		w.Header().Set("Content-Type", bundle.MediaTypeOCI)
		w.Write(s.manifest)
	case kind == "manifests" && s.tags[name] != nil:
		w.Write(s.tags[name])
	case kind == "blobs" && s.blobs[name] != nil:
		s.gets++
		s.got = append(s.got, name)
		if s.blob != nil && s.blob(w, r, s.blobs[name]) {
			return
		}
		if s.cutAt > 0 {
			w = &cutting{w, s.cutAt}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.blobs[name]))
	case r.URL.Path != "/v2/":
		http.NotFound(w, r)
	}
}

// login leaves a docker login for host in the environment.
func login(t *testing.T, host, user string) {
	t.Helper()
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(user))
	text, _ := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": auth}}})
	put(t, filepath.Join(dir, "config.json"), text)
	t.Setenv("DOCKER_CONFIG", dir)
}

func TestASlotSetComesOutOfARegistry(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		h, _ := served(t)
		s := newShelf(t, h)
		s.bearer, s.cutAt = bearer, 70_000
		web := httptest.NewServer(s)
		defer web.Close()
		host := strings.TrimPrefix(web.URL, "http://")
		login(t, host, "device:secret")
		for _, ref := range []string{"2", "@" + bundle.Digest(s.manifest)} {
			separator := ":"
			if ref[0] == '@' {
				separator = ""
			}
			s.gets = 0
			code, stderr := h.run(t.Context(), h.files, "install", "--force", "--keys", h.keys, "docker://"+host+"/kiosk"+separator+ref)
			if code != 0 {
				t.Fatalf("bearer %v, %s: exit status %d: %s", bearer, ref, code, stderr)
			}
			if err := h.bootable(2, "2"); err != nil {
				t.Errorf("bearer %v, %s: slot B: %v", bearer, ref, err)
			}
			if want := 8; ref == "2" && s.gets != want { // six files, the root in three pieces
				t.Errorf("bearer %v: %d requests for blobs, want %d", bearer, s.gets, want)
			}
		}
	}
}

func rootBlob(s *shelf) string { return "sha256:" + payloadOf(s, bundle.RootfsName) }

var registryRows = []struct {
	name  string
	ref   string
	spoil func(s *shelf)
	code  int
	says  string
	left  string
}{
	{"no such tag", "kiosk:3", func(s *shelf) {}, 1, "404 Not Found", nothing},
	{"no such repository", "gate:2", func(s *shelf) {}, 1, "404 Not Found", nothing},
	{"wrong login", "kiosk:2", func(s *shelf) { login(s.h.t, "127.0.0.1", "device:wrong") }, 1, "hint: log in first: docker login", nothing},
	{"container image", "kiosk:2", func(s *shelf) {
		s.manifest = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`)
	}, 4, "not a slot set", nothing},
	{"rubbish", "kiosk:2", func(s *shelf) { s.manifest = []byte("rubbish") }, 4, "artifact: ", nothing},
	{"other digest than asked for", "kiosk@sha256:" + strings.Repeat("0", 64), func(s *shelf) { s.anyRef = true }, 4, "want sha256:0000", nothing},
	{"manifest of a gigabyte", "kiosk:2", func(s *shelf) { s.artifact.Layers[0].Size = 1 << 30; s.encode() }, 4, "want at most", nothing},
	{"two manifests", "kiosk:2", func(s *shelf) {
		s.artifact.Layers = append(s.artifact.Layers, s.artifact.Layers[0])
		s.encode()
	}, 4, "2 blobs of type", nothing},
	{"no signature", "kiosk:2", func(s *shelf) {
		s.artifact.Layers = append(s.artifact.Layers[:1], s.artifact.Layers[2:]...)
		s.encode()
	}, 4, "not signed", nothing},
	{"digest that climbs", "kiosk:2", func(s *shelf) { s.artifact.Layers[0].Digest = "sha256:../../x"; s.encode() }, 4, "want sha256:HEX", nothing},
	{"manifest of other content", "kiosk:2", func(s *shelf) {
		s.blobs[s.artifact.Manifest().Digest] = bytes.Replace(s.h.read(bundle.ManifestName), []byte("kiosk"), []byte("klosk"), 1)
	}, 4, "artifact: ", nothing},
	{"root missing", "kiosk:2", func(s *shelf) { delete(s.blobs, rootBlob(s)) }, 1, "404 Not Found", emptied},
	{"root shorter", "kiosk:2", func(s *shelf) { s.blobs[rootBlob(s)] = s.blobs[rootBlob(s)][1:] }, 1, "it has 199999 bytes, want 200000", emptied},
	{"root longer", "kiosk:2", func(s *shelf) { s.blobs[rootBlob(s)] = append(bytes.Clone(s.blobs[rootBlob(s)]), 0) }, 1, "it has 200001 bytes, want 200000", emptied},
	{"root of other content", "kiosk:2", func(s *shelf) {
		s.blobs[rootBlob(s)] = bytes.Repeat([]byte("e"), 200_000)
	}, 4, "rootfs.squashfs: sha256", emptied},
	{"silent in the middle", "kiosk:2", func(s *shelf) {
		s.blob = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
			if len(data) == 200_000 {
				w.Header().Set("Content-Length", "200000")
				w.Write(data[:100])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
			return len(data) == 200_000
		}
	}, 1, "the server", emptied},
}

func TestAHostileRegistryLeavesTheRunningSlotAndNothingHalf(t *testing.T) {
	for _, row := range registryRows {
		t.Run(row.name, func(t *testing.T) {
			h, _ := served(t)
			s := newShelf(t, h)
			web := httptest.NewServer(s)
			defer web.Close()
			host := strings.TrimPrefix(web.URL, "http://")
			login(t, host, "device:secret")
			s.h.t = t
			row.spoil(s)
			before := h.snapshots()
			code, stderr := h.run(t.Context(), h.files, "install", "--keys", h.keys, "docker://"+host+"/"+row.ref)
			if code != row.code || !strings.Contains(stderr, row.says) {
				t.Errorf("install: exit status %d, %s, want %d and %q", code, stderr, row.code, row.says)
			}
			h.check(row.left, before)
		})
	}
}

// deltaBeside puts the delta of the root from what slot A runs into the registry, under the tag that devices look for.
func (s *shelf) deltaBeside(change func(m *bundle.Manifest)) {
	t := s.h.t
	t.Helper()
	old, next := s.h.rootA(), s.h.read(bundle.RootfsName)
	var d bytes.Buffer
	if _, err := delta.Make(&d, bytes.NewReader(old), bytes.NewReader(next), int64(len(old)), int64(len(next)), delta.MakeOptions{}); err != nil {
		t.Fatal(err)
	}
	m, err := bundle.ParseManifest(s.h.read(bundle.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	m.Payloads[3].Delta = &bundle.Delta{Format: delta.Format, Size: int64(d.Len()), SHA256: strings.TrimPrefix(bundle.Digest(d.Bytes()), "sha256:"), From: strings.TrimPrefix(bundle.Digest(old), "sha256:")}
	change(m)
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.carried = bundle.Digest(d.Bytes())
	s.blobs[s.carried], s.blobs[bundle.Digest(raw)] = d.Bytes(), raw
	artifact, err := bundle.NewArtifact(&bundle.Stream{Manifest: m, Raw: raw}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.tags = map[string][]byte{m.DeltaTag(): artifact}
}

func TestARegistryGivesTheDeltaFromWhatRunsIfItHasOne(t *testing.T) {
	for name, row := range map[string]struct {
		change func(m *bundle.Manifest)
		rot    bool
		delta  bool // fetched
		full   bool // fetched
		says   string
	}{
		"fits":                      {func(m *bundle.Manifest) {}, false, true, false, ""},
		"of another slot set":       {func(m *bundle.Manifest) { m.Sequence = 7 }, false, false, true, ""},
		"in a format of the future": {func(m *bundle.Manifest) { m.Payloads[3].Delta.Format = "none/9" }, false, false, true, ""},
		"what runs has rotted":      {func(m *bundle.Manifest) {}, true, true, true, "trying without a delta"},
	} {
		h, _ := served(t)
		put(t, h.data+"/slots/A/"+bundle.RootfsName, append(bytes.Clone(h.read(bundle.RootfsName)[:150_000]), "the rest of version 1"...))
		relabel(t, h.data+"/slots/A")
		s := newShelf(t, h)
		s.deltaBeside(row.change)
		web := httptest.NewServer(s)
		defer web.Close()
		host := strings.TrimPrefix(web.URL, "http://")
		login(t, host, "device:secret")
		if row.rot {
			flipAt(t, h.data+"/slots/A/"+bundle.RootfsName, 100)
		}
		code, stderr := h.run(t.Context(), h.files, "install", "--keys", h.keys, "docker://"+host+"/kiosk:2")
		if err := h.bootable(2, "2"); code != 0 || err != nil || !strings.Contains(stderr, row.says) {
			t.Errorf("%s: exit status %d, %s, %v", name, code, stderr, err)
		}
		if full := slices.Contains(s.got, "sha256:"+payloadOf(s, bundle.RootfsName)); full != row.full {
			t.Errorf("%s: the whole root was fetched: %v, want %v", name, full, row.full)
		}
		if carried := slices.Contains(s.got, s.carried); carried != row.delta {
			t.Errorf("%s: the delta was fetched: %v, want %v", name, carried, row.delta)
		}
	}
}

func payloadOf(s *shelf, name string) string {
	for _, d := range s.artifact.Layers {
		if d.Title() == name {
			return strings.TrimPrefix(d.Digest, "sha256:")
		}
	}
	return ""
}

// TestWithoutKeysARegistryByHTTPIsWarnedAboutAsAnyServer: to a registry with a private address nobody has to ask for http.
func TestWithoutKeysARegistryByHTTPIsWarnedAboutAsAnyServer(t *testing.T) {
	for name, row := range map[string]struct {
		secure, digest, keys bool
		want                 bool
	}{
		"http": {want: true}, "https": {secure: true}, "http, by digest": {digest: true}, "http, with keys": {keys: true},
	} {
		h, _ := served(t)
		s := newShelf(t, h)
		web, args := httptest.NewServer(s), []string{"install"}
		if row.secure {
			web.Close()
			web = httptest.NewTLSServer(s)
			ca := filepath.Join(t.TempDir(), "ca.pem")
			put(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
			args = append(args, "--cacert", ca)
		}
		defer web.Close()
		if row.keys {
			args = append(args, "--keys", h.keys)
		}
		host, ref := strings.TrimPrefix(strings.TrimPrefix(web.URL, "http://"), "https://"), ":2"
		if row.digest {
			ref = "@" + bundle.Digest(s.manifest)
		}
		login(t, host, "device:secret")
		code, stderr := h.run(t.Context(), h.files, append(args, "docker://"+host+"/kiosk"+ref)...)
		if warned := strings.Contains(stderr, "http:// protects nothing"); code != 0 || warned != row.want {
			t.Errorf("%s: exit status %d, warned %v, want %v: %s", name, code, warned, row.want, stderr)
		}
	}
}
