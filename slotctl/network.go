package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/fetch"
)

// openURL opens the bundle behind an http or https URL. It streams: nothing of it is kept but in the slot.
func (a *app) openURL(ctx context.Context, address string, o sourceOptions) (*source, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, usagef("%q is no URL", address)
	}
	if u.Fragment != "" {
		return a.openPieces(ctx, u, o.id)
	}
	rt, err := carrier(o.id)
	if err != nil {
		return nil, err
	}
	body, err := fetch.Open(ctx, fetch.Client(rt), address, a.patience())
	if err != nil {
		return nil, folderHint(u, "", networkHint(err))
	}
	in := streamed{body, ctx}
	begun := download{bufio.NewReaderSize(in, 1<<20), in}
	content, sealed, err := unseal(begun, o.identity)
	if err != nil {
		body.Close()
		return nil, err
	}
	head, _ := begun.Peek(512)
	s, err := bundle.NewReader(content)
	if err == nil && !sealed && body.Size() >= 0 && body.Size() != s.Length() {
		err = notIntact{fmt.Errorf("the server has %d bytes, by its manifest the bundle has %d", body.Size(), s.Length())}
	}
	if err != nil {
		body.Close()
		return nil, folderHint(u, bundle.KindOf(head), err)
	}
	return &source{Stream: s, file: body, plain: u.Scheme == "http"}, nil
}

// folderHint adds to an error about a URL which URL was probably meant. kind is what came from there.
func folderHint(u *url.URL, kind string, err error) error {
	const wanted = "SRC is the URL of a bundle, or of the " + bundle.IndexName + " beside several"
	folder := u.Path == "" || strings.HasSuffix(u.Path, "/")
	refused := as[*fetch.StatusError](err)
	switch {
	case folder && (refused || kind != ""), kind == "a web page":
		return hinted{err, wanted + ", perhaps " + u.JoinPath(bundle.IndexName).Redacted()}
	case kind == "JSON":
		return hinted{err, "if it is the list of a release's bundles, its name must be " + bundle.IndexName}
	}
	return err
}

// carrier returns what shows servers the identity.
func carrier(id fetch.Identity) (*http.Transport, error) {
	rt, err := id.Transport()
	switch {
	case err == nil || as[*fs.PathError](err):
		return rt, err
	case id.Cert == "" && id.Key != "":
		return nil, usageError{err}
	}
	return nil, notIntact{err}
}

// patience is how a fetch waits for its server, telling a person about it.
func (a *app) patience() fetch.Options {
	o := a.fetch
	o.Notify = func(text string) { a.warn("%s", text) }
	return o
}

// streamed is a reader whose errors say what a person can do, and that ends when ctx does.
type streamed struct {
	*fetch.Body
	ctx context.Context
}

func (s streamed) Read(p []byte) (int, error) {
	n, err := s.Body.Read(p)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case s.ctx.Err() != nil:
		return n, errInterrupted
	}
	return n, networkHint(err)
}

// download is a stream with a buffer, which can pass over bytes that are not wanted without reading them.
type download struct {
	*bufio.Reader
	from streamed
}

// Skip passes over n bytes.
func (d download) Skip(n int64) error {
	here, err := d.Discard(int(min(n, int64(d.Buffered()))))
	if err != nil {
		return err
	}
	return d.from.Skip(n - int64(here))
}

// networkHint adds to an error of a connection what a person can do about it.
func networkHint(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		bad     x509.CertificateInvalidError
		roots   x509.SystemRootsError
		alert   tls.AlertError
	)
	switch {
	case errors.Is(err, fetch.ErrChanged):
		return hinted{err, "install again: from the new file"}
	case errors.As(err, &bad) && bad.Reason == x509.Expired && time.Now().Before(bad.Cert.NotBefore):
		return hinted{err, "this device believes it is " + time.Now().UTC().Format("2006-01-02") + ": set its clock"}
	case errors.As(err, &unknown), errors.As(err, &roots):
		return hinted{err, "--cacert FILE names another authority; the image may lack ca-certificates"}
	case errors.Is(err, fetch.ErrHTTP):
		return hinted{err, "the server speaks plain http: http:// or docker+http://, if that is what you want"}
	case errors.As(err, &alert):
		return hinted{err, "the server may want a client's certificate: --cert FILE --key FILE"}
	}
	return err
}
