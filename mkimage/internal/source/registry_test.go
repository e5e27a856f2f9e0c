package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/slotboot/slotboot/internal/fetch"
)

// newRegistry starts a registry with wrap in front of it and pushes the image root, and everything it needs, as test/img:v1.
func newRegistry(t *testing.T, s blobs, root descriptor, wrap func(http.Handler) http.Handler) (host string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // never this machine's logins
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	put := func(path, query, mediaType string, b []byte, method string) {
		req := httptest.NewRequest(method, path+query, strings.NewReader(string(b)))
		req.Header.Set("Content-Type", mediaType)
		w := httptest.NewRecorder()
		inner.ServeHTTP(w, req)
		if w.Code >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	var manifests []descriptor
	for name, b := range s {
		digest, ok := strings.CutPrefix(name, "blobs/sha256/")
		if !ok {
			continue
		}
		digest = "sha256:" + digest
		put("/v2/test/img/blobs/uploads/", "?digest="+digest, "application/octet-stream", b, http.MethodPost)
		if doc, err := parseDocument(b, ""); err == nil {
			d := descriptor{MediaType: doc.MediaType, Digest: digest}
			if doc.isIndex() {
				manifests = append(manifests, d)
			} else {
				manifests = append([]descriptor{d}, manifests...)
			}
		}
	}
	for range 2 { // an index is only taken after what is in it
		for _, d := range manifests {
			if d.Digest != root.Digest {
				put("/v2/test/img/manifests/"+d.Digest, "", d.MediaType, s[blobName(d.Digest)], http.MethodPut)
			}
		}
	}
	put("/v2/test/img/manifests/v1", "", root.MediaType, s[blobName(root.Digest)], http.MethodPut)
	h := http.Handler(inner)
	if wrap != nil {
		h = wrap(inner)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// quick makes failures fast, but not so fast that a busy machine looks like one.
var quick = Options{Fetch: fetch.Options{Idle: time.Minute, Retries: 3, Pause: 5 * time.Millisecond}}

func bigLayer(tb testing.TB, n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%08x", uint32(i)*2654435761)
	}
	return tarOf(tb, "big", b.String())
}

func TestRegistryGivesTheLayersOfTheImage(t *testing.T) {
	s := blobs{}
	one, two := bigLayer(t, 10000), tarOf(t, "two", "2")
	d := s.image("linux/amd64", gzipped, one, two)
	host := newRegistry(t, s, d, nil)
	for _, ref := range []string{host + "/test/img:v1", host + "/test/img@" + d.Digest, host + "/test/img:v1@" + d.Digest} {
		var done, total int64
		opt := quick
		opt.Progress = func(d, t int64) { done, total = d, t }
		img, layers, err := read(t, "docker://"+ref, opt)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]byte{one, two}, layers); diff != "" {
			t.Errorf("%s: layers: %s", ref, diff)
		}
		if img.ManifestDigest != d.Digest || img.Source() != "docker://"+ref {
			t.Errorf("%s: manifest %s, source %s, want %s", ref, img.ManifestDigest, img.Source(), d.Digest)
		}
		if done != total || total != int64(len(gzipped(one))+len(gzipped(two))) {
			t.Errorf("%s: progress ended at %d of %d", ref, done, total)
		}
	}
}

func TestRegistryChoosesThePlatformInNestedIndexes(t *testing.T) {
	s := blobs{}
	amd, arm := s.image("linux/amd64", gzipped, tarOf(t, "amd", "")), s.image("linux/arm64/v8", gzipped, tarOf(t, "arm", ""))
	proof := s.image("unknown/unknown", plain, tarOf(t, "proof", ""))
	proof.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	root := s.nested(s.nested(amd, proof), s.nested(arm, proof))
	host := newRegistry(t, s, root, nil)
	for p, want := range map[string]descriptor{"linux/amd64": amd, "linux/arm64": arm, "linux/arm64/v8": arm, "arm64": arm} {
		opt := quick
		opt.Platform = p
		img, _, err := read(t, "docker://"+host+"/test/img:v1", opt)
		if err != nil {
			t.Errorf("%s: %v", p, err)
		} else if img.ManifestDigest != want.Digest {
			t.Errorf("%s: chose %s for %s, want %s", p, img.ManifestDigest, img.Platform(), want.Digest)
		}
	}
}

// guarded asks for a login: basic, or with a token as Docker Hub does.
func guarded(bearer bool, user, password string) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, p, basic := r.BasicAuth()
			known := basic && u == user && p == password
			switch {
			case bearer && r.URL.Path == "/token":
				if !known {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if scope := r.URL.Query().Get("scope"); scope != "repository:test/img:pull" {
					http.Error(w, "scope "+scope, http.StatusBadRequest)
					return
				}
				fmt.Fprint(w, `{"token":"secret"}`)
				return
			case bearer && r.Header.Get("Authorization") == "Bearer secret", !bearer && known:
				h.ServeHTTP(w, r)
				return
			}
			challenge := `Basic realm="x"`
			if bearer {
				challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host)
			}
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		})
	}
}

func TestRegistryLoginComesFromTheDockerConfiguration(t *testing.T) {
	for _, kind := range []string{"basic", "bearer", "helper"} {
		t.Run(kind, func(t *testing.T) {
			s := blobs{}
			d := s.image("linux/amd64", gzipped, tarOf(t, "a", "a"))
			host := newRegistry(t, s, d, guarded(kind != "basic", "joe", "pw"))
			_, _, err := read(t, "docker://"+host+"/test/img:v1", quick)
			if err == nil || !strings.Contains(Hint(err), "docker login "+host) {
				t.Errorf("without a login: %v, hint %q; want a hint to log in", err, Hint(err))
			}
			conf := fmt.Sprintf(`{"auths":{%q:{"username":"joe","password":"pw","auth":"am9lOnB3"}}}`, host)
			if kind == "helper" {
				bin := t.TempDir()
				script := "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"x\",\"Username\":\"joe\",\"Secret\":\"pw\"}'\n"
				if err := os.WriteFile(filepath.Join(bin, "docker-credential-fake"), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
				t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
				conf = fmt.Sprintf(`{"credHelpers":{%q:"fake"}}`, host)
			}
			if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := read(t, "docker://"+host+"/test/img:v1", quick); err != nil {
				t.Errorf("with the login: %v", err)
			}
		})
	}
}

// cutter sends only so many bytes of each blob request, then closes the connection.
func cutter(bytes int, ranges bool, first func() bool) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				h.ServeHTTP(w, r)
				return
			}
			if !ranges {
				r.Header.Del("Range")
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			b := rec.Body.Bytes()
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			w.WriteHeader(rec.Code)
			if len(b) <= bytes || !first() {
				w.Write(b)
				return
			}
			w.Write(b[:bytes])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
	}
}

func TestDownloadGoesOnWhereAFlakyProxyCutIt(t *testing.T) {
	always := func() bool { return true }
	var n atomic.Int32
	twice := func() bool { return n.Add(1) <= 2 }
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"each body cut after 30000 bytes, ranges": cutter(30000, true, always),
		"two bodies cut, no ranges":               cutter(30000, false, twice),
	} {
		t.Run(name, func(t *testing.T) {
			s := blobs{}
			big := bigLayer(t, 12000)
			host := newRegistry(t, s, s.image("linux/amd64", plain, big), wrap)
			_, layers, err := read(t, "docker://"+host+"/test/img:v1", quick)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]byte{big}, layers); diff != "" {
				t.Error("layer differs")
			}
		})
	}
}

func TestRangeThatWasNotAskedForIsRefused(t *testing.T) {
	cut := cutter(20000, true, func() bool { return true })
	wrap := func(h http.Handler) http.Handler {
		cutting := cut(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=2"); ok {
				r.Header.Set("Range", "bytes=1"+from)
			}
			cutting.ServeHTTP(w, r)
		})
	}
	s := blobs{}
	host := newRegistry(t, s, s.image("linux/amd64", plain, bigLayer(t, 12000)), wrap)
	if _, _, err := read(t, "docker://"+host+"/test/img:v1", quick); err == nil || !strings.Contains(err.Error(), `asked for the bytes from 20000 on, it sends "bytes 10000-`) {
		t.Errorf("a range from 10000 for 20000: %v; want an error that names both", err)
	}
}

// failing answers with status to the first n requests that match.
func failing(match string, status, n int, seen *atomic.Int32) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, match) || int(seen.Add(1)) > n {
				h.ServeHTTP(w, r)
				return
			}
			if status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "0")
			}
			w.WriteHeader(status)
		})
	}
}

func TestRegistryIsAskedAgainWhenItsAnswerMayChange(t *testing.T) {
	for _, match := range []string{"/v2/", "/manifests/", "/blobs/"} {
		for _, status := range []int{429, 500, 502, 503, 504} {
			var seen atomic.Int32
			s := blobs{}
			host := newRegistry(t, s, s.image("linux/amd64", gzipped, tarOf(t, "a", "a")), failing(match, status, 2, &seen))
			if _, _, err := read(t, "docker://"+host+"/test/img:v1", quick); err != nil {
				t.Errorf("%d twice at %s: %v", status, match, err)
			}
		}
	}
}

func TestRegistryErrorsSayWhatHappened(t *testing.T) {
	hang := func(match string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, match) {
					<-r.Context().Done()
					return
				}
				h.ServeHTTP(w, r)
			})
		}
	}
	var many atomic.Int32
	for name, tc := range map[string]struct {
		wrap func(http.Handler) http.Handler
		ref  string
		want string
		hint string
	}{
		"401":          {guarded(false, "a", "b"), "/test/img:v1", "UNAUTHORIZED", "docker login"},
		"404 tag":      {nil, "/test/img:v2", "not found", ""},
		"404 name":     {nil, "/no/such:v1", "not found", ""},
		"404 blob":     {failing("/blobs/", 404, 1000, &many), "/test/img:v1", "404", ""},
		"429":          {failing("/manifests/", 429, 1000, &many), "/test/img:v1", "429", "wait"},
		"500":          {failing("/manifests/", 500, 1000, &many), "/test/img:v1", "500", ""},
		"hang ping":    {hang("/v2/"), "/test/img:v1", "the server has sent nothing for 100ms", ""},
		"hang":         {hang("/manifests/"), "/test/img:v1", "the server has sent nothing for 100ms", ""},
		"hang blob":    {hang("/blobs/"), "/test/img:v1", "the server has sent nothing for 100ms", ""},
		"cut for good": {cutter(100, false, func() bool { return true }), "/test/img:v1", "the connection was cut (after 100 of", ""},
		"bad name":     {nil, "/UPPER:v1", "reference", ""},
	} {
		t.Run(name, func(t *testing.T) {
			many.Store(0)
			s := blobs{}
			host := newRegistry(t, s, s.image("linux/amd64", plain, tarOf(t, "a", "a")), tc.wrap)
			opt := quick
			if strings.HasPrefix(name, "hang") {
				opt.Fetch.Idle = 100 * time.Millisecond
			}
			_, _, err := read(t, "docker://"+host+tc.ref, opt)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(Hint(err), tc.hint) {
				t.Errorf("error %v, hint %q; want %q, hint %q", err, Hint(err), tc.want, tc.hint)
			}
		})
	}
}

func TestRegistryThatSendsOtherBytesIsRefused(t *testing.T) {
	flip := func(match string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				b := rec.Body.Bytes()
				if strings.Contains(r.URL.Path, match) && len(b) > 0 {
					b[len(b)/2] ^= 1
				}
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.WriteHeader(rec.Code)
				w.Write(b)
			})
		}
	}
	for _, match := range []string{"/blobs/", "/manifests/"} {
		s := blobs{}
		host := newRegistry(t, s, s.image("linux/amd64", gzipped, bigLayer(t, 100)), flip(match))
		if _, _, err := read(t, "docker://"+host+"/test/img:v1", quick); !errors.Is(err, ErrCorrupt) {
			t.Errorf("one bit of %s flipped: %v, want ErrCorrupt", match, err)
		}
	}
}

func TestCancelEndsARequest(t *testing.T) {
	s := blobs{}
	ctx, cancel := context.WithCancel(t.Context())
	host := newRegistry(t, s, s.image("linux/amd64", plain, tarOf(t, "a", "a")), func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				cancel()
				<-r.Context().Done()
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	if _, err := Open(ctx, "docker://"+host+"/test/img:v1", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a canceled context: %v, want %v", err, context.Canceled)
	}
}

func TestOnlyRegistriesOfThisMachineAreAskedByHTTPInSilence(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost:5000": true, "127.0.0.1": true, "127.0.0.2:5000": true, "[::1]:5000": true, "a.localhost:80": true,
		"10.0.0.5:5000": false, "registry.example": false, "192.168.1.2": false, "localhost.example:1": false,
	} {
		if got := loopback(host); got != want {
			t.Errorf("loopback(%s) = %v, want %v", host, got, want)
		}
	}
	for _, row := range []struct {
		ref      string
		insecure bool
		want     bool
	}{{"10.1.2.3:5000/img:v1", false, true}, {"10.1.2.3:5000/img:v1", true, false}, {"127.0.0.1:5000/img:v1", false, false}} {
		r, err := name.ParseReference(row.ref)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		warnOfHTTP(r, Options{Insecure: row.insecure, Warn: func(text string) { said += text }})
		if got := strings.Contains(said, "answers by http alone"); got != row.want {
			t.Errorf("%s, insecure %v: said %q, want a warning: %v", row.ref, row.insecure, said, row.want)
		}
	}
	s := blobs{}
	host := newRegistry(t, s, s.image("linux/amd64", plain, tarOf(t, "a", "a")), nil)
	for ref, want := range map[string]bool{":v1": true, "@" + s.image("linux/amd64", plain, tarOf(t, "a", "a")).Digest: false} {
		r, err := name.ParseReference(host + "/test/img" + ref)
		if err != nil {
			t.Fatal(err)
		}
		repo, err := login(t.Context(), r.Context(), quick)
		if err == nil {
			_, err = repo.head(t.Context(), r)
		}
		if err != nil || repo.plain != want {
			t.Errorf("%s by http: plain %v, %v, want %v", ref, repo.plain, err, want)
		}
	}
}
