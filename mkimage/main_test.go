package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/slotboot/slotboot/mkimage/internal/kernel/kerneltest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mkimage": func() {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
		},
	})
}

// Each file in testdata/script is one promise about the commands.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TMPDIR", env.WorkDir)
			return os.WriteFile(env.Cd+"/init", kerneltest.Program("amd64", false), 0o755)
		},
		Condition: absent,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"image":    cmdImage,
			"ociimage": cmdOCIImage,
			"exits":    cmdExits,
			"flip":     cmdFlip,
			"cut":      cmdCut,
			"only":     cmdOnly,
			"fullfs":   cmdFullFS,
			"registry": cmdRegistry,
			"agekey":   cmdAgeKey,
			"unseal":   cmdUnseal,
			"pulled":   cmdPulled,
		},
	})
}

// exits STATUS PROGRAM ARGS... runs a program and compares its exit status.
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
	}
}

// flip FILE OFFSET changes one bit; an offset below 0 counts from the end.
func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	data, off := fileAt(ts, args)
	data[off] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// cut FILE LENGTH shortens a file; a length below 0 counts from the end.
func cmdCut(ts *testscript.TestScript, _ bool, args []string) {
	data, off := fileAt(ts, args)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data[:off], 0o644))
}

func fileAt(ts *testscript.TestScript, args []string) ([]byte, int) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	off, err := strconv.Atoi(args[1])
	ts.Check(err)
	if off < 0 {
		off += len(data)
	}
	return data, off
}

// only DIR NAMES... makes sure that a folder holds these names and no other, hidden ones included.
func cmdOnly(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := args[1:]; !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		ts.Fatalf("%s holds %v, want %v", args[0], names, want)
	}
}

// absent is the condition absent:THING:PACKAGE, where THING is a program, the path of a file, or root. With REQUIRE_TOOLS=1
// it is an error instead.
func absent(cond string) (bool, error) {
	cond, ok := strings.CutPrefix(cond, "absent:")
	if !ok {
		return false, fmt.Errorf("unknown condition %s", cond)
	}
	thing, pkg, _ := strings.Cut(cond, ":")
	_, err := exec.LookPath(thing)
	switch {
	case thing == "root" && os.Geteuid() == 0:
		err = nil
	case filepath.IsAbs(thing):
		_, err = os.Stat(thing)
	}
	if err != nil && os.Getenv("REQUIRE_TOOLS") == "1" {
		return false, fmt.Errorf("%s is not there: apt-get install %s", thing, pkg)
	}
	return err != nil, nil
}

// fullfs DIR SIZE mounts a small file system until the script ends.
func cmdFullFS(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { syscall.Unmount(dir, 0) })
}

// image FILE [key=value...] writes a tar with the root of a small distribution.
//
//	kernel=RELEASE  a kernel with its modules, any number of times
//	arch=arm64      of the kernel
//	drop=NAME       a module that is missing
//	dpkg=NAME       a package that is installed
//	pub=FILE        a public key that it trusts
//	etc=TEXT        the content of /etc/motd, to tell images apart
func cmdImage(ts *testscript.TestScript, _ bool, args []string) {
	im := newImage()
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "kernel":
			im.kernels = append(im.kernels, value)
		case "arch":
			im.arch = value
		case "pub":
			im.pub = ts.ReadFile(value)
		case "drop":
			im.drop = value
		case "etc":
			im.motd = value
		case "dpkg":
			im.dpkg = value
		default:
			ts.Fatalf("image: unknown %s", arg)
		}
	}
	data, err := im.tar()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// ociimage DIR TAR [ARCH [VERSION]] makes an OCI layout of one layer, created in 2024, with a version label.
func cmdOCIImage(ts *testscript.TestScript, _ bool, args []string) {
	arch, label := "amd64", ""
	if len(args) > 2 {
		arch = args[2]
	}
	if len(args) > 3 {
		label = args[3]
	}
	layer, err := tarball.LayerFromFile(ts.MkAbs(args[1]))
	ts.Check(err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	ts.Check(err)
	conf, err := img.ConfigFile()
	ts.Check(err)
	conf = conf.DeepCopy()
	conf.Architecture, conf.OS, conf.Created = arch, "linux", v1.Time{Time: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)}
	conf.Config.Labels = map[string]string{"org.opencontainers.image.version": label}
	img, err = mutate.ConfigFile(img, conf)
	ts.Check(err)
	l, err := layout.Write(ts.MkAbs(args[0]), empty.Index)
	ts.Check(err)
	ts.Check(l.AppendImage(img))
}

// image is what cmdImage makes a tar of.
type image struct {
	kernels          []string
	arch, drop, motd string
	pub              string
	dpkg             string
	buf              bytes.Buffer
	w                *tar.Writer
}

func newImage() *image { return &image{arch: "amd64", motd: "hello"} }

func (im *image) tar() ([]byte, error) {
	im.w = tar.NewWriter(&im.buf)
	im.put("lib", tar.Header{Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}, "")
	im.put("etc/motd", tar.Header{Mode: 0o644}, im.motd)
	im.put("etc/machine-id", tar.Header{Mode: 0o444}, "0123456789abcdef0123456789abcdef\n")
	im.put("sbin/init", tar.Header{Mode: 0o755}, "#!/bin/sh")
	im.put("usr/bin/su", tar.Header{Mode: 0o4755, Uid: 0, Gid: 42}, "su")
	im.put("usr/bin/su2", tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/bin/su"}, "")
	im.put("dev/null", tar.Header{Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, "")
	im.put("usr/lib/big", tar.Header{Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "x"}}, noise(400_000))
	im.put("var/cache/apt/pkgcache.bin", tar.Header{Mode: 0o644}, noise(100_000))
	im.put("tmp", tar.Header{Typeflag: tar.TypeDir, Mode: 0o1777}, "")
	im.put("tmp/left", tar.Header{Mode: 0o644}, "left")
	if im.dpkg != "" {
		im.put("var/lib/dpkg/status", tar.Header{Mode: 0o644}, "Package: "+im.dpkg+"\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\n")
	}
	if im.pub != "" {
		im.put("etc/slotboot/keys/device.pub", tar.Header{Mode: 0o644}, im.pub)
	}
	for _, release := range im.kernels {
		im.kernel(release)
	}
	err := im.w.Close()
	return im.buf.Bytes(), err
}

func (im *image) put(name string, h tar.Header, body string) {
	h.Name, h.Size, h.ModTime = name, int64(len(body)), time.Unix(1_700_000_000, 0)
	if h.PAXRecords != nil {
		h.Format = tar.FormatPAX
	}
	if err := im.w.WriteHeader(&h); err == nil {
		im.w.Write([]byte(body))
	}
}

func (im *image) kernel(release string) {
	file := kerneltest.Amd64(release)
	if im.arch == "arm64" {
		file = kerneltest.Arm64(release, "")
	}
	im.put("boot/vmlinuz-"+release, tar.Header{Mode: 0o600}, string(file))
	im.put("boot/initrd.img-"+release, tar.Header{Mode: 0o644}, "initrd")
	im.put("boot/config-"+release, tar.Header{Mode: 0o644}, "CONFIG_RD_ZSTD=y\nCONFIG_SQUASHFS_ZSTD=y\nCONFIG_SQUASHFS_ZLIB=y\n")
	dir := "usr/lib/modules/" + release + "/"
	im.put(dir+"modules.builtin", tar.Header{Mode: 0o644}, "kernel/fs/ext4/ext4.ko\n")
	var dep strings.Builder
	for _, name := range []string{"loop", "squashfs", "overlay", "vfat", "virtio_blk", "dm_verity"} {
		if name == im.drop {
			continue
		}
		fmt.Fprintf(&dep, "kernel/%s.ko:\n", name)
		im.put(dir+"kernel/"+name+".ko", tar.Header{Mode: 0o644}, string(kerneltest.Module("depends=", "name="+name)))
	}
	im.put(dir+"modules.dep", tar.Header{Mode: 0o644}, dep.String())
}

// noise returns n bytes that do not compress, the same each time.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}
