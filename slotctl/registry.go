package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/fetch"
	"github.com/slotboot/slotboot/internal/screen"
)

// repository is where a slot set is in a registry, already logged in.
type repository struct {
	name   name.Repository
	client *http.Client
	ctx    context.Context
	o      fetch.Options
	plain  bool // it answers by http, and anybody on the way could
}

// openRegistry opens a slot set that mkimage push has put into a registry. Only manifest.json counts, which may be
// signed: the payloads are the blobs of its digests, whatever else the registry says.
func (a *app) openRegistry(ctx context.Context, ref string, o sourceOptions, how ...name.Option) (*source, error) {
	r, err := name.ParseReference(ref, how...)
	if err != nil {
		return nil, usagef("docker://%s: %w", ref, err)
	}
	rt, err := carrier(o.id)
	if err != nil {
		return nil, err
	}
	client, err := fetch.Login(ctx, r.Context(), transport.PullScope, nil, rt, a.patience())
	if err != nil {
		return nil, registryHint(err, r)
	}
	repo := &repository{name: r.Context(), client: client, ctx: ctx, o: a.patience()}
	artifact, err := repo.artifact(r)
	if err != nil {
		return nil, registryHint(err, r)
	}
	raw, err := repo.small(artifact.Manifest())
	if err != nil {
		return nil, registryHint(err, r)
	}
	var signature []byte
	if d, ok := artifact.Signature(); ok {
		if signature, err = repo.small(d); err != nil {
			return nil, registryHint(err, r)
		}
	}
	beside := a.deltaBeside(repo, r, raw, o.running)
	if beside != nil {
		raw = beside
	}
	blobs := &blobs{repository: repo}
	s, err := bundle.NewStream(raw, signature, blobs.open)
	if err != nil {
		return nil, err
	}
	return &source{Stream: s, file: blobs, plain: repo.plain, beside: beside != nil}, nil
}

// deltaBeside returns the manifest of a delta that makes, of what runs here, the slot set that raw describes; nil if the
// registry has none. What it makes is the same, byte for byte, down to the manifest that is signed.
func (a *app) deltaBeside(repo *repository, ref name.Reference, raw []byte, running *bundle.Manifest) []byte {
	m, err := bundle.ParseManifest(raw)
	if err != nil || m.Deltas() || running == nil {
		return nil
	}
	root, ok := running.Payload(bundle.RootfsName)
	if !ok || running.Build == m.Build {
		return nil
	}
	artifact, err := repo.artifact(ref.Context().Tag(bundle.DeltaTag(root.SHA256, m.Build)))
	if err != nil {
		if status := (*fetch.StatusError)(nil); !errors.As(err, &status) || status.Status != http.StatusNotFound {
			a.warn("look for a delta: %v", err)
		}
		return nil
	}
	text, err := repo.small(artifact.Manifest())
	if err != nil {
		a.warn("look for a delta: %v", err)
		return nil
	}
	d, err := bundle.ParseManifest(text)
	if err != nil || !d.Deltas() {
		return nil
	}
	if whole, err := d.Whole().Encode(); err != nil || !bytes.Equal(whole, raw) {
		return nil
	}
	var carried int64
	for _, p := range d.Payloads {
		n, _ := p.Carried()
		carried += n
		if have, ok := running.Payload(p.Name); p.Delta != nil && (!ok || have.SHA256 != p.Delta.From || p.Delta.Format != delta.Format) {
			return nil
		}
	}
	a.say("taking the delta from %s, %s instead of %s", running.Version, screen.Size(carried), screen.Size(m.Size()))
	return text
}

// besideError is an error of an install from a delta that nobody has asked for.
type besideError struct{ error }

func (e besideError) Unwrap() error { return e.error }

func (r *repository) open(what string, o fetch.Options) (*fetch.Body, error) {
	return fetch.Open(r.ctx, r.client, fmt.Sprintf("%s://%s/v2/%s/%s", r.name.Scheme(), r.name.RegistryStr(), r.name.RepositoryStr(), what), o)
}

// artifact reads what the reference means.
func (r *repository) artifact(ref name.Reference) (*bundle.Artifact, error) {
	o := r.o
	o.Accept = bundle.MediaTypeOCI + ", application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
	body, err := r.open("manifests/"+ref.Identifier(), o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if _, ok := ref.(name.Digest); !ok { // a digest says itself what it must be
		r.plain = r.plain || body.Plain()
	}
	data, err := io.ReadAll(io.LimitReader(streamed{body, r.ctx}, bundle.MaxArtifact+1))
	if err != nil {
		return nil, err
	}
	if d, ok := ref.(name.Digest); ok && bundle.Digest(data) != d.DigestStr() {
		return nil, notIntact{fmt.Errorf("it is %s, want %s", bundle.Digest(data), d.DigestStr())}
	}
	a, err := bundle.ParseArtifact(data)
	if err != nil {
		return nil, hinted{err, "mkimage push puts slot sets into a registry, mkimage build makes one of a container image"}
	}
	return a, nil
}

// small reads a blob into memory.
func (r *repository) small(d bundle.Descriptor) ([]byte, error) {
	o := r.o
	o.Size = d.Size
	body, err := r.open("blobs/"+d.Digest, o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(streamed{body, r.ctx}, d.Size+1))
	if err != nil {
		return nil, err
	}
	return data, d.Check(data)
}

// blobs opens the payloads one after the other.
type blobs struct {
	*repository
	body *fetch.Body
}

func (b *blobs) open(p *bundle.Payload) (io.Reader, error) {
	if err := b.Close(); err != nil {
		return nil, err
	}
	size, digest := p.Carried()
	o := b.o
	o.Size = size
	body, err := b.repository.open("blobs/sha256:"+digest, o)
	if err != nil {
		return nil, networkHint(err)
	}
	b.body = body
	return streamed{body, b.ctx}, nil
}

func (b *blobs) Close() error {
	if b.body == nil {
		return nil
	}
	body := b.body
	b.body = nil
	return body.Close()
}

// registryHint adds to an answer of a registry what a person can do about it.
func registryHint(err error, ref name.Reference) error {
	host := ref.Context().RegistryStr()
	status := new(fetch.StatusError)
	if !errors.As(err, &status) {
		return networkHint(err)
	}
	switch status.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return hinted{err, "log in first: docker login " + host}
	case http.StatusNotFound:
		if !strings.Contains(status.Request, "/blobs/") {
			return hinted{err, "there is no " + ref.Name()}
		}
	}
	return err
}
