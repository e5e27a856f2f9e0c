package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/mkimage/internal/initrd"
	"github.com/spf13/cobra"
)

func (a *app) signCommand() *cobra.Command {
	var key, passphraseFile string
	cmd := &cobra.Command{
		Use:   "sign [flags] --key FILE SLOTSET",
		Short: "Sign a slot set",
		Long: "Sign the manifest of a slot set, and with it every file. The signature is in the slot set\n" +
			"as manifest.json.minisig; one that is there is replaced. Every digest is checked before.",
		Example: "mkimage sign --key release.key kiosk-1.4",
		Args:    operands("SLOTSET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usage("--key is needed")
			}
			return a.signSlotSet(cmd.Context(), key, passphraseFile, args[0])
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the private key `FILE`, of mkimage keygen or minisign -G")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "its passphrase is the first line of `FILE`")
	return cmd
}

func (a *app) signSlotSet(ctx context.Context, key, passphraseFile, dir string) error {
	sign, err := a.signer(key, passphraseFile)
	if err != nil {
		return err
	}
	set, err := a.openSlotSet(ctx, dir)
	if err != nil {
		return err
	}
	if set.Deltas() {
		return notIntact{errors.New("sign: its manifest describes a delta")}
	}
	f, err := os.CreateTemp(dir, "."+bundle.SignatureName+".*")
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	defer os.Remove(f.Name()) // not there any more once it has its name
	_, err = f.Write(sign(set.Manifest, set.raw))
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, bundle.SignatureName))
	}
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	fmt.Fprintf(a.out, "%s: version %s, build %.12s, signed\n", dir, set.Version, set.Build)
	return nil
}

// signer reads a private key and returns what signs a manifest with it: the same bytes each time, because neither the
// time nor chance is in them.
func (a *app) signer(key, passphraseFile string) (func(m *bundle.Manifest, raw []byte) []byte, error) {
	private, err := a.readKey(key, passphraseFile)
	if err != nil {
		return nil, err
	}
	return func(m *bundle.Manifest, raw []byte) []byte {
		return minisign.SignWithComments(private, raw, fmt.Sprintf("slotboot version=%s build=%s", m.Version, m.Build), fmt.Sprintf("signed by key %016X", private.ID()))
	}, nil
}

// signManifest signs what was built, if it is to be signed, and sees to it that the image would boot it.
func (b *build) signManifest(m *bundle.Manifest, raw []byte) error {
	if b.sign == nil {
		if b.keys.Any() {
			b.warn("the image holds public keys: it does not boot until it is signed (mkimage sign --key FILE)")
		}
		return nil
	}
	signature := b.sign(m, raw)
	if b.keys.Any() {
		if _, err := b.keys.Verify(raw, signature); err != nil {
			return withHint(fmt.Errorf("sign: the image would not boot: %w", err), "put the public key into the image as /%s/NAME.pub", initrd.KeysFolder)
		}
	} else {
		b.warn("the image holds no public keys: devices will install and boot what anybody has signed, or nobody")
	}
	b.say("signed  key %s", strings.TrimPrefix(keyOf(signature), "untrusted comment: signed by key "))
	return b.file(bundle.SignatureName, func(w io.Writer) error {
		_, err := w.Write(signature)
		return err
	})
}

func keyOf(signature []byte) string {
	line, _, _ := strings.Cut(string(signature), "\n")
	return line
}

// readKeys returns the image's public keys for its initrd, so that init goes by the same keys as slotctl.
func (b *build) readKeys() ([]initrd.File, error) {
	folder, err := fs.Sub(b.root, initrd.KeysFolder)
	if err != nil {
		return nil, err
	}
	if b.keys, err = minisig.ReadKeys(folder); err != nil {
		return nil, fmt.Errorf("/%s of the image: %w", initrd.KeysFolder, err)
	}
	if !b.keys.Any() {
		return nil, nil
	}
	var files []initrd.File
	for _, dir := range []string{".", minisig.RevokedFolder} {
		entries, err := fs.ReadDir(folder, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			if name := path.Join(dir, entry.Name()); strings.HasSuffix(name, ".pub") && !strings.HasPrefix(entry.Name(), ".") {
				data, err := fs.ReadFile(folder, name)
				if err != nil {
					return nil, err
				}
				files = append(files, initrd.File{Path: name, Data: data})
			}
		}
	}
	b.say("keys    %d trusted, %d revoked: only what is signed will boot", len(b.keys.Trusted), len(b.keys.Revoked))
	return files, nil
}
