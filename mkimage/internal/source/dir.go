package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openDir makes an image of one layer from a folder. The folder is read when the layer is.
func openDir(ctx context.Context, path string, opt Options) (*Image, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, withHint(unlike{errors.New("not a folder")}, "write %s:%s", transportOf(path), path)
	}
	return single(ctx, "dir", opt, 0, func(ctx context.Context) (rc, error) {
		pr, pw := io.Pipe()
		go func() {
			p := &packer{root: path, tar: tar.NewWriter(pw), first: map[[2]uint64]string{}, warn: opt.warn}
			err := p.pack(ctx, ".")
			if err == nil {
				err = p.tar.Close()
			}
			pw.CloseWithError(err)
		}()
		return pr, nil
	}), nil
}

// packer writes a folder as a tar: sorted, so that its digest depends on the content only. Times are whole seconds, because
// copies of a folder often keep no more.
type packer struct {
	root  string
	tar   *tar.Writer
	first map[[2]uint64]string // device and inode -> first name, for hard links
	warn  func(string, ...any)
}

func (p *packer) pack(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	full := filepath.Join(p.root, name)
	var st unix.Stat_t
	stat := unix.Lstat
	if name == "." {
		stat = unix.Stat // dir:LINK means the folder behind it
	}
	if err := stat(full, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: full, Err: err}
	}
	h, err := p.header(name, full, &st)
	if err != nil || h == nil {
		return err
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", full, err)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return p.body(full, st.Size)
	case tar.TypeDir:
		return p.children(ctx, name, full)
	}
	return nil
}

func (p *packer) header(name, full string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Sec, 0), Format: tar.FormatPAX}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		target, err := os.Readlink(full)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	default:
		p.warn("%s: a socket: left out, it means nothing without its server", full)
		return nil, nil
	}
	h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	if h.Typeflag != tar.TypeChar && h.Typeflag != tar.TypeBlock {
		h.Devmajor, h.Devminor = 0, 0
	}
	if h.Typeflag != tar.TypeDir && st.Nlink > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if first, ok := p.first[id]; ok {
			h.Typeflag, h.Linkname, h.Size, h.Devmajor, h.Devminor = tar.TypeLink, first, 0, 0, 0
			return h, nil
		}
		p.first[id] = name
	}
	return h, p.xattrs(full, h)
}

func (p *packer) body(full string, size int64) error {
	f, err := os.OpenFile(full, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(p.tar, f)
	if err == nil && n != size || errors.Is(err, tar.ErrWriteTooLong) {
		return fmt.Errorf("pack %s: the file changed while it was read", full)
	}
	return err
}

func (p *packer) children(ctx context.Context, name, full string) error {
	if name != "." && pseudo(full) {
		p.warn("%s: a mounted kernel file system: its content is left out", full)
		return nil
	}
	list, err := os.ReadDir(full)
	if err != nil {
		return err
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name() < list[j].Name() })
	for _, e := range list {
		child := e.Name()
		if name != "." {
			child = name + "/" + child
		}
		if err := p.pack(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// pseudo reports a folder whose content the running kernel makes up, such as a chroot's /proc.
func pseudo(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.PSTOREFS_MAGIC:
		return true
	}
	return false
}

// xattrs adds the extended attributes, in the namespaces that a root file system can carry.
func (p *packer) xattrs(full string, h *tar.Header) error {
	names, err := listXattrs(full)
	if err != nil {
		return fmt.Errorf("list attributes of %s: %w", full, err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "security.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		value, err := getXattr(full, name)
		if err != nil {
			return fmt.Errorf("read attribute %s of %s: %w", name, full, err)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(value)
	}
	return nil
}

func listXattrs(path string) ([]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if err == unix.ENOTSUP || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, size)
	if size, err = unix.Llistxattr(path, buf); err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(buf[:size]), func(r rune) bool { return r == 0 }), nil
}

func getXattr(path, name string) ([]byte, error) {
	size, err := unix.Lgetxattr(path, name, nil)
	if err != nil || size == 0 {
		return nil, err
	}
	buf := make([]byte, size)
	size, err = unix.Lgetxattr(path, name, buf)
	return buf[:max(size, 0)], err
}
