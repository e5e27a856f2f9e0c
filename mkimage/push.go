package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/fetch"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/spf13/cobra"
)

func (a *app) pushCommand() *cobra.Command {
	var insecure bool
	cmd := &cobra.Command{
		Use:   "push [flags] SLOTSET|BUNDLE docker://REF",
		Short: "Put a slot set into a registry, for slotctl install",
		Long: "Put a slot set or a bundle, also one of deltas, into a container registry, its signature\n" +
			"included. Files that the registry has already are not sent again.",
		Example: "mkimage push kiosk-1.4 docker://registry.example/kiosk:1.4",
		Args:    operands("SLOTSET|BUNDLE", "docker://REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.push(cmd.Context(), args[0], args[1], insecure)
		},
	}
	cmd.Flags().BoolVar(&insecure, "insecure", false, "allow plain HTTP to the registry")
	return cmd
}

func (a *app) push(ctx context.Context, path, target string, insecure bool) error {
	text, ok := strings.CutPrefix(target, "docker://")
	if !ok {
		return usage("%q: want docker://REF", target)
	}
	var opts []name.Option
	if insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(text, opts...)
	if err != nil {
		return usage("%s: %w", target, err)
	}
	if _, ok := ref.(name.Digest); ok {
		return usage("%s: want a tag, the digest follows from the slot set", target)
	}
	s, err := a.openShipment(ctx, path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer s.close()
	up, err := a.login(ctx, ref)
	if err != nil {
		return fmt.Errorf("push to %s: %w", ref.Name(), pushHint(err, ref))
	}
	digest, err := a.send(up, s)
	if err != nil {
		return fmt.Errorf("push to %s: %w", ref.Name(), pushHint(err, ref))
	}
	fmt.Fprintf(a.out, "docker://%s@%s: version %s, build %.12s, %s sent, %s there already\n",
		ref.Context().Name(), digest, s.manifest.Version, s.manifest.Build, screen.Size(up.sent), screen.Size(up.there))
	return nil
}

// shipment is a slot set or bundle whose files, as a bundle carries them, can be read again and again.
type shipment struct {
	release
	artifact *bundle.Artifact
}

// openShipment opens what is at path and compares it with its manifest.
func (a *app) openShipment(ctx context.Context, path string) (*shipment, error) {
	s := &shipment{release: release{files: map[string]*io.SectionReader{}}}
	err := a.fillShipment(ctx, s, path)
	if err != nil {
		s.close()
		return nil, err
	}
	s.artifact = bundle.NewArtifact(&bundle.Stream{Manifest: s.manifest, Raw: s.raw, Signature: s.signature})
	return s, nil
}

func (a *app) fillShipment(ctx context.Context, s *shipment, path string) error {
	f, err := openInput(path)
	if err != nil {
		return err
	}
	s.open = append(s.open, f)
	if f.dir {
		if err := a.fillFromFolder(ctx, &s.release, path); err != nil {
			return err
		}
		if m, err := bundle.ParseManifest(s.raw); err == nil && m.Deltas() {
			return notIntact{errors.New("its manifest describes the delta that made this slot set")}
		}
		return nil
	}
	at := &position{r: f}
	in, err := bundle.NewReader(at)
	if err != nil {
		return err
	}
	s.manifest, s.raw, s.signature = in.Manifest, in.Raw, in.Signature
	m := a.meter("check", f.size)
	defer m.Done()
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		n, _ := e.Payload.Carried()
		s.files[e.Payload.Name] = io.NewSectionReader(stoppableAt{ctx, f}, at.n, n)
		if _, err := io.Copy(&stoppable{ctx, m}, e); err != nil {
			return err
		}
	}
}

// upload is a repository that slot sets are sent to, already logged in.
type upload struct {
	ref    name.Reference
	client *http.Client
	ctx    context.Context
	notify func(text string)
	sent   int64
	there  int64
}

// pushIdle ends a request to a registry that takes nothing for so long, and pushRetries is how often it is repeated.
const (
	pushIdle    = time.Minute
	pushRetries = 4
)

func (a *app) login(ctx context.Context, ref name.Reference) (*upload, error) {
	rt, err := fetch.Identity{}.Transport()
	if err != nil {
		return nil, err
	}
	rt.ResponseHeaderTimeout = pushIdle
	client, err := fetch.Login(ctx, ref.Context(), transport.PushScope, nil, rt, fetch.Options{Retries: pushRetries, Notify: a.warn})
	if err != nil {
		return nil, err
	}
	return &upload{ref: ref, client: client, ctx: ctx, notify: a.warn}, nil
}

// try calls do again while it fails for a reason that may pass.
func (u *upload) try(what string, do func(ctx context.Context) error) error {
	return fetch.Try(u.ctx, what, fetch.Options{Idle: 24 * time.Hour, Retries: pushRetries, Notify: u.notify}, func(ctx context.Context) error {
		return fetch.Answer(do(ctx))
	})
}

// send puts the blobs into the registry, and then the manifest that names them. It returns the manifest's digest.
func (a *app) send(u *upload, s *shipment) (string, error) {
	raw, err := s.artifact.Encode()
	if err != nil {
		return "", err
	}
	var total int64
	for _, d := range s.artifact.Layers {
		total += d.Size
	}
	m := a.meter("push", total)
	defer m.Done()
	for _, d := range append([]bundle.Descriptor{s.artifact.Config}, s.artifact.Layers...) {
		err := u.try("PUT "+d.Digest, func(ctx context.Context) error { return u.blob(ctx, d, s.content(d), m) })
		if err != nil {
			return "", err
		}
	}
	tags := []string{u.ref.Identifier()}
	if tag := s.manifest.DeltaTag(); tag != "" { // by which devices find it
		tags = append(tags, tag)
	}
	for _, tag := range tags {
		if err := u.try("PUT manifest", func(ctx context.Context) error { return u.tag(ctx, tag, raw) }); err != nil {
			return "", err
		}
	}
	return bundle.Digest(raw), nil
}

// tag sends the manifest of an artifact.
func (u *upload) tag(ctx context.Context, tag string, raw []byte) error {
	header := http.Header{"Content-Type": {bundle.MediaTypeOCI}}
	resp, err := u.request(ctx, http.MethodPut, u.url("manifests/"+tag), bytes.NewReader(raw), int64(len(raw)), header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got, digest := resp.Header.Get("Docker-Content-Digest"), bundle.Digest(raw); got != "" && got != digest {
		return fmt.Errorf("the registry calls it %.80q, it is %s", got, digest)
	}
	return transport.CheckError(resp, http.StatusCreated)
}

// content is the file of a blob.
func (s *shipment) content(d bundle.Descriptor) *io.SectionReader {
	var small []byte
	switch d.MediaType {
	case bundle.MediaTypeManifest:
		small = s.raw
	case bundle.MediaTypeSignature:
		small = s.signature
	case bundle.MediaTypePayload, bundle.MediaTypeDelta:
		f := s.files[d.Title()]
		return io.NewSectionReader(f, 0, f.Size())
	default:
		small = []byte(bundle.EmptyConfig)
	}
	return io.NewSectionReader(bytes.NewReader(small), 0, int64(len(small)))
}

func (u *upload) url(what string) string {
	repo := u.ref.Context()
	return fmt.Sprintf("%s://%s/v2/%s/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), what)
}

// blob sends one file, unless it is there.
func (u *upload) blob(ctx context.Context, d bundle.Descriptor, from *io.SectionReader, m *screen.Meter) error {
	resp, err := u.request(ctx, http.MethodHead, u.url("blobs/"+d.Digest), nil, 0, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		u.there += d.Size
		_, err := io.CopyN(m, from, d.Size)
		return err
	}
	resp, err = u.request(ctx, http.MethodPost, u.url("blobs/uploads/"), nil, 0, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusAccepted); err != nil {
		return err
	}
	to, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil {
		return fmt.Errorf("the registry says where to, wrongly: %w", err)
	}
	query := to.Query()
	query.Set("digest", d.Digest)
	to.RawQuery = query.Encode()
	done, err := u.put(ctx, to, d, from, m)
	if err != nil {
		return err
	}
	defer done.Body.Close()
	if err := transport.CheckError(done, http.StatusCreated); err != nil {
		return err
	}
	u.sent += d.Size
	return nil
}

// put sends the bytes, as long as the registry takes some.
func (u *upload) put(ctx context.Context, to *url.URL, d bundle.Descriptor, from *io.SectionReader, m *screen.Meter) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	dog := time.AfterFunc(pushIdle, func() { cancel(fmt.Errorf("the registry has taken nothing for %v", pushIdle)) })
	defer dog.Stop()
	body := io.TeeReader(from, kicked{dog, m})
	resp, err := u.request(ctx, http.MethodPut, to.String(), body, d.Size, http.Header{"Content-Type": {"application/octet-stream"}})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return resp, err
}

// kicked keeps a timer from running out while bytes pass.
type kicked struct {
	dog *time.Timer
	io.Writer
}

func (k kicked) Write(p []byte) (int, error) {
	k.dog.Reset(2 * pushIdle) // the answer may take a while, too
	return k.Writer.Write(p)
}

func (u *upload) request(ctx context.Context, method, to string, body io.Reader, n int64, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = n
	for k, v := range header {
		req.Header[k] = v
	}
	return u.client.Do(req)
}

// pushHint adds what a person can do about an answer of the registry.
func pushHint(err error, ref name.Reference) error {
	status := new(fetch.StatusError)
	if errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden) {
		return withHint(err, "log in first: docker login %s", ref.Context().RegistryStr())
	}
	if errors.Is(err, fetch.ErrHTTP) {
		return withHint(err, "--insecure, if it is to be plain HTTP")
	}
	return err
}
