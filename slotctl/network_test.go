package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotboot/slotboot/bundle"
)

// server is a web server that misbehaves.
type server struct {
	h    *hostile
	data []byte // the bundle

	mu       sync.Mutex
	requests []*http.Request
}

// asked notes a request and returns how many there were before it.
func (s *server) asked(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	return len(s.requests) - 1
}

// serve is an honest answer, with ranges.
func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"v2"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

// cutting passes the first n bytes of a body on and then cuts the connection.
type cutting struct {
	http.ResponseWriter
	n int
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.n)])
	if c.n -= n; c.n == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// cut is an honest server behind a line that is cut after every n bytes.
func cut(n int) func(s *server, w http.ResponseWriter, r *http.Request) {
	return func(s *server, w http.ResponseWriter, r *http.Request) { s.serve(&cutting{w, n}, r) }
}

// without serves as if the request had no such header fields.
func (s *server) without(w http.ResponseWriter, r *http.Request, fields ...string) {
	for _, f := range fields {
		r.Header.Del(f)
	}
	s.serve(w, r)
}

// cutThen cuts the first answer in the middle, and answers later requests with then.
func cutThen(then func(s *server, w http.ResponseWriter, r *http.Request)) func(s *server, w http.ResponseWriter, r *http.Request) {
	return func(s *server, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			s.serve(&cutting{w, 4000}, r)
			return
		}
		then(s, w, r)
	}
}

// chunked sends data without saying how much it is.
func chunked(data func(s *server) []byte) func(s *server, w http.ResponseWriter, r *http.Request) {
	return func(s *server, w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		w.Write(data(s))
	}
}

// promising says that the bundle has n bytes more than it has.
func promising(n int) func(s *server, w http.ResponseWriter, r *http.Request) {
	return func(s *server, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.data)+n))
		w.Write(s.data[:min(len(s.data), len(s.data)+n)])
	}
}

type serverRow struct {
	name   string
	handle func(s *server, w http.ResponseWriter, r *http.Request)
	code   int
	says   string
	left   string
}

var serverRows = []serverRow{
	{"honest", func(s *server, w http.ResponseWriter, r *http.Request) { s.serve(w, r) }, 0, "", installed},
	{"length not said", chunked(func(s *server) []byte { return s.data }), 0, "", installed},
	{"line cut again and again", cut(70_000), 0, "asking again", installed},
	{"line cut, ranges not known", func(s *server, w http.ResponseWriter, r *http.Request) {
		n := s.asked(r)
		s.without(&cutting{w, 90_000 * (n + 1)}, r, "Range")
	}, 0, "asking again", installed},
	{"line cut, ranges refused", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		if s.asked(r); r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
	}), 1, "the connection was cut", emptied}, // here the first answer is always cut
	{"busy, then honest", func(s *server, w http.ResponseWriter, r *http.Request) {
		if s.asked(r) < 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.serve(w, r)
	}, 0, "503", installed},
	{"always busy", func(s *server, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) }, 1, "502 Bad Gateway (nothing received, asked 4 times)", nothing},
	{"not there", func(s *server, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, 1, "404 Not Found", nothing},
	{"not allowed", func(s *server, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, 1, "403 Forbidden", nothing},
	{"redirects in a circle", func(s *server, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	}, 1, "stopped after 10 redirects", nothing},
	{"web page", func(s *server, w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<html><body>Please log in to this network.</body></html>")
	}, 4, "not a bundle: it is a web page", nothing},
	{"packed", func(s *server, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(s.data)
	}, 1, "it packs the file", nothing},
	{"part instead of the whole", func(s *server, w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Range", "bytes=0-5000")
		s.serve(w, r)
	}, 1, "it sends a part", nothing},
	{"silent from the start", func(s *server, w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 1, "the server has sent nothing for 300ms (nothing received", nothing},
	{"silent in the middle", func(s *server, w http.ResponseWriter, r *http.Request) {
		if s.asked(r) > 0 {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(s.data)))
		w.Write(s.data[:len(s.data)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, 1, "the server has sent nothing for 300ms (after ", emptied},
	{"a byte a connection", func(s *server, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			s.serve(&cutting{w, 4000}, r)
			return
		}
		s.serve(&cutting{w, 1}, r)
	}, 1, "the connection was cut (after 4003 of ", emptied},
	{"promises more than it has", promising(100), 4, "by its manifest the bundle has", nothing},
	{"promises less than it has", promising(-100), 4, "by its manifest the bundle has", nothing},
	{"sends too much", chunked(func(s *server) []byte { return append(bytes.Clone(s.data), 0) }), 4, "bytes behind its end", emptied},
	{"sends too little", chunked(func(s *server) []byte { return s.data[:len(s.data)-3000] }), 4, "cut short", emptied},
	{"flips a bit", func(s *server, w http.ResponseWriter, r *http.Request) {
		s.data[len(s.data)-3000] ^= 1
		s.serve(w, r)
	}, 4, "rootfs.squashfs: sha256", emptied},
	{"changed in between, by its tag", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v3"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
	}), 1, "it changed on the server while it was being read", emptied},
	{"changed in between, by its date", func(s *server, w http.ResponseWriter, r *http.Request) {
		date := time.Date(2026, 1, 1+s.asked(r), 0, 0, 0, 0, time.UTC)
		http.ServeContent(&cutting{w, 4000}, r, "", date, bytes.NewReader(s.data))
	}, 1, "it changed on the server while it was being read", emptied},
	{"changed in between, by its length", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append(bytes.Clone(s.data), 0)))
	}), 1, "now it has", emptied},
	{"shorter in between", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data[:1000]))
	}), 1, "now it has 1000", emptied},
	{"changed in between, unseen", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		other := bytes.Clone(s.data)
		other[len(other)-3000] ^= 1
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other))
	}), 4, "rootfs.squashfs: sha256", emptied},
	{"other range than asked for", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Range", "bytes=5-")
		s.serve(w, r)
	}), 1, "asked for the bytes from 4000 on", emptied},
	{"range that is none", cutThen(func(s *server, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes -1-x/3")
		w.WriteHeader(http.StatusPartialContent)
	}), 1, "asked for the bytes from 4000 on", emptied},
}

func TestAHostileServerLeavesTheRunningSlotAndNothingHalf(t *testing.T) {
	for _, row := range serverRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h, s := served(t)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { row.handle(s, w, r) }))
			defer web.Close()
			before := h.snapshots()
			code, stderr := h.run(t.Context(), h.files, "install", "--keys", h.keys, web.URL+"/v2.bundle")
			if code != row.code || !strings.Contains(stderr, row.says) {
				t.Errorf("install: exit status %d, %s, want %d and %q", code, stderr, row.code, row.says)
			}
			h.check(row.left, before)
		})
	}
}

// served is a device and a server with a signed bundle of 200 kB, more than a connection may deliver in one piece.
func served(t *testing.T) (*hostile, *server) {
	t.Helper()
	h := newHostile(t)
	if err := writeSlotSet(h.set, "2", []string{"sequence=6", "compatible=kiosk", "size=200000"}); err != nil {
		t.Fatal(err)
	}
	h.mine.sign(t, h.set)
	data, err := os.ReadFile(h.tar(nil))
	if err != nil {
		t.Fatal(err)
	}
	return h, &server{h: h, data: data}
}

func TestACutLineGoesOnWithRangesOfTheSameFile(t *testing.T) {
	h, s := served(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked(r)
		s.serve(&cutting{w, 70_000}, r)
	}))
	defer web.Close()
	if code, stderr := h.run(t.Context(), h.files, "install", "--keys", h.keys, web.URL+"/v2.bundle"); code != 0 {
		t.Fatalf("install: exit status %d: %s", code, stderr)
	}
	if want := len(s.data)/70_000 + 1; len(s.requests) != want {
		t.Errorf("%d requests for %d bytes, 70,000 a connection, want %d", len(s.requests), len(s.data), want)
	}
	for n, r := range s.requests[1:] {
		if got, want := r.Header.Get("Range"), fmt.Sprintf("bytes=%d-%d", 70_000*(n+1), len(s.data)-1); got != want || r.Header.Get("If-Range") != `"v2"` {
			t.Errorf("request %d: Range %q, If-Range %q, want %q and the tag", n+1, got, r.Header.Get("If-Range"), want)
		}
	}
}

func TestWhatTheManifestShowsIsRefusedBeforeAPayloadIsAskedFor(t *testing.T) {
	for name, row := range map[string]struct {
		edit func(h *hostile) string
		code int
	}{
		"unsigned":             {func(h *hostile) string { return h.tar(func(all []file) []file { return append(all[:1], all[2:]...) }) }, exitInvalid},
		"other product":        {func(h *hostile) string { return h.manifest(`"kiosk"`, `"gate"`).tar(nil) }, exitRefused},
		"larger than the slot": {func(h *hostile) string { return h.manifest(`"size": 5000`, `"size": 4398046511104`).tar(nil) }, exitNoSpace},
	} {
		h := newHostile(t)
		data, err := os.ReadFile(row.edit(h))
		if err != nil {
			t.Fatal(err)
		}
		head := bytes.Index(data, []byte(bundle.SlotCfgName+"\x00"))
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(data[:head+512]) // and no byte of a payload, until the device goes away
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		defer web.Close()
		before := h.snapshots()
		code, stderr := h.run(t.Context(), h.files, "install", "--keys", h.keys, web.URL)
		if code != row.code || !strings.Contains(stderr, "(nothing changed)") {
			t.Errorf("%s: exit status %d: %s, want %d", name, code, stderr, row.code)
		}
		h.check(nothing, before)
	}
}

func TestAnInterruptedDownloadLeavesTheSlotEmpty(t *testing.T) {
	h, s := served(t)
	ctx, cancel := context.WithCancel(t.Context())
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.data)))
		w.Write(s.data[:100_000])
		w.(http.Flusher).Flush()
		time.AfterFunc(50*time.Millisecond, cancel)
		<-r.Context().Done()
	}))
	defer web.Close()
	before := h.snapshots()
	if code, stderr := h.run(ctx, h.files, "install", "--keys", h.keys, web.URL); code != exitFailed || !strings.Contains(stderr, "interrupted (") {
		t.Errorf("install: exit status %d: %s", code, stderr)
	}
	if code, stderr := h.run(t.Context(), h.files, "install", "--keys", h.keys, "http://127.0.0.1:1/x"); code != exitFailed || !strings.Contains(stderr, "connection refused") {
		t.Errorf("install from nobody: exit status %d: %s", code, stderr)
	}
	if after := h.snapshots(); after["A"] != before["A"] {
		t.Error("slot A is not what it was")
	}
}
