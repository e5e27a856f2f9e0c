package rootfs

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/slotboot/slotboot/mkimage/internal/source"
)

// Names of whiteouts. OCI image spec, "Image layer filesystem changeset".
const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh." // aufs's own files
	whiteoutOpaque = ".wh..wh..opq"
)

// Options says how layers are flattened. The zero value works.
type Options struct {
	// Strict makes an error of everything that Warn would be told.
	Strict bool
	// Limits stop bombs; fields that are 0 have the value of DefaultLimits.
	Limits Limits
	// Warn is told where engines disagree and what looks destructive. The first of each kind are told one by one.
	Warn func(text string)
	// TempDir holds the spool; see source.TempFile.
	TempDir string
	// Epoch is the time of folders that no layer has an entry for, and of the root.
	Epoch time.Time
}

// Flatten applies layers, the lowest first, to an empty root and returns the result. Close it when done.
//
// Errors are about what no engine could apply (a hard link to nothing, a file below a file), about limits (ErrLimit), about
// damage (source.ErrCorrupt), and with Strict about what engines apply differently (ErrStrict).
func Flatten(layers []*source.Layer, opt Options) (*Tree, error) {
	t, err := New(opt.TempDir)
	if err != nil {
		return nil, err
	}
	f := &flattener{tree: t, opt: opt, limits: opt.Limits.orDefault(), told: map[warning]int{}}
	t.hops = f.limits.Hops
	if !opt.Epoch.IsZero() {
		t.epoch, t.root.sec = opt.Epoch.Unix(), opt.Epoch.Unix()
	}
	for i, l := range layers {
		f.layer, f.plain, f.name = int32(i+1), l.Plain, l.Name
		if err = f.apply(l); err != nil {
			break
		}
	}
	f.summary()
	if err == nil {
		err = t.spool.flush()
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("flatten image: %w", err)
	}
	t.hops = maxHops
	return t, nil
}

type flattener struct {
	tree   *Tree
	opt    Options
	limits Limits
	used   usage
	told   map[warning]int
	layer  int32 // counts from 1, so that 0 is before all
	plain  bool
	name   string // of the layer, for messages
}

// apply adds one layer. It reads to the end of the stream, beyond the end of the tar, so that the digests are checked.
func (f *flattener) apply(l *source.Layer) error {
	in, err := l.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	r := &lastBlock{Reader: bufio.NewReaderSize(in, 256<<10)} // a tar is read in pieces of 512 bytes
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return f.readError(l, r, err)
		}
		if err := f.entry(h, tr); err != nil {
			return f.entryError(l, r, h, err)
		}
	}
	ended := r.block == [512]byte{}
	n, err := io.Copy(io.Discard, r)
	switch {
	case err != nil:
		return err
	case n > maxTail:
		return f.warn(warnTail, "%s: %d bytes after the end of the archive", l.Name, n)
	case !ended && l.Plain: // in an image the digest says that it is whole
		return f.warn(warnTail, "%s: the archive has no end marker: it may be cut off", l.Name)
	}
	return nil
}

// lastBlock keeps the last 512 bytes that were read: zeros, at the end of a tar.
type lastBlock struct {
	io.Reader
	block [512]byte
}

func (r *lastBlock) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n < len(r.block) {
		copy(r.block[:], r.block[n:])
	}
	copy(r.block[max(len(r.block)-n, 0):], p[max(n-len(r.block), 0):n])
	return n, err
}

// maxTail is how much padding after the end of a tar is normal: tar writes records of 10 KiB, some tools of 1 MiB.
const maxTail = 1 << 20

// readError tells a stream that is damaged, whose own error says so, from a tar that was made badly.
func (f *flattener) readError(l *source.Layer, r io.Reader, err error) error {
	if errors.Is(err, source.ErrCorrupt) || errors.Is(err, source.ErrTooLarge) {
		return err
	}
	if _, rerr := io.Copy(io.Discard, r); rerr != nil {
		return rerr // the digest is wrong too: that is the cause
	}
	return fmt.Errorf("%s: %w: read tar: %w", l.Name, source.ErrCorrupt, err)
}

func (f *flattener) entryError(l *source.Layer, r io.Reader, h *tar.Header, err error) error {
	if errors.Is(err, source.ErrCorrupt) || errors.Is(err, source.ErrTooLarge) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return f.readError(l, r, err)
	}
	return fmt.Errorf("%s: %s: %w", l.Name, show(h.Name), err)
}

// entry applies one entry of a layer.
func (f *flattener) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := f.used.entry(&f.limits, h); err != nil {
		return err
	}
	name, climbs := confine(h.Name)
	if climbs {
		if err := f.warn(warnClimb, "%s: %s climbs out of the root: taken as %s", f.name, show(h.Name), show(name)); err != nil {
			return err
		}
	}
	if err := f.limits.path(name); err != nil {
		return err
	}
	if _, base := path.Split(name); !f.plain && strings.HasPrefix(base, whiteout) {
		return f.whiteout(name)
	}
	if h.Typeflag == tar.TypeLink {
		return f.hardlink(h, name)
	}
	ino, err := f.inode(h, body)
	if err != nil {
		return err
	}
	if name == "" {
		if ino.kids == nil {
			return fmt.Errorf("the root: %w", ErrNotDir)
		}
		f.tree.root.setFrom(ino)
		return nil
	}
	dir, base, err := f.parent(name)
	if err != nil {
		return err
	}
	if err := f.checkReplace(dir, base, name, ino); err != nil {
		return err
	}
	dir.place(base, ino, f.layer)
	return nil
}

// confine makes the name of an entry relative to the root. climbs reports a name that tried to leave it.
func confine(name string) (inside string, climbs bool) {
	depth := 0
	for elem := range strings.SplitSeq(name, "/") {
		switch elem {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				climbs = true
			}
		default:
			depth++
		}
	}
	return clean(name), climbs
}

// parent returns the folder for an entry, making what is missing, and warns when a symbolic link leads there: engines on
// overlayfs put a folder in the place of the link.
func (f *flattener) parent(name string) (*inode, string, error) {
	if link := f.linkOnWay(name); link != "" {
		if err := f.warn(warnThrough, "%s: %s goes through the symbolic link %s of a lower layer: it is followed, engines on overlayfs replace the link by a folder", f.name, show(name), show(link)); err != nil {
			return nil, "", err
		}
	}
	return f.tree.folder(name, f.layer, f.room)
}

// room counts folders that are made without an entry, as part of a path depth elements deep.
func (f *flattener) room(depth, n int) error {
	if depth > f.limits.Depth {
		return fmt.Errorf("%w: the path is %d elements deep, want %d at most", ErrLimit, depth, f.limits.Depth)
	}
	return f.used.add(&f.limits, n)
}

// linkOnWay returns the first element of name's folders that is a symbolic link from a lower layer.
func (f *flattener) linkOnWay(name string) string {
	at := f.tree.root
	for i := 0; ; {
		n := strings.IndexByte(name[i:], '/')
		if n < 0 {
			return ""
		}
		e := at.kids[name[i:i+n]]
		switch {
		case e.inode == nil:
			return ""
		case e.symlink():
			if e.layer < f.layer {
				return name[:i+n]
			}
			return ""
		case e.kids == nil:
			return ""
		}
		at = e.inode
		i += n + 1
	}
}

// checkReplace warns about an entry that engines refuse or that destroys more than its name says.
func (f *flattener) checkReplace(dir *inode, base, name string, ino *inode) error {
	old := dir.kids[base]
	if old.inode == nil {
		return nil
	}
	if old.symlink() && ino.kids != nil {
		if to, _, err := f.tree.resolve(name, true); err == nil && to.kids != nil {
			return f.warn(warnMerge, "%s: the folder %s replaces a symbolic link to the folder %s: what is there is no longer found as %s/...", f.name, show(name), show(old.target), show(name))
		}
	}
	if old.layer == f.layer && (old.kids == nil || ino.kids == nil) {
		return f.warn(warnTwice, "%s: two entries for %s: the last one counts, some engines refuse the image", f.name, show(name))
	}
	return nil
}

// hardlink adds another name for a file, of this layer or of a lower one. The entry's own attributes do not count.
func (f *flattener) hardlink(h *tar.Header, name string) error {
	target, _ := confine(h.Linkname)
	if target == name {
		return errors.New("a hard link to itself")
	}
	tdir, tbase, err := f.tree.lookParent(target)
	if err == nil && (tbase == "" || tdir.kids[tbase].inode == nil) {
		err = ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", show(h.Linkname), err)
	}
	old := tdir.kids[tbase]
	if old.kids != nil {
		return fmt.Errorf("hard link to %s, which is a folder", show(h.Linkname))
	}
	if old.layer != f.layer {
		if err := f.warn(warnCross, "%s: %s is a hard link to %s of a lower layer: some engines refuse the image", f.name, show(name), show(target)); err != nil {
			return err
		}
	}
	if name == "" {
		return errors.New("the root cannot be a hard link")
	}
	dir, base, err := f.parent(name)
	if err != nil {
		return err
	}
	if dir == tdir && base == tbase {
		return errors.New("a hard link to itself")
	}
	for d := tdir; d != nil; d = d.parent {
		if d == dir.kids[base].inode {
			return fmt.Errorf("hard link to %s, which it would replace: %w", show(h.Linkname), ErrNotExist)
		}
	}
	if err := f.checkReplace(dir, base, name, old.inode); err != nil {
		return err
	}
	old.links++
	dir.drop(base)
	dir.kids[base] = entry{old.inode, f.layer}
	return nil
}

// whiteout removes what lower layers gave: one name, or with an opaque marker all of a folder.
func (f *flattener) whiteout(name string) error {
	parent, base := path.Split(name)
	switch {
	case base == whiteoutOpaque:
		dir, _, err := f.tree.resolve(parent, true)
		if err != nil {
			return absent(err)
		}
		f.clear(dir)
		return nil
	case base == whiteout:
		return f.warn(warnBare, "%s: the whiteout %s names nothing: ignored", f.name, show(name))
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	}
	dir, _, err := f.tree.lookParent(name)
	if err != nil {
		return absent(err)
	}
	target := strings.TrimPrefix(base, whiteout)
	e := dir.kids[target]
	if e.inode == nil {
		return nil
	}
	if e.touched() < f.layer {
		dir.drop(target)
		return nil
	}
	if err := f.warn(warnSame, "%s: %s hides what the same layer adds: only what lower layers gave is removed, some engines refuse the image", f.name, show(name)); err != nil {
		return err
	}
	if e.kids != nil {
		f.clear(e.inode)
	}
	return nil
}

// absent makes nothing of a whiteout in a place that is not there.
func absent(err error) error {
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrNotDir) {
		return nil
	}
	return err
}

// clear removes everything below a folder that this layer did not touch. Once in a layer is enough: nothing of a lower layer
// comes back, and a thousand markers for a large folder would take a thousand times as long.
func (f *flattener) clear(dir *inode) {
	if dir.cleared == f.layer {
		return
	}
	dir.cleared = f.layer
	for name, e := range dir.kids {
		switch {
		case e.touched() < f.layer:
			dir.drop(name)
		case e.kids != nil:
			f.clear(e.inode)
		}
	}
}

// inode makes the inode of an entry that is no hard link, with its body in the spool.
func (f *flattener) inode(h *tar.Header, body io.Reader) (*inode, error) {
	ino := &inode{mode: fileMode(h.Mode), links: 1, sec: h.ModTime.Unix(), nsec: int32(h.ModTime.Nanosecond())}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-1 || int64(h.Gid) > 1<<32-1 {
		return nil, fmt.Errorf("owner %d:%d: want 0 to 4294967295", h.Uid, h.Gid)
	}
	ino.uid, ino.gid = uint32(h.Uid), uint32(h.Gid)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		if h.Size > f.limits.Bytes-f.used.bytes {
			return nil, fmt.Errorf("%w: more than %d bytes of files", ErrLimit, f.limits.Bytes)
		}
		var err error
		if ino.off, ino.size, err = f.tree.spool.add(body, h.Size); err != nil {
			return nil, err
		}
		f.used.bytes += ino.size
	case tar.TypeDir:
		ino.mode |= fs.ModeDir
		ino.kids = map[string]entry{}
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxTarget {
			return nil, fmt.Errorf("symbolic link with a target of %d bytes, want 1 to %d", len(h.Linkname), maxTarget)
		}
		ino.mode, ino.target = fs.ModeSymlink|0o777, h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > 1<<12-1 || h.Devminor < 0 || h.Devminor > 1<<20-1 {
			return nil, fmt.Errorf("device %d:%d: want at most 4095:1048575", h.Devmajor, h.Devminor)
		}
		ino.mode |= fs.ModeDevice
		if h.Typeflag == tar.TypeChar {
			ino.mode |= fs.ModeCharDevice
		}
		ino.major, ino.minor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeFifo:
		ino.mode |= fs.ModeNamedPipe
	default:
		return nil, fmt.Errorf("entry of type %q, which is not known", h.Typeflag)
	}
	var err error
	ino.xattrs, err = f.xattrs(h)
	return ino, err
}

// fileMode converts permission bits. Some tools write the file type into the mode of the header too: it is masked.
func fileMode(m int64) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}
