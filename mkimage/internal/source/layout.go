package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// files is a folder or a tar archive, seen as names with content.
type files interface {
	openFile(name string) (io.ReadCloser, error)
}

// blobName returns where an OCI layout keeps the blob of a digest. OCI image spec, "Image layout".
func blobName(digest string) string {
	return "blobs/" + strings.Replace(digest, ":", "/", 1)
}

// layout is the store of an OCI layout, in a folder or in an archive.
type layout struct{ files }

func (l layout) blob(_ context.Context, d descriptor) (io.ReadCloser, error) {
	if _, err := newDigester(d.Digest); err != nil {
		return nil, err // before it becomes a path
	}
	r, err := l.openFile(blobName(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: blob %s is missing", ErrCorrupt, d.Digest)
	}
	return r, err
}

func (l layout) manifest(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	return l.blob(ctx, d)
}

// index reads index.json.
func (l layout) index() (*document, error) {
	r, err := l.openFile("index.json")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	doc, err := parseDocument(b, "")
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if !doc.isIndex() {
		return nil, fmt.Errorf("%w: index.json is not an index", ErrCorrupt)
	}
	return doc, nil
}

// open finds the image that tag (a name, "@" and a digest, or nothing) means in the layout.
func (l layout) open(ctx context.Context, tag string, opt Options) (*Image, error) {
	doc, err := l.index()
	if err != nil {
		return nil, err
	}
	want, err := parsePlatform(opt.Platform)
	if err != nil {
		return nil, err
	}
	roots, err := pick(doc.Manifests, tag)
	if err != nil {
		return nil, err
	}
	c, err := choose(ctx, l, roots, want)
	if err != nil {
		return nil, err
	}
	img, err := imageFrom(ctx, l, c, opt)
	if err != nil {
		return nil, err
	}
	img.Ref = tag
	return img, nil
}

// pick returns the entries of an index that tag names: all of them if it is empty.
func pick(list []descriptor, tag string) ([]descriptor, error) {
	if tag == "" {
		return list, nil
	}
	if digest, ok := strings.CutPrefix(tag, "@"); ok {
		for _, d := range list {
			if d.Digest == digest {
				return []descriptor{d}, nil
			}
		}
		// Not named by index.json, but perhaps by an index inside.
		return []descriptor{{Digest: digest}}, nil
	}
	var found []descriptor
	names := map[string]bool{}
	for _, d := range list {
		if d.Annotations["org.opencontainers.image.ref.name"] == tag || d.Annotations["io.containerd.image.name"] == tag {
			found = append(found, d)
		}
		if t := d.tag(); t != "" {
			names[t] = true
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	if len(sorted) == 0 {
		return nil, fmt.Errorf("tag %q: %w: the images have no tags", tag, ErrNotFound)
	}
	return nil, fmt.Errorf("tag %q: %w: there is %s", tag, ErrNotFound, strings.Join(sorted, ", "))
}

// folder is an OCI layout in a directory.
type folder string

func (f folder) openFile(name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), filepath.FromSlash(name)))
}

func openLayout(ctx context.Context, rest string, opt Options) (*Image, error) {
	path, tag, err := splitPath(rest)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, withHint(unlike{errors.New("not a folder")}, "write %s:%s", transportOf(path), rest)
	}
	img, err := layout{folder(path)}.open(ctx, tag, opt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(unlike{errors.New("the folder holds no index.json")}, "for a root file system write dir:%s", rest)
	}
	if err != nil {
		return nil, err
	}
	img.Kind = "oci"
	return img, nil
}
