// Package fetch reads what stands behind a URL as one stream, which goes on after the line was cut.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Options say how patient a fetch is. The zero value is good.
type Options struct {
	Idle    time.Duration     // a server that sends nothing for so long is cut off; 0: 30 seconds
	Retries int               // how often in a row it may be asked again without progress; 0: 8, below 0: never
	Pause   time.Duration     // before the first repetition; it doubles, up to a minute; 0: half a second
	Accept  string            // the media types to ask for; "": any
	Size    int64             // how many bytes it must be; 0: whatever the server says
	Notify  func(text string) // told before each repetition what went wrong; may be nil
}

func (o Options) idle() time.Duration {
	if o.Idle > 0 {
		return o.Idle
	}
	return 30 * time.Second
}

func (o Options) retries() int {
	switch {
	case o.Retries < 0:
		return 0
	case o.Retries == 0:
		return 8
	}
	return o.Retries
}

// progress is how many bytes must have come before the count of repetitions begins anew: a server that gives a byte a
// connection would be asked for ever.
const progress = 64 << 10

// ErrChanged is returned when the server has another file now than when the stream began.
var ErrChanged = errors.New("it changed on the server while it was being read")

// errProtocol is an answer that HTTP does not allow, or that does not fit the ones before.
var errProtocol = errors.New("the server answers wrongly")

// Body is the stream. Its errors never wrap io.EOF or io.ErrUnexpectedEOF: a line that was cut says nothing about the
// file.
type Body struct {
	ctx    context.Context
	client *http.Client
	url    string // as asked for
	name   string // of the request, without a password, for messages
	o      Options

	resp  *http.Response
	dog   *watchdog
	at    int64
	size  int64 // -1: not known
	tag   string
	date  string
	tries int   // since there was progress
	came  int64 // bytes that have come since then
	heard bool  // the server has answered, with whatever
	whole bool  // the server does not know ranges
	err   error
}

// Open asks for url and returns its content once the server has begun to answer. ctx holds for reading it, too.
func Open(ctx context.Context, client *http.Client, url string, o Options) (*Body, error) {
	b := &Body{ctx: ctx, client: client, url: url, o: o, size: -1}
	if o.Size > 0 {
		b.size = o.Size
	}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("GET: %w", err)
	}
	b.name = "GET " + req.URL.Redacted()
	for {
		err := b.connect()
		if err == nil {
			return b, nil
		}
		if err := b.again(err); err != nil {
			return nil, err
		}
	}
}

// Try calls do until it succeeds or fails for a reason that does not pass, as Open does with requests. Each call has the
// time in which a server must say something. name is what messages call it.
func Try(ctx context.Context, name string, o Options, do func(ctx context.Context) error) error {
	b := &Body{ctx: ctx, name: name, o: o, size: -1}
	for {
		limited, cancel := context.WithTimeout(ctx, o.idle())
		err := do(limited)
		late := limited.Err() != nil
		cancel()
		if err == nil {
			return nil
		}
		if late {
			err = fmt.Errorf("the server has sent nothing for %v", o.idle())
		}
		if err := b.again(plain(err)); err != nil {
			return err
		}
	}
}

// Size returns how many bytes the stream has, -1 if the server does not say.
func (b *Body) Size() int64 { return b.size }

// Plain tells whether the answer came by http, so that anybody on the way could have changed it.
func (b *Body) Plain() bool { return b.resp == nil || b.resp.TLS == nil }

// Header returns a header field of the answer.
func (b *Body) Header(name string) string {
	if b.resp == nil {
		return ""
	}
	return b.resp.Header.Get(name)
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	for b.err == nil {
		var err error
		if b.dog == nil {
			err = b.connect()
		}
		var n int
		if err == nil {
			n, err = b.read(p)
		}
		b.at += int64(n)
		if b.came += int64(n); b.came >= progress {
			b.tries, b.came = 0, 0
		}
		switch {
		case err == nil && n == 0:
			continue
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF):
			b.err = io.EOF
		default:
			b.err = b.again(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// near is how many bytes are read over rather than asked for anew.
const near = 256 << 10

// Skip passes over n bytes: many by asking for those behind them, if the server knows ranges. It is no progress.
func (b *Body) Skip(n int64) error {
	if n < near || b.whole {
		_, err := io.CopyN(io.Discard, b, n)
		return err
	}
	b.at += n
	b.drop()
	return nil
}

// read reads from the connection that is open. io.EOF is the end of the file, nothing else.
func (b *Body) read(p []byte) (int, error) {
	b.dog.feed()
	n, err := b.resp.Body.Read(p)
	b.dog.rest()
	switch {
	case err == nil:
		if b.size >= 0 && b.at+int64(n) > b.size {
			return 0, b.fatal(fmt.Errorf("%w: it sends more than the %d bytes it has promised", errProtocol, b.size))
		}
		return n, nil
	case errors.Is(err, io.EOF) && (b.size < 0 || b.at+int64(n) == b.size):
		return n, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the connection was cut")
	default:
		err = b.dog.cause(err)
	}
	return n, err
}

// connect sends the request, for the bytes from where the last answer stopped.
func (b *Body) connect() error {
	b.drop()
	b.resp = nil
	dog := newWatchdog(b.ctx, b.o.idle())
	req, err := http.NewRequestWithContext(dog.ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return b.fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	if b.o.Accept != "" {
		req.Header.Set("Accept", b.o.Accept)
	}
	if b.at > 0 && !b.whole {
		span := fmt.Sprintf("bytes=%d-", b.at)
		if b.size > 0 { // not every server knows a range without an end
			span += strconv.FormatInt(b.size-1, 10)
		}
		req.Header.Set("Range", span)
		if v := b.validator(); v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	dog.feed()
	resp, err := b.client.Do(req)
	dog.rest()
	if err != nil {
		dog.stop()
		return plain(dog.cause(err))
	}
	b.resp, b.dog, b.heard = resp, dog, true
	if err := b.accept(resp); err != nil {
		b.drop()
		return err
	}
	return nil
}

// validator is what names this version of the file in If-Range: a strong ETag, or else its date.
func (b *Body) validator() string {
	if b.tag != "" && !strings.HasPrefix(b.tag, "W/") {
		return b.tag
	}
	return b.date
}

// accept looks at an answer, and brings its body to the byte that is wanted next.
func (b *Body) accept(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		if b.at > 0 && !b.whole {
			return b.refused(resp)
		}
		fallthrough
	default:
		b.dog.feed()
		defer b.dog.rest()
		return &StatusError{b.name, resp.StatusCode, resp.Status + problem(resp.Body)}
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return b.fatal(fmt.Errorf("%w: it packs the file with %.40q", errProtocol, enc))
	}
	if b.at == 0 {
		if resp.StatusCode == http.StatusPartialContent {
			return b.fatal(fmt.Errorf("%w: it sends a part, asked for the whole", errProtocol))
		}
		return b.first(resp)
	}
	if err := b.sameFile(resp); err != nil {
		return err
	}
	if resp.StatusCode == http.StatusPartialContent {
		return nil
	}
	b.whole = true
	return b.skip()
}

// first notes what the first answer says of the file.
func (b *Body) first(resp *http.Response) error {
	if n := resp.ContentLength; n >= 0 {
		if b.o.Size > 0 && n != b.o.Size {
			return b.fatal(fmt.Errorf("%w: it has %d bytes, want %d", errProtocol, n, b.o.Size))
		}
		b.size = n
	}
	b.tag, b.date = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	return nil
}

// sameFile compares a later answer with the first.
func (b *Body) sameFile(resp *http.Response) error {
	if tag := resp.Header.Get("ETag"); tag != b.tag && tag != "" && b.tag != "" {
		return b.fatal(ErrChanged)
	}
	if date := resp.Header.Get("Last-Modified"); date != b.date && date != "" && b.date != "" {
		return b.fatal(ErrChanged)
	}
	total := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		from, whole, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || from != b.at {
			return b.fatal(fmt.Errorf("%w: asked for the bytes from %d on, it sends %.60q", errProtocol, b.at, resp.Header.Get("Content-Range")))
		}
		total = whole
	}
	if total >= 0 && b.size >= 0 && total != b.size {
		return b.fatal(fmt.Errorf("%w: it had %d bytes, now it has %d", ErrChanged, b.size, total))
	}
	if b.size < 0 {
		b.size = total
	}
	return nil
}

// refused is the answer of a server that has no byte where the next one should be.
func (b *Body) refused(resp *http.Response) error {
	if size, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes */"); ok && b.size >= 0 && size != strconv.FormatInt(b.size, 10) {
		return b.fatal(fmt.Errorf("%w: it had %d bytes, now it has %.20s", ErrChanged, b.size, size))
	}
	b.whole = true
	return errors.New("the server refuses the range")
}

// contentRange reads "bytes 5-9/10"; whole is -1 for a star.
func contentRange(text string) (from, whole int64, ok bool) {
	span, size, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	first, last, ok2 := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !ok2 || err != nil || err2 != nil || from < 0 || end < from {
		return 0, 0, false
	}
	if size == "*" {
		return from, -1, true
	}
	whole, err = strconv.ParseInt(size, 10, 64)
	return from, whole, err == nil && end < whole
}

// skip reads over what has been read before, from a server that does not know ranges.
func (b *Body) skip() error {
	buf := make([]byte, 64<<10)
	for left := b.at; left > 0; {
		b.dog.feed()
		n, err := b.resp.Body.Read(buf[:min(int64(len(buf)), left)])
		b.dog.rest()
		if left -= int64(n); err != nil && left > 0 {
			return plain(b.dog.cause(err))
		}
	}
	return nil
}

// drop ends the connection, if there is one.
func (b *Body) drop() {
	if b.dog != nil {
		b.dog.stop()
		b.resp.Body.Close()
		b.dog = nil
	}
}

// Close ends the stream.
func (b *Body) Close() error {
	b.drop()
	if b.err == nil {
		b.err = errors.New("read of a closed stream")
	}
	return nil
}
