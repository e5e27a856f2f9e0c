package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/mkimage/internal/source"
)

// layoutOf writes an OCI layout with one image, tagged "t", and returns its folder. pack compresses a layer.
func layoutOf(tb testing.TB, pack func([]byte) []byte, suffix string, layers [][]byte) string {
	tb.Helper()
	root := tb.TempDir()
	blobs := filepath.Join(root, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		tb.Fatal(err)
	}
	type desc struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	add := func(mediaType string, b []byte) desc {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		if err := os.WriteFile(filepath.Join(blobs, sum), b, 0o644); err != nil {
			tb.Fatal(err)
		}
		return desc{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(b)}
	}
	addJSON := func(mediaType string, v any) desc {
		b, _ := json.Marshal(v)
		return add(mediaType, b)
	}
	ids, list := []string{}, []desc{}
	for _, l := range layers {
		ids = append(ids, fmt.Sprintf("sha256:%x", sha256.Sum256(l)))
		list = append(list, add("application/vnd.oci.image.layer.v1.tar"+suffix, pack(l)))
	}
	cfg := addJSON("application/vnd.oci.image.config.v1+json", map[string]any{"os": "linux", "architecture": "amd64",
		"config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	m := addJSON("application/vnd.oci.image.manifest.v1+json", map[string]any{"schemaVersion": 2, "config": cfg, "layers": list})
	m.Annotations = map[string]string{"org.opencontainers.image.ref.name": "t"}
	idx, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []desc{m}})
	os.WriteFile(filepath.Join(root, "index.json"), idx, 0o644)
	os.WriteFile(filepath.Join(root, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	return root
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	return w.EncodeAll(b, nil)
}

// implied is the epoch of the comparison: the time of folders without an entry, which umoci makes now.
var implied = time.Unix(86400, 0).UTC()

// flattenLayout is the whole way from the name of an image to its root.
func flattenLayout(tb testing.TB, dir string) (*Tree, error) {
	tb.Helper()
	img, err := source.Open(tb.Context(), "oci:"+dir+":t", source.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	defer img.Close()
	return Flatten(img.Layers, Options{Epoch: implied})
}

// seen is what a root shows of a name. Hard links are a group, named by its first path.
type seen struct {
	Mode     fs.FileMode
	Owner    string
	Time     int64
	Target   string
	Device   string
	Body     string
	Xattrs   map[string]string
	Hardlink string
}

// body makes a content comparable without filling the screen.
func body(b []byte) string {
	if len(b) < 100 {
		return string(b)
	}
	return fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))
}

func lookTree(tb testing.TB, t *Tree) map[string]seen {
	tb.Helper()
	all := map[string]seen{}
	err := t.Walk(func(p string, n *Node, link string) error {
		s := seen{Mode: n.Mode, Owner: fmt.Sprint(n.UID, ":", n.GID), Time: n.ModTime.UnixNano(), Target: n.Target, Xattrs: map[string]string{}, Hardlink: link}
		if n.ModTime.Equal(implied) {
			s.Time = 0
		}
		if n.Mode&fs.ModeDevice != 0 {
			s.Device = fmt.Sprint(n.Major, ":", n.Minor)
		}
		for k, v := range n.Xattrs {
			s.Xattrs[k] = v
		}
		if n.Mode.IsRegular() {
			f, err := t.Open(n)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			s.Body = body(b)
		}
		all[p] = s
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

func lookDir(tb testing.TB, root string) map[string]seen {
	tb.Helper()
	all, first := map[string]seen{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		st := fi.Sys().(*syscall.Stat_t)
		s := seen{Mode: fi.Mode(), Owner: fmt.Sprint(st.Uid, ":", st.Gid), Time: fi.ModTime().UnixNano(), Xattrs: attrs(tb, p)}
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			s.Target, _ = os.Readlink(p)
		case fi.Mode()&fs.ModeDevice != 0:
			s.Device = fmt.Sprint(unix.Major(st.Rdev), ":", unix.Minor(st.Rdev))
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s.Body = body(b)
		}
		if !fi.IsDir() && st.Nlink > 1 {
			if s.Hardlink = first[st.Ino]; s.Hardlink == "" {
				first[st.Ino] = rel
			}
		}
		all[rel] = s
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// attrs returns the extended attributes of p but for the label that this machine's SELinux gives.
func attrs(tb testing.TB, p string) map[string]string {
	tb.Helper()
	set := map[string]string{}
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil {
		return set
	}
	for _, name := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 64<<10)
		k, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			tb.Fatal(err)
		}
		if name != "security.selinux" {
			set[name] = string(value[:k])
		}
	}
	return set
}

// unpack has umoci extract the image in the layout dir and returns the root.
func unpack(tb testing.TB, umoci, dir string) (string, error) {
	tb.Helper()
	to := filepath.Join(tb.TempDir(), "root")
	args := []string{"raw", "unpack", "--image", dir + ":t", to}
	if os.Geteuid() != 0 {
		args = append(args[:2:2], append([]string{"--rootless"}, args[2:]...)...)
	}
	out, err := exec.Command(umoci, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return to, nil
}

// alike brings to one form what cannot be compared: owners without root, times of folders that have no entry, and those of
// folders from which a whiteout removed something, where umoci leaves the time of unpacking.
func alike(ours, theirs map[string]seen, start time.Time) {
	for p, o := range ours {
		t, ok := theirs[p]
		if !ok {
			continue
		}
		if o.Time == 0 || o.Mode.IsDir() && t.Time >= start.UnixNano() {
			o.Time, t.Time = 0, 0
		}
		if os.Geteuid() != 0 {
			o.Owner, t.Owner = "", ""
		}
		ours[p], theirs[p] = o, t
	}
}

func TestRootIsWhatUmociUnpacks(t *testing.T) {
	umoci := need.Tool(t, "umoci", "umoci")
	if n := len(corpus()); n < 40 {
		t.Errorf("the corpus has %d images, want 40 at least", n)
	}
	for _, s := range corpus() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.root {
				need.Root(t)
			}
			start := time.Now().Truncate(time.Second)
			var layers [][]byte
			for _, l := range s.layers {
				layers = append(layers, tarball(t, l))
			}
			layout := layoutOf(t, gzipped, "+gzip", layers)
			tree, err := flattenLayout(t, layout)
			root, uerr := unpack(t, umoci, layout)
			ztree, zerr := flattenLayout(t, layoutOf(t, zstded, "+zstd", layers))
			if s.fails {
				if err == nil || uerr == nil || zerr == nil {
					t.Errorf("gzip: %v; zstd: %v; umoci: %v; want errors", err, zerr, uerr)
				}
				return
			}
			if err != nil || zerr != nil {
				t.Fatalf("gzip: %v; zstd: %v", err, zerr)
			}
			defer tree.Close()
			defer ztree.Close()
			ours := lookTree(t, tree)
			if diff := cmp.Diff(ours, lookTree(t, ztree)); diff != "" {
				t.Errorf("gzip - and zstd + differ:\n%s", diff)
			}
			if s.want != "" {
				if diff := cmp.Diff(strings.Fields(s.want), paths(tree)); diff != "" {
					t.Error(diff)
				}
			}
			if s.differs != "" {
				return
			}
			if uerr != nil {
				t.Fatalf("umoci: %v", uerr)
			}
			theirs := lookDir(t, root)
			alike(ours, theirs, start)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("umoci - and ours + differ:\n%s", diff)
			}
		})
	}
}

// chaos makes a random image of few names, so that they meet: files, folders, links of both kinds, whiteouts.
func chaos(r *rand.Rand) [][]ent {
	files := []string{"a"}
	names := []string{"a", "b", "c", "d", "e", "a/a", "a/b", "b/a", "b/c", "d/a", "a/b/c", "c/a/b", "b/b/b"}
	pick := func() string { return names[r.IntN(len(names))] }
	var layers [][]ent
	for range 1 + r.IntN(4) {
		var l []ent
		for range 1 + r.IntN(8) {
			name := pick()
			switch r.IntN(16) {
			case 0, 1, 2:
				files = append(files, name)
				l = append(l, file(name, fmt.Sprint(r.IntN(1000))).mode(int64(r.IntN(0o10000))))
			case 3, 4:
				l = append(l, dir(name).mode(0o700|int64(r.IntN(0o10000))))
			case 5:
				l = append(l, sym(name, []string{"a", "/b", "../c", "b/..", "/a/b", ".."}[r.IntN(6)]))
			case 6:
				l = append(l, hard(name, files[r.IntN(len(files))]))
			case 7, 8:
				l = append(l, gone(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name))))
			case 9:
				l = append(l, gone(filepath.Join(filepath.Dir(name), ".wh..wh..opq")))
			default:
				l = append(l, dir(name))
			}
		}
		layers = append(layers, l)
	}
	return layers
}

func TestRandomRootsAreWhatUmociUnpacks(t *testing.T) {
	umoci := need.Tool(t, "umoci", "umoci")
	need.Root(t)
	n, both, one := 120, 0, 0
	for seed := range uint64(n) {
		image := chaos(rand.New(rand.NewPCG(seed, 1)))
		var layers [][]byte
		for _, l := range image {
			layers = append(layers, tarball(t, l))
		}
		start := time.Now().Truncate(time.Second)
		layout := layoutOf(t, gzipped, "+gzip", layers)
		tree, err := flattenLayout(t, layout)
		root, uerr := unpack(t, umoci, layout)
		if (err == nil) != (uerr == nil) {
			one++
			t.Logf("seed %d: ours %v, umoci %v", seed, err, uerr)
		}
		if err != nil || uerr != nil {
			continue
		}
		both++
		ours, theirs := lookTree(t, tree), lookDir(t, root)
		tree.Close()
		alike(ours, theirs, start)
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("seed %d: umoci - and ours + differ:\n%s\n%v", seed, diff, image)
		}
	}
	if both < n/3 || one > 0 {
		t.Errorf("of %d images %d compared and %d that one side alone refused, want %d at least and none", n, both, one, n/5)
	}
}
