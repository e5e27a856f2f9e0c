package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// hinted is an error with advice, which the program prints on a line of its own.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint returns the advice.
func (h *hinted) Hint() string { return h.hint }

func withHint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Hint returns what a person can do about err, or "".
func Hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// unlike is an error about a file or folder that is not what the transport says. It counts as ErrCorrupt without repeating
// its text.
type unlike struct{ error }

func (unlike) Is(target error) bool { return target == ErrCorrupt }

// misnamed is an error about the name of an image, whatever there may be. It counts as ErrName without repeating its text.
type misnamed struct{ error }

func (misnamed) Is(target error) bool { return target == ErrName }

func (m misnamed) Unwrap() error { return m.error }

// suggest returns the error for a name without a transport that we know, with the name that was probably meant.
func suggest(ref string) error {
	if ref == "" {
		return misnamed{withHint(errors.New("the name is empty"), "IMAGE is oci:DIR, oci-archive:FILE, docker-archive:FILE, docker://REF, tar:FILE, dir:DIR or -")}
	}
	if t := transportOf(ref); t != "" {
		return misnamed{withHint(errors.New("the name has no transport"), "write %s:%s", t, ref)}
	}
	kind, rest, found := strings.Cut(ref, ":")
	known := transportOf(rest)
	switch {
	case found && known != "":
		return misnamed{withHint(fmt.Errorf("unknown transport %q", kind), "write %s:%s", known, rest)}
	case kind != "docker" && strings.HasPrefix(rest, "//"):
		return misnamed{withHint(fmt.Errorf("unknown transport %q", kind), "IMAGE is oci:DIR, oci-archive:FILE, docker-archive:FILE, docker://REF, tar:FILE, dir:DIR or -")}
	case found && (kind == "docker-daemon" || kind == "containers-storage"):
		return misnamed{withHint(fmt.Errorf("transport %s is not supported", kind), "docker save %s | mkimage ... -", rest)}
	case strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "../") || strings.Contains(filepath.Base(ref), ".tar") || strings.HasSuffix(ref, ".tgz"):
		return fmt.Errorf("%w: no such file or folder", ErrNotFound)
	case kind == "docker":
		return misnamed{withHint(errors.New("docker: needs two slashes"), "write docker://%s", strings.TrimLeft(rest, "/"))}
	}
	return misnamed{withHint(errors.New("the name has no transport and no such file exists"), "for an image in a registry write docker://%s", ref)}
}

// transportOf guesses the transport of a path by looking at what is there; "" if nothing is.
func transportOf(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if fi.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "index.json")); err == nil {
			return "oci"
		}
		return "dir"
	}
	f, err := os.Open(path)
	if err != nil {
		return "tar"
	}
	defer f.Close()
	return kindOfTar(f)
}

// splitPath divides what follows the transport into the path and the tag, or "@" and a digest or index. The longest prefix that
// exists is the path, so that colons in both parts work: in a path C:/x as in a tag docker.io/library/debian:12.
func splitPath(s string) (path, tag string, err error) {
	if s == "" {
		return "", "", misnamed{errors.New("the path is empty")}
	}
	for end := len(s); end > 0; end = strings.LastIndexAny(s[:end], ":@") {
		if _, err := os.Lstat(s[:end]); err != nil {
			if !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
				return "", "", err
			}
			continue
		}
		tag := s[end:]
		if strings.HasPrefix(tag, ":") {
			tag = tag[1:]
			if tag == "" {
				return "", "", misnamed{errors.New("the tag after the colon is empty")}
			}
		}
		return s[:end], tag, nil
	}
	return "", "", fmt.Errorf("%w: no such file or folder", ErrNotFound)
}

// platform is os, architecture and variant; empty fields fit anything.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

func parsePlatform(s string) (platform, error) {
	if s == "" {
		return platform{OS: "linux"}, nil // the only one that boots here
	}
	part := strings.Split(s, "/")
	if len(part) == 1 {
		part = []string{"linux", part[0]}
	}
	if len(part) > 3 || part[0] == "" || part[1] == "" {
		return platform{}, fmt.Errorf("platform %q: want os/arch or os/arch/variant", s)
	}
	p := platform{OS: part[0], Architecture: part[1]}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	if len(part) == 3 {
		p.Variant = part[2]
	}
	return p, nil
}

func (p platform) String() string {
	if p.OS == "" && p.Architecture == "" {
		return ""
	}
	if p.Architecture == "" {
		return p.OS
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// fits reports whether an image for have can serve where p is wanted. arm64 and arm64/v8 are the same thing.
func (p platform) fits(have platform) bool {
	if p.OS != "" && have.OS != "" && p.OS != have.OS {
		return false
	}
	if p.Architecture != "" && have.Architecture != "" && p.Architecture != have.Architecture {
		return false
	}
	return p.Variant == "" || p.plain().Variant == have.plain().Variant
}

// plain drops a variant that says nothing: v8 of arm64, v1 of amd64.
func (p platform) plain() platform {
	if p.Architecture == "arm64" && p.Variant == "v8" || p.Architecture == "amd64" && p.Variant == "v1" {
		p.Variant = ""
	}
	return p
}

// unknown reports a platform that builders give to what is not an image, such as attestations.
func (p platform) unknown() bool { return p.OS == "unknown" || p.Architecture == "unknown" }
