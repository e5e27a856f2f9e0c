package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/slotboot/slotboot/internal/fetch"
)

// manifestTypes is what the registry may answer a manifest request with.
var manifestTypes = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

// repository is the store of one repository, already logged in.
type repository struct {
	client *http.Client
	repo   name.Repository
	o      fetch.Options
	plain  bool // a tag was asked for by http
}

func openRegistry(ctx context.Context, ref string, opt Options) (*Image, error) {
	var nameOpts []name.Option
	if opt.Insecure {
		nameOpts = append(nameOpts, name.Insecure)
	}
	r, err := name.ParseReference(ref, nameOpts...)
	if err != nil {
		return nil, fmt.Errorf("reference %q: %w", ref, err)
	}
	want, err := parsePlatform(opt.Platform)
	if err != nil {
		return nil, err
	}
	s, err := login(ctx, r.Context(), opt)
	if err != nil {
		return nil, explain(err, r)
	}
	root, err := s.head(ctx, r)
	if err != nil {
		return nil, explain(err, r)
	}
	if s.plain {
		warnOfHTTP(r, opt)
	}
	c, err := choose(ctx, s, []descriptor{root}, want)
	if err != nil {
		return nil, explain(err, r)
	}
	img, err := imageFrom(ctx, s, c, opt)
	if err != nil {
		return nil, err
	}
	img.Kind, img.Ref = "docker", ref
	return img, nil
}

// warnOfHTTP tells of a registry that answers by http alone, unless that was asked for or nobody is on the way.
func warnOfHTTP(r name.Reference, opt Options) {
	if host := r.Context().RegistryStr(); !opt.Insecure && !loopback(host) {
		opt.warn("registry %s answers by http alone: anybody on the way can change what %s is; docker://%s@sha256:... says which image it must be", host, r.Identifier(), r.Context().Name())
	}
}

// loopback tells whether a registry is on this machine.
func loopback(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// login asks the registry how it wants to be asked and gets a token if needed.
func login(ctx context.Context, repo name.Repository, opt Options) (*repository, error) {
	rt, err := fetch.Identity{}.Transport()
	if err != nil {
		return nil, err
	}
	o := opt.Fetch
	o.Retries = cmp.Or(o.Retries, 4) // a person or a pipeline waits
	o.Notify = func(text string) { opt.warn("%s", text) }
	client, err := fetch.Login(ctx, repo, transport.PullScope, opt.Keychain, rt, o)
	if err != nil {
		return nil, err
	}
	return &repository{client: client, repo: repo, o: o}, nil
}

// get returns the body of a GET in the repository, of size bytes if that is not 0. One that is cut or stalls is asked for
// again from where it stopped.
func (s *repository) get(ctx context.Context, what, accept string, size int64) (*fetch.Body, error) {
	o := s.o
	o.Accept, o.Size = accept, size
	return fetch.Open(ctx, s.client, fmt.Sprintf("%s://%s/v2/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), what), o)
}

// head returns the descriptor of what the reference means. The manifest is read for it, because not every registry answers
// HEAD, and its digest is computed here: the one in the header is only compared.
func (s *repository) head(ctx context.Context, ref name.Reference) (descriptor, error) {
	if d, ok := ref.(name.Digest); ok {
		return descriptor{Digest: d.DigestStr()}, nil
	}
	r, err := s.get(ctx, "manifests/"+ref.Identifier(), manifestTypes, 0)
	if err != nil {
		return descriptor{}, err
	}
	defer r.Close()
	s.plain = r.Plain()
	b, err := io.ReadAll(io.LimitReader(r, maxDocument))
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: r.Header("Content-Type"), Digest: digestOf(b), Size: int64(len(b))}
	if got := r.Header("Docker-Content-Digest"); strings.HasPrefix(got, "sha256:") && got != d.Digest {
		return descriptor{}, fmt.Errorf("%w: manifest is %s, the registry calls it %s", ErrCorrupt, d.Digest, got)
	}
	return d, nil
}

func (s *repository) manifest(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	return s.get(ctx, "manifests/"+d.Digest, manifestTypes, d.Size)
}

func (s *repository) blob(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	return s.get(ctx, "blobs/"+d.Digest, "", d.Size)
}

// explain adds what a person can do about an answer of the registry.
func explain(err error, ref name.Reference) error {
	host := ref.Context().RegistryStr()
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrCorrupt) || Hint(err) != "" {
		return err
	}
	err = fmt.Errorf("registry %s: %w", host, err)
	if errors.Is(err, fetch.ErrHTTP) {
		return withHint(err, "--insecure, if it is to be plain HTTP")
	}
	status := new(fetch.StatusError)
	if !errors.As(err, &status) {
		return err
	}
	switch status.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return withHint(err, "if the image exists and is private, log in first: docker login %s", host)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case http.StatusTooManyRequests:
		return withHint(err, "the registry limits how often you may ask: wait, or log in first: docker login %s", host)
	}
	return err
}
