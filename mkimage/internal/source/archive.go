package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const (
	// maxMembers limits the files of an archive that holds an image: each layer makes one to three.
	maxMembers = 100000
	maxLinks   = 16
)

// member is a file of an archive.
type member struct {
	offset, size int64
	link         string // another member, when this one is a link
}

// archive is an uncompressed tar on disk, read by name. Docker before 25 stores a layer used twice as a link.
type archive struct {
	file    io.ReaderAt
	members map[string]member
	entries int // of every kind
}

func (a *archive) openFile(name string) (io.ReadCloser, error) {
	for hops := 0; ; hops++ {
		m, ok := a.members[name]
		if !ok {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if m.link == "" {
			return io.NopCloser(io.NewSectionReader(a.file, m.offset, m.size)), nil
		}
		if hops == maxLinks {
			return nil, fmt.Errorf("%w: %s: too many links", ErrCorrupt, name)
		}
		name = m.link
	}
}

func (a *archive) has(name string) bool {
	_, ok := a.members[name]
	return ok
}

// indexArchive notes where the files of a plain tar are. Of two with one name the last counts, as for tar itself.
func indexArchive(f *os.File) (*archive, error) {
	list := map[string]member{}
	tr := tar.NewReader(f)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return &archive{f, list, n}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read archive: %w", ErrCorrupt, err)
		}
		name := clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			// tar.Reader reads whole blocks and no further, so the file stands at the first byte of the content.
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			list[name] = member{offset: at, size: h.Size}
		case tar.TypeSymlink:
			list[name] = member{link: clean(path.Join(path.Dir(name), h.Linkname))}
		case tar.TypeLink:
			list[name] = member{link: clean(h.Linkname)}
		}
		if n > maxMembers {
			return nil, fmt.Errorf("read archive: %w of %d files", ErrTooLarge, maxMembers)
		}
	}
}

// clean makes a name of an archive relative to its root, without a way out.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// kindOfTar looks at the first names of an archive, compressed or not, for what is in it.
func kindOfTar(r io.Reader) string {
	out, _, err := decompress(r)
	if err != nil {
		return "tar"
	}
	defer out.Close()
	tr := tar.NewReader(out)
	for range 4096 {
		h, err := tr.Next()
		if err != nil {
			return "tar"
		}
		switch clean(h.Name) {
		case "manifest.json":
			return "docker-archive"
		case "oci-layout", "index.json":
			return "oci-archive"
		case "etc", "usr", "bin", "bin/sh":
			return "tar"
		}
	}
	return "tar"
}

// spoolArchive gives random access to the tar in r: in place if r is a plain file, else through an unpacked copy.
func spoolArchive(ctx context.Context, r io.Reader, opt Options) (*archive, io.Closer, error) {
	in, plain, err := decompress(r)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: unpack: %w", ErrCorrupt, err)
	}
	defer in.Close()
	f, isFile := r.(*os.File)
	if isFile && plain {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return nil, nil, err
			}
			a, err := indexArchive(f)
			return a, io.NopCloser(nil), err // the caller closes f
		}
	}
	spool, err := TempFile(opt.TempDir)
	if err != nil {
		return nil, nil, err
	}
	if err := fill(ctx, spool, in, opt.maxBytes()); err != nil {
		spool.Close()
		return nil, nil, err
	}
	a, err := indexArchive(spool)
	if err != nil {
		spool.Close()
		return nil, nil, err
	}
	return a, spool, nil
}

// fill copies in to the spool and goes back to its start.
func fill(ctx context.Context, spool *os.File, in io.Reader, limit int64) error {
	buf := make([]byte, 1<<20)
	for n := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := io.ReadFull(in, buf)
		if n += int64(k); n > limit {
			return fmt.Errorf("spool archive: %w of %d bytes", ErrTooLarge, limit)
		}
		if _, werr := spool.Write(buf[:k]); werr != nil {
			return fmt.Errorf("spool archive: %w", werr)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && k > 0 && isEnd(in) {
			_, err := spool.Seek(0, io.SeekStart)
			return err
		}
		if err != nil {
			return fmt.Errorf("%w: unpack archive: %w", ErrCorrupt, err)
		}
	}
}

// isEnd tells the short last read of a stream, after which Read says io.EOF, from a stream that was cut.
func isEnd(in io.Reader) bool {
	n, err := in.Read(make([]byte, 1))
	return n == 0 && err == io.EOF
}

func openArchive(ctx context.Context, kind, rest string, opt Options) (*Image, error) {
	name, tag, err := splitPath(rest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err == nil && fi.IsDir() {
		f.Close()
		return nil, withHint(unlike{errors.New("not a file")}, "write %s:%s", transportOf(name), rest)
	}
	img, err := archiveImage(ctx, kind, f, tag, opt)
	if err != nil {
		f.Close()
		return nil, err
	}
	img.Kind = kind
	img.closers = append(img.closers, f)
	return img, nil
}

func openStdin(ctx context.Context, opt Options) (*Image, error) {
	if opt.Stdin == nil {
		return nil, errors.New("standard input is closed")
	}
	img, err := archiveImage(ctx, "stdin", opt.Stdin, "", opt)
	if err != nil {
		return nil, err
	}
	img.Kind = "stdin"
	return img, nil
}

// archiveImage finds an image in an archive of either kind. Docker 25 and later write both into one file: the name of the
// transport decides, and where that leaves it open, what the file has.
func archiveImage(ctx context.Context, kind string, r io.Reader, tag string, opt Options) (*Image, error) {
	a, closer, err := spoolArchive(ctx, r, opt)
	if err != nil {
		return nil, err
	}
	var img *Image
	docker, oci := a.has("manifest.json"), a.has("index.json")
	switch {
	case docker && kind != "oci-archive":
		img, err = dockerSave{a}.open(ctx, tag, opt)
		if err != nil && oci && opt.Platform != "" && errors.Is(err, ErrNotFound) {
			// The containerd store of docker saves all platforms, but manifest.json names one of them.
			if other, oerr := (layout{a}).open(ctx, tag, opt); oerr == nil {
				img, err = other, nil
			}
		}
	case oci:
		img, err = layout{a}.open(ctx, tag, opt)
	case docker:
		err = withHint(unlike{errors.New("the archive holds no index.json: it was made by docker save")}, "write docker-archive:")
	case a.entries == 0:
		err = fmt.Errorf("%w: the archive is empty", ErrCorrupt)
	default:
		err = withHint(unlike{errors.New("the archive holds neither manifest.json nor index.json: it is no image")}, "for a root file system write tar:FILE, on standard input tar:-")
	}
	if err != nil {
		closer.Close()
		return nil, err
	}
	img.closers = append(img.closers, closer)
	return img, nil
}
