package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slotboot/slotboot/mkimage/internal/rootfs"
	"github.com/slotboot/slotboot/mkimage/internal/source"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// imageFlags are the flags of every command that reads a container image.
type imageFlags struct {
	platform    string
	insecure    bool
	strict      bool
	limits      rootfs.Limits
	exclude     []string
	include     []string
	noClean     bool
	compression string
	level       int
	blockSize   int
	order       string
}

func (f *imageFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.platform, "platform", "", "`OS/ARCH` of several in the image, such as linux/arm64")
	set.StringVar(&f.compression, "compression", "", "`CODEC` of the root: zstd, gzip, xz, lz4, none (default the\nbest that the kernel reads)")
	set.IntVar(&f.blockSize, "block-size", squash.DefaultBlockSize, "of the root, in `BYTES`")
	set.StringArrayVar(&f.exclude, "exclude", nil, "leave out what `GLOB` matches, such as /usr/share/doc/**")
	set.BoolVar(&f.noClean, "no-clean", false, "keep package caches, old initrds and the like")
	set.BoolVar(&f.strict, "strict", false, "fail where container engines would disagree")

	set.StringArrayVar(&f.include, "include", nil, "keep what `GLOB` matches, whatever else says to leave it out")
	set.StringVar(&f.order, "order", "", "first the files that `FILE` lists, one path a line; see mkimage boot-order")
	set.IntVar(&f.level, "level", 0, "`N` of the compression")
	set.BoolVar(&f.insecure, "insecure", false, "allow plain HTTP to the registry")
	set.IntVar(&f.limits.Entries, "max-entries", 0, "refuse an image with more than `N` entries (default 2000000)")
	set.Int64Var(&f.limits.Bytes, "max-bytes", 0, "refuse an image that unpacks to more `BYTES` (default 64 GiB)")
	set.IntVar(&f.limits.Depth, "max-depth", 0, "refuse paths with more than `N` elements (default 1024)")
	set.IntVar(&f.limits.Hops, "max-links", 0, "refuse paths through more than `N` symbolic links (default 40)")
	hide(set, "include", "order", "level", "insecure", "max-entries", "max-bytes", "max-depth", "max-links")
}

// hide takes flags that few people need out of -h, which has to fit a screen. --help-all shows them.
func hide(set *pflag.FlagSet, names ...string) {
	for _, name := range names {
		set.Lookup(name).Hidden = true
	}
}

// helpAll gives cmd the flag --help-all.
func helpAll(cmd *cobra.Command) {
	const name = "help-all"
	cmd.Flags().Bool(name, false, "help with every flag")
	plain := cmd.HelpFunc()
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		if all, _ := c.Flags().GetBool(name); all {
			c.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = false })
		}
		plain(c, args)
	})
	args := cmd.Args
	cmd.Args = func(c *cobra.Command, a []string) error {
		if all, _ := c.Flags().GetBool(name); all {
			return pflag.ErrHelp
		}
		return args(c, a)
	}
}

// squashOptions returns how to write the root. compression counts when --compression was not given.
func (f *imageFlags) squashOptions(compression squash.Compression, epoch time.Time) (squash.Options, error) {
	opt := squash.Options{BlockSize: f.blockSize, Compression: compression, Level: f.level, ModTime: epoch, ClampTimes: true}
	if f.compression != "" {
		c, err := squash.ParseCompression(f.compression)
		if err != nil {
			return opt, usageError{err}
		}
		opt.Compression = c
	}
	if n := f.blockSize; n < squash.MinBlockSize || n > squash.MaxBlockSize || n&(n-1) != 0 {
		return opt, usage("--block-size %d: want a power of two from %d to %d", n, squash.MinBlockSize, squash.MaxBlockSize)
	}
	var err error
	opt.Order, _, err = readOrder(f.order)
	return opt, err
}

// recorded returns the flags that change bytes and were given, as the manifest records them: sorted "name=value".
func recorded(set *pflag.FlagSet, names ...string) []string {
	var opts []string
	for _, name := range names {
		f := set.Lookup(name)
		if !f.Changed {
			continue
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				opts = append(opts, name+"="+v)
			}
			continue
		}
		opts = append(opts, name+"="+f.Value.String())
	}
	slices.Sort(opts)
	return opts
}

// sourceDateEpoch returns the time in $SOURCE_DATE_EPOCH, or the zero time.
// See https://reproducible-builds.org/specs/source-date-epoch/.
func sourceDateEpoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	sec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || sec < 0 || sec > 1<<32-1 {
		return time.Time{}, usage("SOURCE_DATE_EPOCH=%s: want seconds since 1970, up to 2106", text)
	}
	return time.Unix(sec, 0).UTC(), nil
}

// epochOf returns the time that everything made from img has: $SOURCE_DATE_EPOCH, else the image's creation, else (a tar
// or a folder has none) that of its newest file.
func epochOf(fixed time.Time, img *source.Image, tree *rootfs.Tree) (time.Time, error) {
	if !fixed.IsZero() {
		return fixed, nil
	}
	if c := img.Config.Created; c.Unix() > 0 {
		return c.UTC().Truncate(time.Second), nil
	}
	newest := time.Unix(0, 0).UTC()
	err := tree.Walk(func(_ string, n *rootfs.Node, _ string) error {
		if n.ModTime.After(newest) {
			newest = n.ModTime.UTC().Truncate(time.Second)
		}
		return nil
	})
	return newest, err
}

// versionOf returns the version of the slot set: text, else the image's label, else its time.
func versionOf(text string, img *source.Image, epoch time.Time) string {
	return cmp.Or(text, img.Config.Labels["org.opencontainers.image.version"], epoch.Format("2006.01.02-150405"))
}

// archOf returns the architecture that the command line or the image asks for, or "" when neither does.
func archOf(platform string, img *source.Image) (string, error) {
	arch := img.Config.Architecture
	if platform != "" {
		parts := strings.Split(platform, "/")
		if len(parts) < 2 || parts[0] != "linux" {
			return "", usage("--platform %s: want linux/amd64 or linux/arm64", platform)
		}
		if arch != "" && arch != parts[1] {
			return "", fmt.Errorf("image is for %s, want %s", img.Platform(), platform)
		}
		arch = parts[1]
	}
	if img.Config.OS != "" && img.Config.OS != "linux" {
		return "", fmt.Errorf("image is for %s, want linux", img.Platform())
	}
	return arch, nil
}
