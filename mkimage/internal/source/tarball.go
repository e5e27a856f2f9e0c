package source

import (
	"context"
	"errors"
	"io"
	"os"
)

// openTar makes an image of one layer from a root file system in a tar, compressed or not; "-" is standard input.
func openTar(ctx context.Context, path string, opt Options) (*Image, error) {
	if path == "-" {
		if opt.Stdin == nil {
			return nil, errors.New("standard input is closed")
		}
		used := false
		return single(ctx, "tar", opt, 0, func(context.Context) (rc, error) {
			if used {
				return nil, errors.New("standard input was read already")
			}
			used = true
			return io.NopCloser(opt.Stdin), nil
		}), nil
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, withHint(unlike{errors.New("not a file")}, "write %s:%s", transportOf(path), path)
	}
	var size int64
	if fi.Mode().IsRegular() {
		if size = fi.Size(); size == 0 {
			return nil, unlike{errors.New("the file is empty")}
		}
	}
	return single(ctx, "tar", opt, size, func(context.Context) (rc, error) { return os.Open(path) }), nil
}

// single returns an image of one layer that is a whole root file system.
func single(ctx context.Context, kind string, opt Options, size int64, raw func(context.Context) (rc, error)) *Image {
	l := &Layer{Name: kind, Size: size, Plain: true}
	l.open = opener(ctx, l, opt, newMeter([]descriptor{{Size: size}}, opt.Progress), raw)
	return &Image{Kind: kind, Layers: []*Layer{l}}
}
