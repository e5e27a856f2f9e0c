package fetch

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
	"syscall"
	"time"
)

// maxPause limits the pause before a repetition, whatever the server asks for.
const maxPause = time.Minute

// fatalError is an error that no repetition mends.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

func (b *Body) fatal(err error) error { return fatalError{fmt.Errorf("%s: %w", b.name, err)} }

// again waits and returns nil if the request may be repeated, or the error that ends the stream.
func (b *Body) again(err error) error {
	var fatal fatalError
	var status *StatusError
	switch {
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	case errors.As(err, &fatal):
		return fatal.error
	case errors.As(err, &status) && !passing(status.Status), status == nil && !temporary(err):
		return b.told(err)
	case b.tries >= b.patience(err):
		return fmt.Errorf("%w (%s, asked %d times)", b.told(err), b.reached(), b.tries+1)
	}
	pause := b.pause()
	b.tries++
	if b.o.Notify != nil {
		b.o.Notify(fmt.Sprintf("%v; asking again in %v", err, pause.Round(100*time.Millisecond)))
	}
	b.drop()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-timer.C:
		return nil
	}
}

// few is how often a server is asked again behind whose address nobody has answered yet: it may just be starting, but more
// often the address is wrong, and a person waits.
const few = 3

// patience is how often the request may be repeated after err.
func (b *Body) patience(err error) int {
	if !b.heard && unreachable(err) {
		return min(few, b.o.retries())
	}
	return b.o.retries()
}

// unreachable reports that nobody listens at an address, or that there is no way to it.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// told is an error with the request's name, which that of a status has already.
func (b *Body) told(err error) error {
	if status := new(StatusError); errors.As(err, &status) {
		return err
	}
	return fmt.Errorf("%s: %w", b.name, err)
}

// reached says how far the stream has come.
func (b *Body) reached() string {
	switch {
	case b.at == 0:
		return "nothing received"
	case b.size < 0:
		return fmt.Sprintf("after %d bytes", b.at)
	}
	return fmt.Sprintf("after %d of %d bytes", b.at, b.size)
}

// pause doubles with each try, a quarter more or less so that many devices do not come back at once, and is no shorter
// than the server asks for.
func (b *Body) pause() time.Duration {
	base := b.o.Pause
	if base <= 0 {
		base = 500 * time.Millisecond
	}
	wait := time.Duration(float64(base<<min(b.tries, 10)) * (0.75 + rand.Float64()/2))
	if b.resp != nil {
		wait = max(wait, retryAfter(b.resp))
	}
	return min(wait, maxPause)
}

// retryAfter is how long the server asks to wait.
func retryAfter(resp *http.Response) time.Duration {
	h := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(h); err == nil && s > 0 {
		return time.Duration(min(s, 3600)) * time.Second
	}
	if at, err := http.ParseTime(h); err == nil {
		return time.Until(at)
	}
	return 0
}

// temporary reports a failure of the network, not one of names, certificates or schemes.
func temporary(err error) bool {
	var (
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		redirect redirectError
		registry interface{ Temporary() bool } // what a library says of an answer it did not like
		machine  net.Error
	)
	switch {
	case errors.As(err, &registry) && !errors.As(err, &machine):
		return registry.Temporary()
	case errors.As(err, &dns):
		return dns.IsTimeout || dns.IsTemporary
	case errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &redirect):
		return false
	case errors.Is(err, ErrHTTP):
		return false
	case strings.Contains(err.Error(), "unsupported protocol scheme"), strings.Contains(err.Error(), "no Host in request URL"), strings.Contains(err.Error(), "stopped after 10 redirects"):
		return false
	}
	return true
}

// ErrHTTP is in the errors about a server that speaks http where https was spoken to it.
var ErrHTTP = errors.New("the server speaks plain http")

// plain takes the request off an error of package net/http, which a message names already, and the marks of an end of
// file off one that a cut line left.
func plain(err error) error {
	if u := new(url.Error); errors.As(err, &u) {
		err = u.Err
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") { // a value of package net/http that has no name
		return ErrHTTP
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was cut")
	}
	return err
}

// watchdog ends a request when its server has been silent for too long.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	idle   time.Duration
	fired  atomic.Bool
}

func newWatchdog(ctx context.Context, idle time.Duration) *watchdog {
	w := &watchdog{idle: idle}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.timer = time.AfterFunc(idle, func() { w.fired.Store(true); w.cancel() })
	return w
}

func (w *watchdog) feed() { w.timer.Reset(w.idle) }
func (w *watchdog) rest() { w.timer.Stop() }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel()
}

// cause is what ended a request, if it was the watchdog.
func (w *watchdog) cause(err error) error {
	if w.fired.Load() {
		return fmt.Errorf("the server has sent nothing for %v", w.idle)
	}
	return err
}
