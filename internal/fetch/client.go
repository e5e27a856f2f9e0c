package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Identity says whom a client believes and who it says it is. The zero value believes the system's certificate
// authorities and says nothing.
type Identity struct {
	CACert string // file with the certificates, PEM, of the only authorities to believe
	Cert   string // file with the client's certificate, PEM
	Key    string // file with its key, PEM; "": in Cert
}

// Transport returns what sends requests with that identity, through the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY
// name. An answer is never unpacked on the way.
func (i Identity) Transport() (*http.Transport, error) {
	config, err := i.config()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: 30 * time.Second,
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: 30 * time.Second,
	}, nil
}

func (i Identity) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if i.CACert != "" {
		pem, err := os.ReadFile(i.CACert)
		if err != nil {
			return nil, err
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read %s: no certificate in it", i.CACert)
		}
	}
	if i.Key != "" && i.Cert == "" {
		return nil, fmt.Errorf("client key %s without its certificate", i.Key)
	}
	if i.Cert != "" {
		key := i.Key
		if key == "" {
			key = i.Cert
		}
		pair, err := tls.LoadX509KeyPair(i.Cert, key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate %s: %w", i.Cert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// Client returns a client over rt that never follows a redirect from https to http.
func Client(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return redirectError{req.URL}
		}
		if len(via) >= 10 {
			return fmt.Errorf("stopped after %d redirects", len(via))
		}
		return nil
	}}
}

// redirectError is a redirect that would give up what TLS protects.
type redirectError struct{ to *url.URL }

func (e redirectError) Error() string {
	return "the server redirects to " + e.to.Redacted() + ", which is not https"
}
