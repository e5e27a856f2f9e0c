package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestARangeIsReadOnlyAsItIsWritten(t *testing.T) {
	for text, want := range map[string]struct {
		from, whole int64
		ok          bool
	}{
		"bytes 5-9/10": {5, 10, true}, "bytes 0-0/1": {0, 1, true}, "bytes 5-9/*": {5, -1, true},
		"": {}, "bytes */10": {}, "bytes 9-5/10": {}, "bytes 5-10/10": {}, "bytes -1-3/10": {}, "bytes 5-9": {},
		"bytes 5-9/99999999999999999999": {}, "lines 5-9/10": {},
	} {
		if from, whole, ok := contentRange(text); ok != want.ok || ok && (from != want.from || whole != want.whole) {
			t.Errorf("contentRange(%q) = %d, %d, %v, want %+v", text, from, whole, ok, want)
		}
	}
}

func TestTheServerSaysHowLongToWaitUpToAMinute(t *testing.T) {
	b := &Body{o: Options{Pause: time.Second}}
	for header, want := range map[string][2]time.Duration{
		"": {750 * time.Millisecond, 1250 * time.Millisecond}, "20": {20 * time.Second, 20 * time.Second}, "9999": {maxPause, maxPause},
		"rubbish": {750 * time.Millisecond, 1250 * time.Millisecond}, "Mon, 02 Jan 2006 15:04:05 GMT": {750 * time.Millisecond, 1250 * time.Millisecond},
	} {
		b.resp = &http.Response{Header: http.Header{"Retry-After": {header}}}
		if got := b.pause(); got < want[0] || got > want[1] {
			t.Errorf("pause after Retry-After %q = %v, want %v to %v", header, got, want[0], want[1])
		}
	}
	b.resp = nil
	for b.tries = range 40 {
		if got := b.pause(); got <= 0 || got > maxPause {
			t.Errorf("pause before try %d = %v", b.tries+1, got)
		}
	}
}

// TestACutLineIsNeverTakenForTheEndOfTheFile: a reader above would blame the file.
func TestACutLineIsNeverTakenForTheEndOfTheFile(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		if r.Header.Get("Range") == "" {
			io.WriteString(w, strings.Repeat("x", 50))
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	}))
	defer web.Close()
	var told []string
	b, err := Open(t.Context(), Client(http.DefaultTransport), web.URL, Options{Retries: 2, Pause: time.Millisecond, Notify: func(s string) { told = append(told, s) }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if len(got) != 50 || err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "after 50 of 100 bytes, asked 3 times") {
		t.Errorf("read: %d bytes, %v, want 50 and an error that is no end of file", len(got), err)
	}
	if len(told) != 2 {
		t.Errorf("told %q, want two repetitions", told)
	}
	if _, again := b.Read(make([]byte, 1)); again != err {
		t.Errorf("read behind the error: %v, want %v still", again, err)
	}
}

func TestTryGivesUpOnWhatDoesNotPass(t *testing.T) {
	for _, row := range []struct {
		err  error
		want int
	}{
		{errors.New("connection refused"), 3}, {&StatusError{Status: 503, Text: "busy"}, 3}, {&StatusError{Status: 401, Text: "no"}, 1}, {nil, 1},
	} {
		n := 0
		err := Try(t.Context(), "x", Options{Retries: 2, Pause: time.Millisecond}, func(context.Context) error { n++; return row.err })
		if n != row.want || (err == nil) != (row.err == nil) {
			t.Errorf("Try of %v: asked %d times, %v, want %d", row.err, n, err, row.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Try(ctx, "x", Options{}, func(context.Context) error { return errors.New("cut") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Try once interrupted: %v", err)
	}
}

// TestAnAddressBehindWhichNobodyListensIsAskedFewTimes: an address behind which nobody listens is a matter of seconds, a line that was cut is not.
func TestAnAddressBehindWhichNobodyListensIsAskedFewTimes(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	dead := web.URL
	web.Close()
	asked := 0
	o := Options{Pause: time.Millisecond, Notify: func(string) { asked++ }}
	_, err := Open(t.Context(), Client(http.DefaultTransport), dead+"/x", o)
	if err == nil || !strings.Contains(err.Error(), "connection refused (nothing received, asked 4 times)") || !strings.Contains(err.Error(), strings.TrimPrefix(dead, "http://")) || asked != few {
		t.Errorf("Open of a dead port = %v, asked again %d times, want its address, the cause and %d", err, asked, few)
	}
	for cause, want := range map[error]int{syscall.ECONNREFUSED: few, syscall.EHOSTUNREACH: few, syscall.ENETUNREACH: few, syscall.ECONNRESET: 8, errors.New("x"): 8} {
		n := -1
		Try(t.Context(), "x", Options{Pause: time.Microsecond}, func(context.Context) error {
			n++
			return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", cause)}
		})
		if n != want {
			t.Errorf("Try of %v: asked again %d times, want %d", cause, n, want)
		}
	}
}

func TestAServerThatWasThereIsWaitedFor(t *testing.T) {
	const size = 100
	var web *httptest.Server
	web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		io.WriteString(w, strings.Repeat("x", size/2))
		w.(http.Flusher).Flush()
		web.Listener.Close() // it restarts, and nobody listens meanwhile
		panic(http.ErrAbortHandler)
	}))
	defer web.Close()
	b, err := Open(t.Context(), Client(&http.Transport{}), web.URL, Options{Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := io.ReadAll(b); err == nil || !strings.Contains(err.Error(), "asked 9 times") {
		t.Errorf("read from a server that is gone: %v, want 9 tries", err)
	}
}

// spotty serves size bytes, of which each connection gives n.
func spotty(t *testing.T, size int, n int64, asked *int) string {
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		http.ServeContent(&short{w, n}, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// short is a connection that ends behind n bytes of a body.
type short struct {
	http.ResponseWriter
	n int64
}

func (s *short) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p[:min(int64(len(p)), s.n)])
	if s.n -= int64(n); s.n == 0 {
		s.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// TestManySmallRangesOverABadLineCountAsProgress: what is skipped is none, what comes is.
func TestManySmallRangesOverABadLineCountAsProgress(t *testing.T) {
	const piece, gap, count = 20 << 10, near, 40
	asked := 0
	url := spotty(t, count*(piece+gap), 15<<10, &asked) // each range is cut once
	b, err := Open(t.Context(), Client(&http.Transport{}), url, Options{Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	buf := make([]byte, piece)
	for n := range count {
		if _, err := io.ReadFull(b, buf); err != nil {
			t.Fatalf("range %d after %d requests: %v", n, asked, err)
		}
		if err := b.Skip(gap); err != nil {
			t.Fatal(err)
		}
	}
	if asked < 2*count {
		t.Errorf("%d requests: this test cuts nothing", asked)
	}
}

func TestAByteATryHoldsNobodyForEver(t *testing.T) {
	asked := 0
	url := spotty(t, 4<<20, 1, &asked)
	b, err := Open(t.Context(), Client(&http.Transport{}), url, Options{Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for err == nil { // a byte, and on to the next range
		if _, err = io.ReadFull(b, make([]byte, 2)); err == nil {
			err = b.Skip(near)
		}
	}
	if !strings.Contains(err.Error(), "asked 9 times") || asked > 20 {
		t.Errorf("after %d requests: %v, want an end after 9 tries", asked, err)
	}
}

// TestAServerWithoutRangesIsReadOnceHoweverOftenItIsSkipped: to ask it again would bring the whole file each time.
func TestAServerWithoutRangesIsReadOnceHoweverOftenItIsSkipped(t *testing.T) {
	const size = 4 << 20
	asked := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Write(make([]byte, size))
	}))
	defer web.Close()
	b, err := Open(t.Context(), Client(&http.Transport{}), web.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for range 8 {
		if err := b.Skip(near); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if asked > 2 {
		t.Errorf("%d requests, want the first, and one that shows that ranges are not known", asked)
	}
}

func TestARegistrysOwnWordsAreInTheError(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}`)
	}))
	defer web.Close()
	_, err := Open(t.Context(), Client(http.DefaultTransport), web.URL, Options{})
	if err == nil || !strings.HasSuffix(err.Error(), "404 Not Found: NAME_UNKNOWN, no such repository") {
		t.Errorf("Open = %v, want what the registry says", err)
	}
}

func TestAServerThatSpeaksHTTPIsToldAtOnce(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	again := 0
	_, err := Open(t.Context(), Client(http.DefaultTransport), strings.Replace(web.URL, "http", "https", 1), Options{Notify: func(string) { again++ }})
	if !errors.Is(err, ErrHTTP) || again != 0 {
		t.Errorf("Open by https of a server that speaks http = %v, asked again %d times, want ErrHTTP at once", err, again)
	}
}
