// Package source finds a container image by its name and gives its layers and its configuration.
//
// Images are named as skopeo names them: oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG|@DIGEST], docker-archive:FILE[:REF],
// docker://REF, tar:FILE, dir:DIR and "-" for what `docker save` writes. Whatever the place, one path chooses the image
// (nested indexes, platforms, attestations) and one path checks it: every blob against the digest and the size that name
// it, every layer against the diff id of the configuration. Nothing is extracted; what must be seekable is spooled to a
// file that has no name.
package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/slotboot/slotboot/internal/fetch"
	"golang.org/x/sys/unix"
)

var (
	// ErrCorrupt is in every error about content that is not what its digest, its size or its format says.
	ErrCorrupt = errors.New("image is damaged")
	// ErrName is in the errors about a name of an image that says nothing, wherever it is looked for: no transport, an unknown
	// one, nothing behind it.
	ErrName = errors.New("not a name of an image")
	// ErrNotFound is in the errors about a file, a tag, a digest or a platform that is not there.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous is in the error that lists the choices when a name fits several images.
	ErrAmbiguous = errors.New("several images fit")
	// ErrTooLarge is in the errors about input beyond Options.MaxBytes.
	ErrTooLarge = errors.New("larger than the limit")
)

// DefaultMaxBytes is how much one image may unpack to when Options.MaxBytes is 0: 64 GiB.
const DefaultMaxBytes = 64 << 30

// Options says which image of several is wanted and where bytes come from. The zero value works.
type Options struct {
	// Platform is os/arch or os/arch/variant. Empty means the only one there is; if there are several, Open returns
	// ErrAmbiguous, because a build must not depend on the machine it runs on.
	Platform string
	// Stdin is read for "-" and for "tar:-".
	Stdin io.Reader
	// TempDir holds the spool for what cannot be read in place. Empty means $TMPDIR, else /var/tmp.
	TempDir string
	// MaxBytes limits what one stream may unpack to; 0 means DefaultMaxBytes.
	MaxBytes int64
	// Progress is called while layers are read, with the compressed bytes so far and their sum (0 if not known).
	Progress func(done, total int64)
	// Warn is told what is odd but not wrong.
	Warn func(text string)

	// Keychain finds registry logins; nil means the docker configuration with its credential helpers, then podman's.
	Keychain authn.Keychain
	// Insecure allows plain HTTP to any registry; see fetch.Login for those that it is tried with anyway.
	Insecure bool
	// Fetch says how patient to be with a registry.
	Fetch fetch.Options
}

func (o Options) maxBytes() int64 {
	if o.MaxBytes > 0 {
		return o.MaxBytes
	}
	return DefaultMaxBytes
}

func (o Options) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(fmt.Sprintf(format, args...))
	}
}

// Image is one image: what it says about itself and its layers, lowest first. Close it when the layers have been read.
type Image struct {
	// Kind is oci, oci-archive, docker-archive, docker, tar, dir or stdin.
	Kind string
	// Ref names the image without any path of this machine: the reference for docker://, else the tag or the digest
	// that was asked for, or nothing.
	Ref string
	// ManifestDigest and ConfigDigest are empty where the transport has no such thing (tar, dir, older docker saves).
	ManifestDigest string
	ConfigDigest   string
	// Config is zero for tar and dir.
	Config Config
	Layers []*Layer

	closers []io.Closer
}

// Platform returns os/arch[/variant] as the image's configuration has it, or "" when it says nothing.
func (m *Image) Platform() string {
	return platform{m.Config.OS, m.Config.Architecture, m.Config.Variant}.String()
}

// Source returns what to record about where the image came from: "docker://debian:12", "oci:stable", "dir". It holds no
// path of this machine, so that builds at two places are equal.
func (m *Image) Source() string {
	switch {
	case m.Kind == "docker":
		return "docker://" + m.Ref
	case m.Ref == "":
		return m.Kind
	case strings.HasPrefix(m.Ref, "@"):
		return m.Kind + m.Ref
	}
	return m.Kind + ":" + m.Ref
}

// DiffIDs returns the digest of each layer's uncompressed tar. For tar and dir it is known once the layer was read.
func (m *Image) DiffIDs() []string {
	ids := make([]string, len(m.Layers))
	for i, l := range m.Layers {
		ids[i] = l.DiffID
	}
	return ids
}

// Close frees the spool and open files. Layers cannot be opened afterwards.
func (m *Image) Close() error {
	var errs []error
	for _, c := range m.closers {
		errs = append(errs, c.Close())
	}
	m.closers = nil
	return errors.Join(errs...)
}

// Config is the part of an image's configuration that says how it was made and is to be run.
type Config struct {
	Created      time.Time
	OS           string
	Architecture string
	Variant      string
	Labels       map[string]string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	User         string
	StopSignal   string
}

// Layer is one layer of an image: a tar stream.
type Layer struct {
	// Name says which layer it is in messages, such as "layer 2 of 3".
	Name string
	// Digest and Size are those of the stored bytes, compressed or not. Empty and 0 when the transport has none.
	Digest string
	Size   int64
	// DiffID is the digest of the uncompressed tar. Of tar and dir it is filled in when the stream has been read.
	DiffID string
	// Plain means that names starting with ".wh." are files like any other: the tar is a root file system, not a change.
	Plain bool

	open func() (io.ReadCloser, error)
}

// NewLayer returns a layer whose uncompressed tar open gives. Nothing is checked; for layers that do not come from an
// image.
func NewLayer(name string, open func() (io.ReadCloser, error)) *Layer {
	return &Layer{Name: name, open: open}
}

// Open returns the uncompressed tar. Read it to the end: its last Read returns ErrCorrupt instead of io.EOF if the bytes
// are not those of Digest, Size and DiffID.
func (l *Layer) Open() (io.ReadCloser, error) { return l.open() }

// Open finds the image that ref names. Layers are not read yet, but everything above them is and has been checked.
//
// The errors to test for are ErrNotFound, ErrAmbiguous, ErrCorrupt and ErrTooLarge. An error may have a hint: see Hint.
// ctx ends the reading of layers too.
func Open(ctx context.Context, ref string, opt Options) (*Image, error) {
	if _, err := parsePlatform(opt.Platform); err != nil {
		return nil, fmt.Errorf("open image %s: %w", ref, err)
	}
	img, err := open(ctx, ref, opt)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", ref, err)
	}
	return img, nil
}

func open(ctx context.Context, ref string, opt Options) (*Image, error) {
	if ref == "-" {
		return openStdin(ctx, opt)
	}
	if rest, ok := strings.CutPrefix(ref, "docker://"); ok {
		return openRegistry(ctx, rest, opt)
	}
	kind, rest, _ := strings.Cut(ref, ":")
	switch kind {
	case "oci":
		return openLayout(ctx, rest, opt)
	case "oci-archive", "docker-archive":
		return openArchive(ctx, kind, rest, opt)
	case "tar":
		return openTar(ctx, rest, opt)
	case "dir":
		return openDir(ctx, rest, opt)
	}
	return nil, suggest(ref)
}

// TempFile returns a file for scratch data that has no name any more, so that nothing is left behind however the program
// ends. It is in dir, or if that is empty in $TMPDIR, else in /var/tmp, because /tmp is often memory.
func TempFile(dir string) (*os.File, error) {
	if dir == "" && os.Getenv("TMPDIR") == "" {
		if fi, err := os.Stat("/var/tmp"); err == nil && fi.IsDir() {
			dir = "/var/tmp"
		}
	}
	if dir == "" {
		dir = os.TempDir()
	}
	// Not every file system has O_TMPFILE; those that lack it answer EOPNOTSUPP, EISDIR or ENOENT.
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "(spool)")), nil
	}
	f, err := os.CreateTemp(dir, "mkimage-*")
	if err != nil {
		return nil, fmt.Errorf("create spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("unlink spool file: %w", err)
	}
	return f, nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
