package source

import (
	"context"
	"fmt"
	"sort"
	"strings"
)

// maxNesting limits indexes inside indexes; registries make two levels.
const maxNesting = 8

// candidate is an image manifest that a name may mean.
type candidate struct {
	descriptor
	platform platform
	doc      *document
	config   *config
}

func (c candidate) String() string {
	s := c.Digest
	if p := c.platform.String(); p != "" {
		s = p + " " + s
	}
	if t := c.tag(); t != "" {
		s += " (" + t + ")"
	}
	return s
}

// chooser walks indexes down to the image that is wanted.
type chooser struct {
	store store
	want  platform
	seen  map[string]bool
	found []candidate
	other []candidate // images for other platforms, for the message
}

// choose returns the one image under roots that is for platform want, with its configuration loaded.
func choose(ctx context.Context, s store, roots []descriptor, want platform) (candidate, error) {
	c := &chooser{store: s, want: want, seen: map[string]bool{}}
	for _, d := range roots {
		if err := c.walk(ctx, d, "", 0); err != nil {
			return candidate{}, err
		}
	}
	if len(c.found) > 1 {
		c.preferExact()
	}
	switch {
	case len(c.found) == 1:
		return c.found[0], nil
	case len(c.found) > 1:
		return candidate{}, c.ambiguous()
	case len(c.other) > 0:
		return candidate{}, fmt.Errorf("%w: the image is for %s, want %s", ErrNotFound, platforms(c.other), want)
	}
	return candidate{}, fmt.Errorf("%w: the index holds no image", ErrNotFound)
}

func (c *chooser) walk(ctx context.Context, d descriptor, tag string, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%w: indexes are nested more than %d deep", ErrCorrupt, maxNesting)
	}
	if d.attestation() || c.seen[d.Digest] {
		return nil
	}
	c.seen[d.Digest] = true
	if d.tag() == "" && tag != "" {
		d.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	}
	if d.Platform != nil && !c.want.fits(*d.Platform) {
		c.other = append(c.other, candidate{descriptor: d, platform: *d.Platform})
		return nil
	}
	r, err := c.store.manifest(ctx, d)
	b, err := load(r, err, d)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	doc, err := parseDocument(b, d.MediaType)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if doc.isIndex() {
		for _, child := range doc.Manifests {
			if err := c.walk(ctx, child, d.tag(), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return c.image(ctx, d, doc)
}

// image adds a manifest to the candidates. The configuration decides about the platform; what the index says is a copy.
func (c *chooser) image(ctx context.Context, d descriptor, doc *document) error {
	if !imageConfig(doc.Config.MediaType) {
		if len(c.seen) == 1 {
			return fmt.Errorf("manifest %s is not a container image: its configuration is %s", d.Digest, doc.Config.MediaType)
		}
		return nil // an artifact beside images, such as a signature
	}
	r, err := c.store.blob(ctx, *doc.Config)
	b, err := load(r, err, *doc.Config)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	cfg, err := parseConfig(b)
	if err != nil {
		return err
	}
	cand := candidate{d, cfg.platform(), doc, cfg}
	if d.Platform != nil && cand.platform.Variant == "" {
		cand.platform.Variant = d.Platform.Variant
	}
	if cand.platform.unknown() {
		return nil
	}
	if !c.want.fits(cand.platform) {
		c.other = append(c.other, cand)
		return nil
	}
	c.found = append(c.found, cand)
	return nil
}

func imageConfig(mediaType string) bool {
	switch mediaType {
	case "", "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json", "application/octet-stream":
		return true
	}
	return false
}

// preferExact keeps the images without a variant when none was asked for: linux/amd64 beside linux/amd64/v3 means the first.
func (c *chooser) preferExact() {
	if c.want.Architecture == "" {
		return
	}
	var exact []candidate
	for _, f := range c.found {
		if f.platform.plain().Variant == c.want.plain().Variant {
			exact = append(exact, f)
		}
	}
	if len(exact) > 0 {
		c.found = exact
	}
}

func (c *chooser) ambiguous() error {
	var lines []string
	tags, archs := map[string]bool{}, map[string]bool{}
	for _, f := range c.found {
		lines = append(lines, "  "+f.String())
		tags[f.tag()] = true
		archs[f.platform.String()] = true
	}
	err := fmt.Errorf("%w:\n%s", ErrAmbiguous, strings.Join(lines, "\n"))
	switch {
	case len(archs) > 1 && len(archs) == len(c.found):
		return withHint(err, "choose one with --platform, such as --platform %s", c.found[0].platform)
	case len(tags) > 1:
		return withHint(err, "name the tag after a colon, or a digest after @")
	}
	return withHint(err, "name the digest after @")
}

func platforms(list []candidate) string {
	set := map[string]bool{}
	for _, c := range list {
		set[c.platform.String()] = true
	}
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// imageFrom makes the Image of a chosen manifest.
func imageFrom(ctx context.Context, s store, c candidate, opt Options) (*Image, error) {
	layers, ids := c.doc.Layers, c.config.RootFS.DiffIDs
	if len(layers) == 0 {
		return nil, fmt.Errorf("image %s has no layers: there is nothing to boot", c.Digest)
	}
	if len(layers) != len(ids) {
		return nil, fmt.Errorf("%w: the manifest has %d layers, the configuration %d diff ids", ErrCorrupt, len(layers), len(ids))
	}
	img := &Image{ManifestDigest: c.Digest, ConfigDigest: c.doc.Config.Digest, Config: c.config.public()}
	meter := newMeter(layers, opt.Progress)
	for i, d := range layers {
		l := &Layer{Name: fmt.Sprintf("layer %d of %d", i+1, len(layers)), Digest: d.Digest, Size: d.Size, DiffID: ids[i]}
		if err := checkLayer(d); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		l.open = opener(ctx, l, opt, meter, func(ctx context.Context) (rc, error) { return s.blob(ctx, d) })
		img.Layers = append(img.Layers, l)
	}
	return img, nil
}

func checkLayer(d descriptor) error {
	if _, err := newDigester(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: size %d", ErrCorrupt, d.Size)
	}
	if strings.Contains(d.MediaType, "encrypted") {
		return fmt.Errorf("the layer is encrypted (%s)", d.MediaType)
	}
	if d.MediaType != "" && !strings.Contains(d.MediaType, "tar") && !strings.Contains(d.MediaType, "layer") {
		return fmt.Errorf("the layer is %s, not a tar: this is no container image", d.MediaType)
	}
	return nil
}
