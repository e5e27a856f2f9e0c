package source

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// maxDocument limits manifests, indexes and configurations. Registries refuse manifests over 4 MiB; configurations carry
// the build history and may be larger.
const maxDocument = 16 << 20

// descriptor points to a blob. OCI image spec, "Content descriptors".
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     *platform         `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	URLs         []string          `json:"urls,omitempty"`
}

// attestation reports an entry that describes another one and is no image: provenance and bills of materials of buildkit.
func (d descriptor) attestation() bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.unknown()
}

// tag returns the name that an index gives the entry.
func (d descriptor) tag() string {
	if t := d.Annotations["org.opencontainers.image.ref.name"]; t != "" {
		return t
	}
	return d.Annotations["io.containerd.image.name"]
}

// document is an index or a manifest: which of the two shows in the fields that are set.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Manifests     []descriptor    `json:"manifests"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

func parseDocument(b []byte, mediaType string) (*document, error) {
	var doc document
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%w: manifest is not JSON: %w", ErrCorrupt, err)
	}
	switch {
	case doc.SchemaVersion == 1 || doc.FSLayers != nil || strings.HasPrefix(mediaType, "application/vnd.docker.distribution.manifest.v1+"):
		return nil, withHint(errors.New("the manifest is docker schema 1, which names no configuration and is not supported"), "push the image again with a docker of 2017 or later")
	case doc.Config != nil && doc.Manifests != nil:
		return nil, fmt.Errorf("%w: a manifest with both config and manifests", ErrCorrupt)
	case doc.Config == nil && doc.Manifests == nil:
		return nil, fmt.Errorf("%w: neither an index nor an image manifest (media type %q)", ErrCorrupt, mediaType)
	}
	return &doc, nil
}

func (d *document) isIndex() bool { return d.Config == nil }

// config is an image's configuration as it is stored.
type config struct {
	Created      *time.Time `json:"created"`
	OS           string     `json:"os"`
	Architecture string     `json:"architecture"`
	Variant      string     `json:"variant"`
	Config       struct {
		Labels     map[string]string
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
		User       string
		StopSignal string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func (c *config) platform() platform { return platform{c.OS, c.Architecture, c.Variant} }

func (c *config) public() Config {
	p := Config{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant, Labels: c.Config.Labels, Env: c.Config.Env,
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, WorkingDir: c.Config.WorkingDir, User: c.Config.User, StopSignal: c.Config.StopSignal}
	if c.Created != nil {
		p.Created = c.Created.UTC()
	}
	return p
}

func parseConfig(b []byte) (*config, error) {
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%w: configuration: %w", ErrCorrupt, err)
	}
	for _, id := range c.RootFS.DiffIDs {
		if _, err := newDigester(id); err != nil {
			return nil, fmt.Errorf("diff id: %w", err)
		}
	}
	return &c, nil
}

// store is a place that blobs come from, by digest and unchecked.
type store interface {
	// blob opens a layer or a configuration.
	blob(ctx context.Context, d descriptor) (io.ReadCloser, error)
	// manifest opens an index or a manifest, which registries keep apart.
	manifest(ctx context.Context, d descriptor) (io.ReadCloser, error)
}

// load reads a small blob whole and checks it.
func load(r io.ReadCloser, err error, d descriptor) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.Digest, err)
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("read %s: %w of %d bytes for a manifest or configuration", d.Digest, ErrTooLarge, maxDocument)
	}
	dig, err := newDigester(d.Digest)
	if err != nil {
		return nil, err
	}
	dig.Write(b)
	if err := dig.check(); err != nil {
		return nil, err
	}
	if d.Size > 0 && int64(len(b)) != d.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes, want %d", ErrCorrupt, d.Digest, len(b), d.Size)
	}
	return b, nil
}

// digester hashes bytes and compares with the digest they should have.
type digester struct {
	hash.Hash
	want string
}

func newDigester(want string) (*digester, error) {
	algorithm, sum, _ := strings.Cut(want, ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, fmt.Errorf("%w: digest %q: want sha256:... or sha512:...", ErrCorrupt, want)
	}
	if b, err := hex.DecodeString(sum); err != nil || len(b) != h.Size() || strings.ToLower(sum) != sum {
		return nil, fmt.Errorf("%w: digest %q: want %d lower-case hex digits", ErrCorrupt, want, 2*h.Size())
	}
	return &digester{h, want}, nil
}

func (d *digester) sum() string {
	algorithm, _, _ := strings.Cut(d.want, ":")
	return algorithm + ":" + hex.EncodeToString(d.Sum(nil))
}

func (d *digester) check() error {
	if got := d.sum(); got != d.want {
		return fmt.Errorf("%w: content is %s, want %s", ErrCorrupt, got, d.want)
	}
	return nil
}
