package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/spf13/cobra"
)

func (a *app) verifyCommand() *cobra.Command {
	var pubs []string
	cmd := &cobra.Command{
		Use:   "verify [flags] --pubkey FILE X",
		Short: "Check who signed a slot set or bundle, and every byte of it",
		Long: "Check the signature of a slot set or bundle, the digest of each file, and the hash tree of\n" +
			"the root. Status 4: not signed by one of the keys, or not what was signed.",
		Example: "mkimage verify --pubkey release.pub kiosk-1.4.bundle",
		Args:    operands("X"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(pubs) == 0 {
				return usage("--pubkey is needed")
			}
			if err := a.verify(cmd.Context(), pubs, args[0]); err != nil {
				return fmt.Errorf("verify %s: %w", args[0], err)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&pubs, "pubkey", nil, "a public key `FILE`, or a folder as /etc/slotboot/keys; may be repeated")
	return cmd
}

func (a *app) verify(ctx context.Context, pubs []string, path string) error {
	keys, err := readPublicKeys(pubs)
	if err != nil {
		return err
	}
	s, f, err := openStream(path)
	if err != nil {
		return err
	}
	defer f.Close()
	signed := s.Raw
	if s.Manifest.Deltas() {
		if signed, err = s.Manifest.Whole().Encode(); err != nil {
			return err
		}
	}
	key, err := keys.Verify(signed, s.Signature)
	if err != nil {
		return err
	}
	if err := a.readStream(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: version %s, build %.12s, signed by key %v, every byte is as signed\n", path, s.Manifest.Version, s.Manifest.Build, key)
	return nil
}

// openStream opens a slot set or a bundle. Close the file when the stream has been read.
func openStream(path string) (*bundle.Stream, *os.File, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, nil, err
	}
	var s *bundle.Stream
	switch {
	case in.dir:
		s, err = readFolder(path)
	case in.isDisk():
		err = withHint(in.not("signed as a whole"), "give the slot set or the bundle; on the device, slotctl verify")
	case in.isSquashfs():
		err = withHint(in.not("signed by itself"), "signed is the manifest of its slot set: give the slot set or the bundle")
	default:
		s, err = bundle.NewReader(in)
	}
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	return s, in.File, nil
}

func readPublicKeys(paths []string) (*minisig.Keys, error) {
	all := &minisig.Keys{}
	for _, path := range paths {
		fi, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		if fi.IsDir() {
			keys, err := minisig.ReadKeys(os.DirFS(path))
			if err != nil {
				return nil, err
			}
			all.Trusted, all.Revoked = append(all.Trusted, keys.Trusted...), append(all.Revoked, keys.Revoked...)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		key, err := minisig.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", path, err)
		}
		all.Trusted = append(all.Trusted, key)
	}
	if !all.Any() {
		return nil, notIntact{fmt.Errorf("read key: there is no .pub file in %s", strings.Join(paths, ", "))}
	}
	return all, nil
}
