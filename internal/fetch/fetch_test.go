package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
