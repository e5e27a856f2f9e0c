package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/mkimage/internal/initrd"
)

// wouldBoot makes sure that init would boot the slot set: if its initrd holds public keys, that one of them signed it.
// The error wraps minisig.ErrUntrusted. An initrd that somebody else has made says nothing, and passes.
func (s *slotSet) wouldBoot() error {
	f, err := os.Open(filepath.Join(s.dir, bundle.InitrdName))
	if err != nil {
		return fmt.Errorf("read slot set: %w", err)
	}
	defer f.Close()
	files, err := initrd.ReadKeys(f)
	if errors.Is(err, initrd.ErrForeign) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read slot set: %w", err)
	}
	var keys minisig.Keys
	for _, file := range files {
		key, err := minisig.ParsePublicKey(file.Data)
		if err != nil {
			return fmt.Errorf("read slot set: key %s in its initrd: %w", file.Path, err)
		}
		if path.Dir(file.Path) == minisig.RevokedFolder {
			keys.Revoked = append(keys.Revoked, key)
		} else {
			keys.Trusted = append(keys.Trusted, key)
		}
	}
	if !keys.Any() {
		return nil
	}
	signature, err := os.ReadFile(filepath.Join(s.dir, bundle.SignatureName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read slot set: %w", err)
	}
	if _, err := keys.Verify(s.raw, signature); err != nil {
		return withHint(fmt.Errorf("%s would not boot, because its initrd holds public keys: %w", s.dir, err), "mkimage sign --key FILE %s", s.dir)
	}
	return nil
}
