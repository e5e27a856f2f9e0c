package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slotboot/slotboot/bundle"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key, and both into NAME.both.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	put(a.t, a.file(name+".pem"), public)
	put(a.t, a.file(name+".key"), private)
	put(a.t, a.file(name+".both"), append(public, private...))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// serve starts an https server with a certificate of a.
func (a *authority) serve(name string, client tls.ClientAuthType, h http.Handler) *httptest.Server {
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(h)
	web.Config.ErrorLog = quietLog()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	web.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: client, ClientCAs: pool}
	web.StartTLS()
	a.t.Cleanup(web.Close)
	return web
}

func TestServersAreBelievedByTheirAuthorityAndAskForOurs(t *testing.T) {
	h, s := served(t)
	a := newAuthority(t)
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	a.issue("server", &x509.Certificate{IPAddresses: here})
	a.issue("elsewhere", &x509.Certificate{DNSNames: []string{"elsewhere.example"}})
	a.issue("later", &x509.Certificate{IPAddresses: here, NotBefore: time.Now().Add(24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour)})
	a.issue("device", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	plain := httptest.NewServer(http.HandlerFunc(s.serve))
	defer plain.Close()
	honest := http.HandlerFunc(s.serve)
	open := a.serve("server", tls.NoClientCert, honest).URL
	strict := a.serve("server", tls.RequireAndVerifyClientCert, honest).URL
	down := a.serve("server", tls.NoClientCert, http.RedirectHandler(plain.URL, http.StatusFound)).URL
	ca := []string{"--cacert", a.file("ca.pem")}
	before := h.snapshots()
	for _, row := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"unknown authority", []string{open}, 1, "hint: --cacert FILE"},
		{"another host's certificate", append(ca, a.serve("elsewhere", tls.NoClientCert, honest).URL), 1, "127.0.0.1"},
		{"not valid yet", append(ca, a.serve("later", tls.NoClientCert, honest).URL), 1, "set its clock"},
		{"redirect to http", append(ca, down), 1, "which is not https"},
		{"no certificate of ours", append(ca, strict), 1, "certificate"},
		{"authority file that is none", []string{"--cacert", a.file("ca.key"), open}, 4, "no certificate in it"},
		{"authority file that is not there", []string{"--cacert", a.file("none"), open}, 1, "no such file"},
		{"key of another certificate", append(ca, "--cert", a.file("device.pem"), "--key", a.file("server.key"), strict), 4, "read client certificate"},
		{"https on an http port", []string{strings.Replace(plain.URL, "http", "https", 1)}, 1, "hint: the server speaks plain http"},
		{"http on an https port", []string{strings.Replace(open, "https", "http", 1)}, 1, "400 Bad Request"},
	} {
		code, stderr := h.run(t.Context(), h.files, append([]string{"install", "--keys", h.keys}, row.args...)...)
		if code != row.code || !strings.Contains(stderr, row.says) || !strings.Contains(stderr, "(nothing changed)") {
			t.Errorf("%s: exit status %d, %s, want %d and %q", row.name, code, stderr, row.code, row.says)
		}
		h.check(nothing, before)
	}
	for name, args := range map[string][]string{
		"authority":                    append(ca, open),
		"certificate and key":          append(ca, "--cert", a.file("device.pem"), "--key", a.file("device.key"), strict),
		"certificate and key together": append(ca, "--cert", a.file("device.both"), strict),
	} {
		h, s2 := served(t)
		s.data = s2.data
		if code, stderr := h.run(t.Context(), h.files, append([]string{"install", "--keys", h.keys}, args...)...); code != 0 {
			t.Errorf("%s: exit status %d: %s", name, code, stderr)
		}
	}
}

// serve NAME: a web server with the script's folder, whose first connection is cut after 50,000 bytes. Its URL is in
// the variable. It answers as a proxy, too.
func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(".")
	first := true
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first && r.Method == http.MethodGet {
			first = false
			w = &cutting{w, 50_000}
		}
		http.ServeFile(w, r, filepath.Join(dir, filepath.Clean("/"+r.URL.Path)))
	}))
	ts.Defer(web.Close)
	ts.Setenv(args[0], web.URL)
}

// shelve SET REPOSITORY TAG: files that a web server gives as a registry would.
func scriptShelve(ts *testscript.TestScript, _ bool, args []string) {
	s, err := bundle.ReadFolder(os.DirFS(ts.MkAbs(args[0])))
	ts.Check(err)
	artifact := bundle.NewArtifact(s)
	raw, err := artifact.Encode()
	ts.Check(err)
	dir := ts.MkAbs("v2/" + args[1])
	ts.Check(os.MkdirAll(dir+"/manifests", 0o755))
	ts.Check(os.MkdirAll(dir+"/blobs", 0o755))
	ts.Check(os.WriteFile(dir+"/manifests/"+args[2], raw, 0o644))
	for _, d := range artifact.Layers {
		ts.Check(os.WriteFile(dir+"/blobs/"+d.Digest, []byte(ts.ReadFile(args[0]+"/"+d.Title())), 0o644))
	}
}

// quietLog swallows what a server says of handshakes that a test makes fail.
func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }
