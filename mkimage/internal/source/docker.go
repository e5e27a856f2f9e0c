package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// saved is an entry of manifest.json as `docker save` writes it.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (s saved) String() string {
	if len(s.RepoTags) > 0 {
		return strings.Join(s.RepoTags, ", ")
	}
	return "untagged " + s.Config
}

// dockerSave is an archive of `docker save`. It has no manifest digest of its own: the configuration names the image, and
// its diff ids the layers.
type dockerSave struct{ *archive }

func (a dockerSave) read(name string) ([]byte, error) {
	r, err := a.openFile(clean(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing in the archive", ErrCorrupt, name)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("%w: read %s: %w", ErrCorrupt, name, err)
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("read %s: %w of %d bytes", name, ErrTooLarge, maxDocument)
	}
	return b, nil
}

func (a dockerSave) open(ctx context.Context, ref string, opt Options) (*Image, error) {
	b, err := a.read("manifest.json")
	if err != nil {
		return nil, err
	}
	var all []saved
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%w: manifest.json: %w", ErrCorrupt, err)
	}
	want, err := parsePlatform(opt.Platform)
	if err != nil {
		return nil, err
	}
	s, cfg, digest, err := a.choose(all, ref, want)
	if err != nil {
		return nil, err
	}
	img, err := a.image(ctx, s, cfg, opt)
	if err != nil {
		return nil, err
	}
	img.Ref, img.ConfigDigest, img.ManifestDigest = ref, digest, a.manifestDigest(digest)
	return img, nil
}

// choose returns the image that ref and the platform mean.
func (a dockerSave) choose(all []saved, ref string, want platform) (saved, *config, string, error) {
	list, err := pickSaved(all, ref)
	if err != nil {
		return saved{}, nil, "", err
	}
	var (
		found  []saved
		cfg    *config
		digest string
		lines  []string
		other  []candidate
	)
	for _, s := range list {
		b, err := a.read(s.Config)
		if err != nil {
			return saved{}, nil, "", fmt.Errorf("configuration: %w", err)
		}
		if err := checkName(s.Config, b); err != nil {
			return saved{}, nil, "", fmt.Errorf("configuration: %w", err)
		}
		c, err := parseConfig(b)
		if err != nil {
			return saved{}, nil, "", err
		}
		if !want.fits(c.platform()) {
			other = append(other, candidate{platform: c.platform()})
			continue
		}
		found, cfg, digest = append(found, s), c, digestOf(b)
		lines = append(lines, fmt.Sprintf("  %s %s", c.platform(), s))
	}
	switch {
	case len(found) == 1:
		return found[0], cfg, digest, nil
	case len(found) > 1:
		return saved{}, nil, "", withHint(fmt.Errorf("%w:\n%s", ErrAmbiguous, strings.Join(lines, "\n")), "name one after the file and a colon: docker-archive:FILE:REF, or @N for the Nth from 0")
	case len(other) > 0:
		return saved{}, nil, "", fmt.Errorf("%w: the image is for %s, want %s", ErrNotFound, platforms(other), want)
	}
	return saved{}, nil, "", fmt.Errorf("%w: manifest.json names no image", ErrNotFound)
}

// pickSaved returns the images that ref, a name or "@" and an index, means.
func pickSaved(all []saved, ref string) ([]saved, error) {
	if ref == "" {
		return all, nil
	}
	if s, ok := strings.CutPrefix(ref, "@"); ok {
		i, err := strconv.Atoi(s)
		if err != nil || i < 0 || i >= len(all) {
			return nil, fmt.Errorf("image %s: %w: the archive has %d", ref, ErrNotFound, len(all))
		}
		return all[i : i+1], nil
	}
	want, err := name.NewTag(ref)
	if err != nil {
		return nil, fmt.Errorf("reference %q: %w", ref, err)
	}
	var tags []string
	for i, s := range all {
		for _, t := range s.RepoTags {
			if have, err := name.NewTag(t); t == ref || err == nil && have.Name() == want.Name() {
				return all[i : i+1], nil
			}
			tags = append(tags, t)
		}
	}
	if len(tags) == 0 {
		return nil, fmt.Errorf("reference %q: %w: the images have no tags", ref, ErrNotFound)
	}
	return nil, fmt.Errorf("reference %q: %w: there is %s", ref, ErrNotFound, strings.Join(tags, ", "))
}

// image makes the Image of an entry. A layer under blobs/ is named by its digest; any other is checked by its diff id.
func (a dockerSave) image(ctx context.Context, s saved, cfg *config, opt Options) (*Image, error) {
	ids := cfg.RootFS.DiffIDs
	if len(s.Layers) == 0 {
		return nil, errors.New("the image has no layers: there is nothing to boot")
	}
	if len(s.Layers) != len(ids) {
		return nil, fmt.Errorf("%w: manifest.json has %d layers, the configuration %d diff ids", ErrCorrupt, len(s.Layers), len(ids))
	}
	img := &Image{Config: cfg.public()}
	var sizes []descriptor
	for i, file := range s.Layers {
		file = clean(file)
		r, err := a.openFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w: layer %d: %s is missing in the archive", ErrCorrupt, i+1, file)
		}
		l := &Layer{Name: fmt.Sprintf("layer %d of %d", i+1, len(ids)), DiffID: ids[i], Digest: digestOfName(file)}
		if sr, ok := r.(interface{ Size() int64 }); ok {
			l.Size = sr.Size()
		}
		sizes = append(sizes, descriptor{Size: l.Size})
		img.Layers = append(img.Layers, l)
	}
	meter := newMeter(sizes, opt.Progress)
	for i, l := range img.Layers {
		file := clean(s.Layers[i])
		l.open = opener(ctx, l, opt, meter, func(context.Context) (rc, error) { return a.openFile(file) })
	}
	return img, nil
}

// digestOfName returns the digest in a name such as blobs/sha256/3f1c..., or "".
func digestOfName(file string) string {
	dir, base := path.Split(file)
	digest := path.Base(dir) + ":" + base
	if path.Dir(path.Clean(dir)) != "blobs" {
		return ""
	}
	if _, err := newDigester(digest); err != nil {
		return ""
	}
	return digest
}

// checkName compares the configuration with the digest that its name promises: blobs/sha256/HEX or HEX.json.
func checkName(file string, b []byte) error {
	want := digestOfName(clean(file))
	if want == "" {
		want = "sha256:" + strings.TrimSuffix(path.Base(file), ".json")
	}
	dig, err := newDigester(want)
	if err != nil {
		return nil // a name that promises nothing
	}
	dig.Write(b)
	return dig.check()
}

// manifestDigest returns the digest of the manifest with this configuration if the archive is an OCI layout too.
func (a dockerSave) manifestDigest(config string) string {
	doc, err := layout{a.archive}.index()
	if err != nil {
		return ""
	}
	for _, d := range doc.Manifests {
		r, err := layout{a.archive}.manifest(context.Background(), d)
		b, err := load(r, err, d)
		if err != nil {
			continue
		}
		if m, err := parseDocument(b, d.MediaType); err == nil && !m.isIndex() && m.Config.Digest == config {
			return d.Digest
		}
	}
	return ""
}
