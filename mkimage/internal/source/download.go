package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// get returns the body of a GET in the repository, of size bytes if that is not 0. A body that is cut or stalls is asked for
// again from where it stopped.
func (s *repository) get(ctx context.Context, what string, size int64) *download {
	u := fmt.Sprintf("%s://%s/v2/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), what)
	return &download{ctx: ctx, s: s, url: u, size: size, want: s.opt.retries()}
}

// download is a body being read.
type download struct {
	ctx    context.Context
	s      *repository
	url    string
	size   int64
	at     int64
	want   int // how many times it may still be asked for again without progress
	tries  int
	body   io.ReadCloser
	header http.Header
	whole  bool // ranges do not work here
	err    error
}

func (d *download) Read(p []byte) (int, error) {
	for d.err == nil {
		n, err := d.read(p)
		var cut *cutError
		switch {
		case err == nil || err == io.EOF:
			return n, err
		case d.ctx.Err() != nil:
			d.err = d.ctx.Err()
		case !errors.As(err, &cut):
			d.err = err
		case d.tries >= d.want:
			d.err = fmt.Errorf("GET %s: cut off after %d of %d bytes, %d times: %w", d.url, d.at, d.size, d.tries+1, err)
		default:
			d.tries++
			d.err = sleep(d.ctx, pause(d.s.opt, d.tries-1))
		}
		d.close()
		if n > 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// cutError is the end of a body before its time: it may be asked for again.
type cutError struct{ error }

func (e *cutError) Unwrap() error { return e.error }

func (d *download) read(p []byte) (int, error) {
	if d.body == nil {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	n, err := d.body.Read(p)
	if d.at += int64(n); n > 0 {
		d.tries = 0
	}
	if err == io.EOF && d.size > 0 && d.at < d.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = &cutError{err}
	}
	return n, err
}

// open sends the request, from the byte at which the last one stopped.
func (d *download) open() error {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return err
	}
	if strings.Contains(d.url, "/manifests/") {
		req.Header.Set("Accept", manifestTypes)
	}
	if d.at > 0 && !d.whole {
		r := fmt.Sprintf("bytes=%d-", d.at)
		if d.size > 0 {
			r += strconv.FormatInt(d.size-1, 10) // not all servers know a range without an end
		}
		req.Header.Set("Range", r)
	}
	resp, err := d.s.client.Do(req)
	if err != nil {
		return err
	}
	d.body, d.header = resp.Body, resp.Header
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && !d.whole {
		d.whole = true
		return &cutError{errors.New("the registry refuses the range")}
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	return d.seek(resp)
}

// seek brings a new body to the byte that is wanted next.
func (d *download) seek(resp *http.Response) error {
	if resp.StatusCode == http.StatusPartialContent {
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != d.at {
			return fmt.Errorf("GET %s: asked for bytes from %d, got %q", d.url, d.at, resp.Header.Get("Content-Range"))
		}
		return nil
	}
	// The registry does not know ranges: skip what we have.
	if _, err := io.CopyN(io.Discard, d.body, d.at); err != nil {
		return &cutError{err}
	}
	return nil
}

func (d *download) close() {
	if d.body == nil {
		return
	}
	d.body.Close()
	d.body = nil
}

// Close ends the request.
func (d *download) Close() error {
	d.close()
	if d.err == nil {
		d.err = errors.New("read of a closed download")
	}
	return nil
}
