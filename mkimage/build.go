package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/initrd"
	"github.com/slotboot/slotboot/mkimage/internal/kernel"
	"github.com/slotboot/slotboot/mkimage/internal/rootfs"
	"github.com/slotboot/slotboot/mkimage/internal/source"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// buildFlags are the flags of mkimage build.
type buildFlags struct {
	imageFlags
	kernel, kernelFile, modulesDir string
	version, compatible            string
	sequence                       uint64
	cmdline                        string
	init                           string
	drivers, modules, firmware     []string
	microcode                      bool
	initrdCompression              string
	noVerity, downgrade            bool
	key, passphraseFile            string
	asJSON                         bool
}

func (a *app) buildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [flags] IMAGE OUTDIR",
		Short: "Turn a container image into a slot set",
		Long: "Turn a container image that holds a kernel into a slot set. IMAGE is oci:DIR[:TAG],\n" +
			"oci-archive:FILE[:TAG], docker-archive:FILE[:REF], docker://REF, tar:FILE, dir:DIR or -.",
		Example: "docker save kiosk | mkimage build --version 1.4 --cmdline console=ttyS0 - kiosk-1.4",
		Args:    operands("IMAGE", "OUTDIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			fixed, err := sourceDateEpoch()
			if err != nil {
				return err
			}
			b := build{app: a, f: &f, options: f.recorded(cmd.Flags()), fixed: fixed}
			return b.run(cmd.Context(), args[0], args[1])
		},
	}
	cmd.Flags().SortFlags = false
	f.add(cmd.Flags())
	helpAll(cmd)
	return cmd
}

func (f *buildFlags) add(set *pflag.FlagSet) {
	f.imageFlags.add(set)
	set.StringVar(&f.kernel, "kernel", "", "`RELEASE` of the kernel to take, of several")
	set.StringVar(&f.version, "version", "", "`TEXT` that names it for people (default the image's label)")
	set.StringVar(&f.cmdline, "cmdline", "", "kernel `ARGS`, one string")
	set.StringSliceVar(&f.drivers, "drivers", nil, "only these `GROUPS` in the initrd: "+strings.Join(kernel.Groups(), ",")+"\n(default all)")
	set.StringArrayVar(&f.modules, "module", nil, "add module `NAME` to the initrd, with what it needs")
	set.BoolVar(&f.asJSON, "json", false, "print the manifest")

	set.StringVar(&f.kernelFile, "kernel-file", "", "take the kernel from `FILE` instead of the image")
	set.StringVar(&f.modulesDir, "modules-dir", "", "its modules: the `DIR` that holds modules.dep")
	set.StringVar(&f.init, "init", "", "take init from `FILE` instead of the embedded one")
	set.StringArrayVar(&f.firmware, "firmware", nil, "add `PATH` below usr/lib/firmware to the initrd")
	set.BoolVar(&f.microcode, "microcode", false, "put processor microcode in front of the initrd")
	set.StringVar(&f.initrdCompression, "initrd-compression", "", "`CODEC`: zstd, lz4, gzip, none (default the best that the kernel reads)")
	set.StringVar(&f.compatible, "compatible", "", "`PRODUCT`: devices refuse another product's slot set")
	set.Uint64Var(&f.sequence, "sequence", 0, "`NUMBER` that grows: devices refuse one below their floor")
	set.BoolVar(&f.downgrade, "downgrade", false, "let slotctl install --allow-downgrade install it below the floor")
	set.StringVar(&f.key, "key", "", "sign with the key in `FILE`, of mkimage keygen")
	set.StringVar(&f.passphraseFile, "passphrase-file", "", "its passphrase is the first line of `FILE`")
	set.BoolVar(&f.noVerity, "no-verity", false, "do not let the device check the root as it reads it")
	hide(set, "passphrase-file", "no-verity", "drivers", "kernel-file", "modules-dir", "init", "firmware", "microcode", "initrd-compression", "compatible", "sequence", "downgrade")
}

// recorded returns the flags that change bytes, but those that name files of this machine: of these the manifest records
// the content, once it is known.
func (f *buildFlags) recorded(set *pflag.FlagSet) []string {
	return recorded(set, "platform", "compression", "level", "block-size", "exclude", "include", "no-clean",
		"kernel", "version", "compatible", "sequence", "cmdline", "drivers", "module", "firmware", "microcode", "initrd-compression", "no-verity", "downgrade")
}

// build is one run of mkimage build.
type build struct {
	*app
	f       *buildFlags
	options []string
	fixed   time.Time                             // of everything; zero: the image's own
	sign    func(*bundle.Manifest, []byte) []byte // nil: leave it unsigned
	keys    minisig.Keys                          // of the image

	img   *source.Image
	tree  *rootfs.Tree
	root  fs.FS
	epoch time.Time
	k     *kernel.Kernel
	dir   string // of the slot set in the making
}

func (b *build) run(ctx context.Context, ref, outDir string) error {
	cfg, err := slotCfg(b.f.cmdline)
	if err != nil {
		return err
	}
	if err := b.checkFlags(); err != nil {
		return err
	}
	out, err := createOutput(outDir, true)
	if err != nil {
		return err
	}
	defer out.discard()
	b.dir = out.tmp
	b.say("read    %s", ref)
	if b.img, b.tree, err = b.openTree(ctx, ref, &b.f.imageFlags); err != nil {
		return err
	}
	defer b.img.Close()
	defer b.tree.Close()
	b.root = treeFS{b.tree}
	if b.epoch, err = epochOf(b.fixed, b.img, b.tree); err != nil {
		return err
	}
	if err := b.findKernel(); err != nil {
		return err
	}
	packed, err := b.writeBoot(cfg)
	if err != nil {
		return err
	}
	root, err := b.writeRoot(ctx)
	if perr := packed(); err == nil {
		err = perr
	}
	if err != nil {
		return err
	}
	m, raw, err := b.writeManifest(ctx, root)
	if err != nil {
		return err
	}
	if err := b.writePackages(m.Build); err != nil {
		return err
	}
	if err := b.signManifest(m, raw); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	if b.f.asJSON {
		_, err := b.out.Write(raw)
		return err
	}
	fmt.Fprintf(b.out, "%s: version %s, build %.12s, %s %s, %s\n", outDir, m.Version, m.Build, m.Arch, m.Kernel, screen.Size(m.Size()))
	return nil
}

// checkFlags finds out early what would otherwise come to light after minutes.
func (b *build) checkFlags() error {
	if _, err := b.f.squashOptions(0, b.fixed); err != nil {
		return err
	}
	for _, name := range b.f.drivers {
		if !slices.Contains(kernel.Groups(), name) {
			return usage("--drivers %s: want %s", name, strings.Join(kernel.Groups(), ", "))
		}
	}
	if b.f.key == "" {
		return nil
	}
	var err error
	b.sign, err = b.signer(b.f.key, b.f.passphraseFile)
	return err
}

// findKernel finds the kernel, in the image or where the flags say.
func (b *build) findKernel() error {
	arch, err := archOf(b.f.platform, b.img)
	if err != nil {
		return err
	}
	opt := kernel.Options{Release: b.f.kernel, Arch: arch}
	if b.f.kernelFile == "" && b.f.modulesDir == "" {
		if b.k, err = kernel.Find(b.root, opt); err != nil {
			return err
		}
	} else if err := b.outsideKernel(opt); err != nil {
		return err
	}
	b.say("kernel  %s (%s), %s", b.k.Release, b.k.Path, b.k.Image.Arch)
	return nil
}

func (b *build) outsideKernel(opt kernel.Options) error {
	if b.f.kernelFile == "" {
		return usage("--modules-dir needs --kernel-file")
	}
	data, err := os.ReadFile(b.f.kernelFile)
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	var modules fs.FS
	if b.f.modulesDir != "" {
		if fi, err := os.Stat(b.f.modulesDir); err != nil {
			return fmt.Errorf("read modules: %w", err)
		} else if !fi.IsDir() {
			return notIntact{fmt.Errorf("read modules: %s is not a folder", b.f.modulesDir)}
		}
		modules = os.DirFS(b.f.modulesDir)
	}
	b.options = append(b.options, "kernel-file=sha256:"+digest(data))
	b.k, err = kernel.Outside(filepath.Base(b.f.kernelFile), data, modules, opt)
	if _, bad := kernel.Inspect(data); bad != nil {
		err = notIntact{err}
	}
	return err
}

// contents gathers what goes into the initrd. It is all in memory: cleaning the root takes nothing of it away.
func (b *build) contents() (c initrd.Contents, err error) {
	c.Release = b.k.Release
	if c.Init, err = initProgram(b.f.init, b.k.Image.Arch, embedded, programDir()); err != nil {
		return c, err
	}
	if b.f.init != "" {
		b.options = append(b.options, "init=sha256:"+digest(c.Init))
	}
	if c.Modules, err = b.k.Select(kernel.Want{Drivers: b.f.drivers, Modules: b.f.modules, Verity: !b.f.noVerity}); err != nil {
		return c, err
	}
	for _, name := range b.f.firmware {
		data, err := kernel.ReadFirmware(b.root, name)
		if err != nil {
			return c, err
		}
		c.Firmware = append(c.Firmware, initrd.File{Path: name, Data: data})
	}
	if c.Keys, err = b.readKeys(); err != nil {
		return c, err
	}
	if b.f.microcode {
		c.Microcode, err = initrd.Microcode(b.root)
	}
	return c, err
}

// writeBoot writes what GRUB loads: the kernel, its arguments and the initrd. That one is packed beside what comes next, because
// it takes a core for seconds: packed waits until it is there.
func (b *build) writeBoot(cfg []byte) (packed func() error, err error) {
	cont, err := b.contents()
	if err != nil {
		return nil, err
	}
	pack := initrd.Choose(b.k.Config)
	if b.f.initrdCompression != "" {
		if pack, err = initrd.Parse(b.f.initrdCompression); err != nil {
			return nil, usageError{err}
		}
		if err := pack.Check(b.k.Config); err != nil {
			return nil, err
		}
	}
	if err := b.file(bundle.KernelName, func(w io.Writer) error {
		_, err := w.Write(b.k.Image.Boot)
		return err
	}); err != nil {
		return nil, err
	}
	if err := b.file(bundle.SlotCfgName, func(w io.Writer) error {
		_, err := w.Write(cfg)
		return err
	}); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		done <- b.file(bundle.InitrdName, func(w io.Writer) error { return initrd.Write(w, cont, pack) })
	}()
	return func() error {
		if err := <-done; err != nil {
			return err
		}
		fi, err := os.Stat(filepath.Join(b.dir, bundle.InitrdName))
		if err != nil {
			return err
		}
		b.say("initrd  %s, %s %s", screen.Count(len(cont.Modules.Modules), "module"), pack, screen.Size(fi.Size()))
		return nil
	}, nil
}

// file makes a file of the slot set.
func (b *build) file(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(b.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = f.Chmod(0o644) // whatever the umask
	if err == nil {
		err = write(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeRoot writes the squashfs, with its hash tree behind it, and returns what the manifest says of it beyond its digest.
func (b *build) writeRoot(ctx context.Context) (bundle.Payload, error) {
	var p bundle.Payload
	if err := b.clean(b.tree, &b.f.imageFlags); err != nil {
		return p, err
	}
	if err := prepare(b.tree, b.epoch); err != nil {
		return p, err
	}
	b.checkInitOf(b.tree, b.f.cmdline)
	best, reads := rootCompression(b.k.Config)
	opt, err := b.f.squashOptions(best, b.epoch)
	if err != nil {
		return p, err
	}
	if err := b.recordOrder(); err != nil {
		return p, err
	}
	if !reads(opt.Compression) {
		return p, fmt.Errorf("compress root with %v: kernel %s cannot read it", opt.Compression, b.k.Release)
	}
	withTree, err := b.wantVerity()
	if err != nil {
		return p, err
	}
	p.Encoder, err = squash.CodecID(opt.Compression, opt.Level)
	if err != nil {
		return p, usageError{err}
	}
	if err := b.file(bundle.RootfsName, func(io.Writer) error { return nil }); err != nil {
		return p, err
	}
	sum, err := b.writeSquash(ctx, b.tree, filepath.Join(b.dir, bundle.RootfsName), opt)
	if err != nil {
		return p, err
	}
	b.say("root    %s, %s, %v %s", screen.Count(sum.Inodes, "inode"), screen.Size(sum.FileBytes), opt.Compression, screen.Size(sum.Size))
	if withTree {
		p.Verity, err = b.appendVerity(ctx)
	}
	return p, err
}

// rootCompression returns the best compression that a kernel of that configuration reads, and a test for others. Of a
// kernel whose configuration is not known, zstd is assumed: every distribution has had it since 4.14.
func rootCompression(c kernel.Config) (squash.Compression, func(squash.Compression) bool) {
	names := map[squash.Compression]string{squash.Zstd: "SQUASHFS_ZSTD", squash.XZ: "SQUASHFS_XZ", squash.Gzip: "SQUASHFS_ZLIB", squash.LZ4: "SQUASHFS_LZ4", squash.None: "SQUASHFS_ZLIB"}
	reads := func(s squash.Compression) bool { return c == nil || c.Yes(names[s]) }
	for _, s := range []squash.Compression{squash.Zstd, squash.XZ, squash.Gzip, squash.LZ4} {
		if reads(s) {
			return s, reads
		}
	}
	return squash.Zstd, reads
}

// writeManifest describes the files that are there by now. It returns the manifest and its file.
func (b *build) writeManifest(ctx context.Context, root bundle.Payload) (*bundle.Manifest, []byte, error) {
	m := &bundle.Manifest{
		Format: bundle.Format, Version: versionOf(b.f.version, b.img, b.epoch), Created: b.epoch, Arch: b.k.Image.Arch, Kernel: b.k.Release,
		Compatible: b.f.compatible, Sequence: b.f.sequence, Downgrade: b.f.downgrade, Tool: tool, Options: b.options,
		Source: bundle.Source{Kind: b.img.Kind, Name: b.img.Ref, Manifest: b.img.ManifestDigest, Config: b.img.ConfigDigest, DiffIDs: b.img.DiffIDs()},
	}
	for _, name := range []string{bundle.SlotCfgName, bundle.KernelName, bundle.InitrdName, bundle.RootfsName} {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		p, err := payload(filepath.Join(b.dir, name))
		if err != nil {
			return nil, nil, err
		}
		if name == bundle.RootfsName {
			p.Encoder, p.Verity = root.Encoder, root.Verity
		}
		m.Payloads = append(m.Payloads, p)
	}
	slices.Sort(m.Options)
	m.Build = bundle.BuildID(m.Payloads)
	raw, err := m.Encode()
	if err != nil {
		return nil, nil, err
	}
	return m, raw, b.file(bundle.ManifestName, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}

// payload describes a file of a slot set.
func payload(path string) (bundle.Payload, error) {
	f, err := os.Open(path)
	if err != nil {
		return bundle.Payload{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return bundle.Payload{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return bundle.Payload{Name: filepath.Base(path), Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
