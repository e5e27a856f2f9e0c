package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Login asks a registry how it wants to be asked, gets a token if it wants one, and returns a client for the repository.
// scope is transport.PullScope or PushScope. Who asks stands where docker login and podman login leave it, unless keys, which
// may be nil, know better.
//
// Registries that are named localhost:PORT, *.localhost, by a loopback address or by a private one (10.0.0.0/8, 172.16.0.0/12,
// 192.168.0.0/16) are asked by https, and where that is not answered, by http; Plain of what comes says which it was.
func Login(ctx context.Context, repo name.Repository, scope string, keys authn.Keychain, rt http.RoundTripper, o Options) (*http.Client, error) {
	if keys == nil {
		keys = authn.DefaultKeychain
	}
	auth, err := authn.Resolve(ctx, keys, repo)
	if err != nil {
		return nil, fmt.Errorf("find login for %s: %w", repo.RegistryStr(), err)
	}
	var t http.RoundTripper
	err = Try(ctx, fmt.Sprintf("GET %s://%s/v2/", repo.Scheme(), repo.RegistryStr()), o, func(ctx context.Context) error {
		t, err = transport.NewWithContext(ctx, repo.Registry, auth, rt, []string{repo.Scope(scope)})
		return Answer(err)
	})
	if err != nil {
		return nil, err
	}
	return Client(t), nil
}

// Answer gives an answer of a registry, which package transport has made an error of, its status, by which Try decides
// whether to ask again. Other errors it returns as they are.
func Answer(err error) error {
	te := new(transport.Error)
	if !errors.As(err, &te) || te.Request == nil {
		return err
	}
	text := fmt.Sprintf("%d %s", te.StatusCode, http.StatusText(te.StatusCode))
	if len(te.Errors) > 0 {
		text += said(string(te.Errors[0].Code), te.Errors[0].Message)
	}
	return &StatusError{te.Request.Method + " " + te.Request.URL.Redacted(), te.StatusCode, text}
}
