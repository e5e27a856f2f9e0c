package squash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"time"
)

// DefaultBlockSize is the block size of images when Options does not say another.
const DefaultBlockSize = 128 << 10

// Options says how an image is written. The zero value is good: zstd, blocks of DefaultBlockSize, tails packed.
// Equal Options and equal entries in the same order give the same bytes, on every machine.
type Options struct {
	BlockSize   int         // a power of two from MinBlockSize to MaxBlockSize; 0: DefaultBlockSize
	Compression Compression // 0: Zstd
	Level       int         // 0: the default of the compressor; see CodecID
	// Codec is the id of the encoder to use, of which Compression follows; "" is CodecID(Compression, Level).
	Codec string

	// ModTime is the time in the superblock. With ClampTimes, files that are newer get it too.
	ModTime    time.Time
	ClampTimes bool

	// Order lists the paths of files whose contents come first in the image, in this order: what booting reads, so
	// that it is read in one go. Paths that are not there are ignored. With it no body is opened before Close.
	Order []string

	NoFragments   bool // every tail is a block of its own: larger, but a changed file never shares a block
	NoTailPacking bool // only files shorter than a block go into fragments, as mksquashfs does by default
	NoDuplicates  bool // store copies again
	NoExport      bool // leave out the table that NFS needs

	Workers int // goroutines that compress; 0: GOMAXPROCS. It never changes the bytes
}

// Summary is what Close made.
type Summary struct {
	Size       int64 // of the image with its padding: a multiple of 4096
	Used       int64 // without
	Inodes     int
	Fragments  int   // fragment blocks
	FileBytes  int64 // plain bytes of all files, holes included, hard links once
	HoleBytes  int64 // of those, not stored because they are zero
	CopyBytes  int64 // of those, not stored because an earlier file has them
	DataBytes  int64 // stored bytes of blocks and fragments
	TableBytes int64 // stored bytes of everything else
}

// Writer writes one image. It is for one goroutine; it compresses on all cores by itself.
type Writer struct {
	o       Options
	w       io.WriterAt
	p       *pipeline
	bodies  *bodies
	tree    *tree
	meta    Codec
	ids     map[uint32]uint16
	idList  []uint32
	xattrs  *xattrs
	delayed []delayed
	hasRoot bool
	optSize int64
	sum     Summary
	err     error // the first error: the image cannot become whole after it
	closed  bool
}

type delayed struct {
	e Entry
	n *node
}

// NewWriter starts an image at the beginning of w, which is written front to back but for the superblock, and for
// long files that turn out to be copies: those are written over.
//
// An image takes memory for its names and inodes (about 200 bytes an entry), and for the blocks under way: some
// megabytes, more with more cores and larger blocks, never more with longer files.
func NewWriter(w io.WriterAt, o Options) (*Writer, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	codecs := make([]Codec, o.Workers+1)
	for i := range codecs {
		var err error
		if codecs[i], err = NewCodec(o.Codec, o.BlockSize); err != nil {
			return nil, err
		}
	}
	wr := &Writer{o: o, w: w, tree: newTree(), meta: codecs[0], ids: map[uint32]uint16{}, xattrs: newXattrs()}
	pos := int64(superSize)
	if opt := optionBytes(o.Compression, o.Level); opt != nil {
		b := binary.LittleEndian.AppendUint16(nil, uint16(len(opt))|metaPlain)
		b = append(b, opt...)
		if _, err := w.WriteAt(b, pos); err != nil {
			return nil, fmt.Errorf("write compressor options at offset %d: %w", pos, err)
		}
		wr.optSize = int64(len(b))
		pos += wr.optSize
	}
	wr.p = startPipeline(w, pos, o.BlockSize, o.Workers, codecs[1:])
	wr.bodies = newBodies(wr.p, &wr.o)
	return wr, nil
}

// fill puts the defaults in and checks the rest.
func (o *Options) fill() error {
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if o.BlockSize < MinBlockSize || o.BlockSize > MaxBlockSize || o.BlockSize&(o.BlockSize-1) != 0 {
		return fmt.Errorf("use blocks of %d bytes: want a power of two from %d to %d", o.BlockSize, MinBlockSize, MaxBlockSize)
	}
	if o.Codec != "" {
		c := codecCompression(o.Codec)
		if c == 0 || o.Compression != 0 && o.Compression != c {
			return fmt.Errorf("use encoder %q for %v: it writes %v", o.Codec, o.Compression, c)
		}
		o.Compression = c
	}
	if o.Compression == 0 {
		o.Compression = Zstd
	}
	var err error
	if o.Level, err = checkLevel(o.Compression, o.Level); err != nil {
		return err
	}
	if o.Codec == "" {
		if o.Codec, err = CodecID(o.Compression, o.Level); err != nil {
			return err
		}
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return nil
}

// Add adds one path. Its folder must have been added before; sorted order takes the least memory. An error says
// which path and why, and leaves an image that cannot be completed: Close returns the same error.
func (w *Writer) Add(e Entry) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return fmt.Errorf("add %s: the image is closed", e.Path)
	}
	if err := w.add(&e); err != nil {
		w.err = fmt.Errorf("add %s: %w", e.Path, err)
		return w.err
	}
	return nil
}

func (w *Writer) add(e *Entry) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Path == "." {
		return w.addRoot(e)
	}
	dir, name, err := w.tree.parent(e.Path)
	if err != nil {
		return err
	}
	f := dir.body.(*folder)
	if f.find(name) != nil {
		return errors.New("it has been added before")
	}
	if e.HardlinkTo != "" {
		return w.addLink(f, name, e.HardlinkTo)
	}
	n, err := w.node(e)
	if err != nil {
		return err
	}
	f.add(w.tree.keep(name), n)
	if n.kind != typeFile {
		return nil
	}
	if len(w.o.Order) > 0 {
		n.body = &file{size: e.Size, fragment: noFragment}
		w.delayed = append(w.delayed, delayed{Entry{Path: e.Path, Size: e.Size, Open: e.Open}, n})
		return nil
	}
	return w.fillBody(e, n)
}

func (w *Writer) fillBody(e *Entry, n *node) error {
	body, err := w.bodies.add(e)
	if err != nil {
		return err
	}
	n.body = body
	w.sum.FileBytes += body.size
	w.sum.HoleBytes += body.holes()
	return nil
}

func (w *Writer) addRoot(e *Entry) error {
	if !e.Mode.IsDir() || w.hasRoot {
		return fmt.Errorf("mode %v: the root is a folder, and added once", e.Mode)
	}
	n, err := w.node(e)
	if err != nil {
		return err
	}
	n.body = w.tree.root.body
	*w.tree.root = *n
	w.hasRoot = true
	return nil
}

func (w *Writer) addLink(f *folder, name, to string) error {
	n := w.tree.find(to)
	switch {
	case n == nil:
		return fmt.Errorf("hard link to %s, which has not been added", to)
	case n.kind == typeDir:
		return fmt.Errorf("hard link to %s, which is a folder", to)
	case n.links == math.MaxUint32:
		return fmt.Errorf("hard link to %s: it has %d names", to, n.links)
	}
	n.links++
	f.add(w.tree.keep(name), n)
	return nil
}

// node makes the inode of an entry, without the content of files.
func (w *Writer) node(e *Entry) (*node, error) {
	kind, err := typeOf(e.Mode)
	if err != nil {
		return nil, err
	}
	if err := e.check(kind); err != nil {
		return nil, err
	}
	n := w.tree.make(node{kind: kind, perm: permOf(e.Mode), mtime: seconds(e.ModTime), links: 1})
	if w.o.ClampTimes {
		n.mtime = min(n.mtime, seconds(w.o.ModTime))
	}
	if n.xattr, err = w.xattrs.id(e.Xattrs); err != nil {
		return nil, err
	}
	if n.uid, err = w.id(e.UID); err != nil {
		return nil, err
	}
	if n.gid, err = w.id(e.GID); err != nil {
		return nil, err
	}
	switch kind {
	case typeDir:
		n.body = &folder{}
	case typeSymlink:
		n.body = target(e.Target)
	case typeBlockDev, typeCharDev:
		dev, err := encodeDevice(e.Major, e.Minor)
		if err != nil {
			return nil, err
		}
		n.body = device(dev)
	}
	return n, nil
}

// id returns the place of an owner in the owner table.
func (w *Writer) id(owner uint32) (uint16, error) {
	if i, ok := w.ids[owner]; ok {
		return i, nil
	}
	if len(w.idList) == idsMax {
		return 0, fmt.Errorf("owner %d is one too many: an image holds %d different uids and gids", owner, idsMax)
	}
	i := uint16(len(w.idList))
	w.ids[owner] = i
	w.idList = append(w.idList, owner)
	return i, nil
}

// Mode of a root that nobody added.
const rootMode = fs.ModeDir | 0o755
