package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/slotboot/slotboot/bundle"
)

// registry NAME [flaky]: a registry that asks for a login, which is there, and its host in the variable. A flaky one
// answers every fifth request with 503.
func cmdRegistry(ts *testscript.TestScript, _ bool, args []string) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var n atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(args) > 1 && n.Add(1)%5 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if user, password, _ := r.BasicAuth(); user != "maker" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	ts.Defer(web.Close)
	host := strings.TrimPrefix(web.URL, "http://")
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("maker:secret")))
	ts.Check(os.MkdirAll(ts.MkAbs("login"), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs("login/config.json"), []byte(config), 0o600))
	ts.Setenv("DOCKER_CONFIG", ts.MkAbs("login"))
	ts.Setenv(args[0], host)
}

// pulled HOST/REPOSITORY TAG DIR: what a device finds there, each file under its name.
func cmdPulled(ts *testscript.TestScript, _ bool, args []string) {
	host, repo, _ := strings.Cut(args[0], "/")
	get := func(what string) []byte {
		req, err := http.NewRequest(http.MethodGet, "http://"+host+"/v2/"+repo+"/"+what, nil)
		ts.Check(err)
		req.SetBasicAuth("maker", "secret")
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		ts.Check(err)
		if resp.StatusCode != http.StatusOK {
			ts.Fatalf("GET %s: %s", what, resp.Status)
		}
		return data
	}
	tag := args[1]
	if names := strings.Split(tag, ":"); names[0] == "delta-of" { // delta-of:ROOT:MANIFEST
		m, err := bundle.ParseManifest([]byte(ts.ReadFile(names[2])))
		ts.Check(err)
		tag = bundle.DeltaTag(strings.TrimPrefix(bundle.Digest([]byte(ts.ReadFile(names[1]))), "sha256:"), m.Build)
	}
	artifact, err := bundle.ParseArtifact(get("manifests/" + tag))
	ts.Check(err)
	if config := get("blobs/" + artifact.Config.Digest); string(config) != bundle.EmptyConfig {
		ts.Fatalf("the configuration is %q", config)
	}
	ts.Check(os.MkdirAll(ts.MkAbs(args[2]), 0o755))
	for _, d := range artifact.Layers {
		data := get("blobs/" + d.Digest)
		ts.Check(d.Check(data))
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[2]), d.Title()), data, 0o644))
	}
}
