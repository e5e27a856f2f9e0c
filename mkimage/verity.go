package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/internal/verity"
)

// wantVerity tells whether the root gets a hash tree. A kernel that could not read the root through it gets none, with a
// warning; but what is signed must not depend on who reads the warning.
func (b *build) wantVerity() (bool, error) {
	switch {
	case b.f.noVerity:
		return false, nil
	case b.k.HasVerity():
		return true, nil
	case b.f.key != "":
		return false, withHint(fmt.Errorf("sign: kernel %s has no dm-verity, so that the device could not check the root as it reads it", b.k.Release), "--no-verity, if that is to be so")
	}
	b.warn(fmt.Sprintf("kernel %s has no dm-verity: the device will not notice a root that rots (--no-verity says that this is meant)", b.k.Release))
	return false, nil
}

// appendVerity writes the hash tree behind the root.
func (b *build) appendVerity(ctx context.Context) (*bundle.Verity, error) {
	f, err := os.OpenFile(filepath.Join(b.dir, bundle.RootfsName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	root, err := b.hashRoot(ctx, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", bundle.RootfsName, err)
	}
	b.say("verity  root hash %.16s..., %s", root.Hash, screen.Size(verity.Size(root.DataBlocks)))
	return &bundle.Verity{RootHash: root.Hash, DataBlocks: root.DataBlocks}, nil
}

// hashRoot leaves f with its tree behind it.
func (b *build) hashRoot(ctx context.Context, f *os.File) (verity.Root, error) {
	fi, err := f.Stat()
	if err != nil {
		return verity.Root{}, err
	}
	m := b.meter("verity", fi.Size())
	defer m.Done()
	var h verity.Hasher
	if _, err := io.Copy(&stoppable{ctx, io.MultiWriter(&h, m)}, f); err != nil {
		return verity.Root{}, err
	}
	return h.Finish(f) // where reading has stopped: at its end
}
