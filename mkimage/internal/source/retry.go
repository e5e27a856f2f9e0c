package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxPause limits the pause before a request is repeated, whatever the registry asks for.
const maxPause = 60 * time.Second

// errStall is the end of a request to a registry that sent nothing for Options.Stall.
type errStall time.Duration

func (e errStall) Error() string { return fmt.Sprintf("nothing received for %v", time.Duration(e)) }

// Timeout makes it a timeout in the sense of package net.
func (e errStall) Timeout() bool { return true }

// patient repeats requests that failed for a reason that may pass: a connection cut, 429 and 5xx. A request that is not
// answered and a body that does not go on end with errStall.
type patient struct {
	inner http.RoundTripper
	opt   Options
}

func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		again := req.Clone(req.Context())
		if try > 0 && req.Body != nil {
			if req.GetBody == nil {
				return nil, errors.New("request cannot be repeated")
			}
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			again.Body = body
		}
		resp, err := p.send(again)
		last := try >= p.opt.retries()
		switch {
		case err == nil && (last || !passing(resp.StatusCode)):
			return resp, nil
		case err != nil && (last || !temporary(err)):
			return nil, err
		}
		wait := pause(p.opt, try)
		if resp != nil {
			wait = max(wait, retryAfter(resp))
			io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
			resp.Body.Close()
		}
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// send does one request under a watchdog.
func (p *patient) send(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	b := &watched{stall: p.opt.stall(), cancel: cancel}
	b.dog = time.AfterFunc(b.stall, func() { b.fired.Store(true); cancel() })
	resp, err := p.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		b.dog.Stop()
		cancel()
		return nil, b.cause(err)
	}
	b.dog.Stop()
	b.ReadCloser, resp.Body = resp.Body, b
	return resp, nil
}

// watched is a body that must go on.
type watched struct {
	io.ReadCloser
	stall  time.Duration
	dog    *time.Timer // cancels the request when nothing comes
	fired  atomic.Bool
	cancel context.CancelFunc
}

func (b *watched) Read(p []byte) (int, error) {
	b.dog.Reset(b.stall)
	n, err := b.ReadCloser.Read(p)
	b.dog.Stop()
	return n, b.cause(err)
}

func (b *watched) cause(err error) error {
	if err != nil && err != io.EOF && b.fired.Load() {
		return errStall(b.stall)
	}
	return err
}

func (b *watched) Close() error {
	b.dog.Stop()
	b.cancel()
	return b.ReadCloser.Close()
}

// passing reports a status that may be another one soon.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// temporary reports a failure of the network, not one of names, certificates or the caller.
func temporary(err error) bool {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		auth x509.UnknownAuthorityError
		rec  tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &dns):
		return dns.IsTimeout || dns.IsTemporary
	case errors.As(err, &cert), errors.As(err, &auth), errors.As(err, &rec):
		return false
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return false
	}
	var op *net.OpError
	var u *url.Error
	return errors.As(err, &op) || errors.As(err, &u) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isTimeout(err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// pause is how long to wait before the request is repeated: half a second, doubled each time, a quarter more or less so that
// many machines do not come back at once.
func pause(opt Options, try int) time.Duration {
	base := opt.pause
	if base == 0 {
		base = 500 * time.Millisecond
	}
	return min(time.Duration(float64(base<<min(try, 10))*(0.75+rand.Float64()/2)), maxPause)
}

// retryAfter is how long the registry asks to wait.
func retryAfter(resp *http.Response) time.Duration {
	h := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(h); err == nil && s > 0 {
		return min(time.Duration(s)*time.Second, maxPause)
	}
	if at, err := http.ParseTime(h); err == nil {
		return min(time.Until(at), maxPause)
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
