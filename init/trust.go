package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/slotboot/slotboot/internal/minisig"
)

// signatureName is the file of a slot set that holds the signature of its manifest.
const signatureName = "manifest.json.minisig"

// Limits on what is read from a slot, in bytes, as in package bundle.
const (
	maxManifest  = 1 << 20
	maxSignature = 64 << 10
)

// checkSignature makes sure that a manifest is signed, if this initrd holds keys. They were put there from the image when
// the slot set was built; so an initrd that is itself the original boots the original root and no other. Who signed is
// in the log.
func (b *boot) checkSignature(manifest []byte) error {
	keys, err := minisig.ReadKeys(os.DirFS(b.m.Path(minisig.Folder)))
	if err != nil {
		return err
	}
	if !keys.Any() {
		return nil
	}
	signature, err := b.readSlotFile(signatureName, maxSignature)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := keys.Verify(manifest, signature)
	if err != nil {
		return fmt.Errorf("check %s of slot %v: %w", manifestName, b.slot, err)
	}
	b.m.Note("slotboot: " + manifestName + " of slot " + b.slot.String() + " is signed by key " + key.String())
	return nil
}

// readSlotFile returns a small file of the slot.
func (b *boot) readSlotFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(b.m.Path(b.slotDir() + "/" + name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("read %s of slot %v: more than %d bytes", name, b.slot, limit)
	}
	return text, err
}
