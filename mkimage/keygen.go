package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"aead.dev/minisign"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) keygenCommand() *cobra.Command {
	var open bool
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "keygen [flags] FILE",
		Short: "Make a key pair for signing",
		Long: "Make a key pair: FILE.key, which signs and stays secret, and FILE.pub, which goes into the\n" +
			"image as /etc/slotboot/keys/NAME.pub. minisign reads both.",
		Example: "mkimage keygen release",
		Args:    operands("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if open && passphraseFile != "" {
				return usage("-W and --passphrase-file: want one of them")
			}
			return a.keygen(args[0], open, passphraseFile)
		},
	}
	cmd.Flags().BoolVarP(&open, "no-passphrase", "W", false, "do not protect the key with a passphrase")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "the passphrase is the first line of `FILE`")
	return cmd
}

func (a *app) keygen(name string, open bool, passphraseFile string) error {
	secret, err := createOutput(name+".key", false)
	if err != nil {
		return err
	}
	defer secret.discard()
	public, err := createOutput(name+".pub", false)
	if err != nil {
		return err
	}
	defer public.discard()
	pub, private, err := minisign.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	text, err := private.MarshalText()
	if !open && err == nil {
		var passphrase string
		if passphrase, err = a.passphrase(passphraseFile, true); err == nil {
			text, err = minisign.EncryptKey(passphrase, private)
		}
	}
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	pubText, err := pub.MarshalText()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	for _, file := range []struct {
		*output
		text []byte
		mode os.FileMode
	}{{secret, text, 0o600}, {public, pubText, 0o644}} {
		line := append(bytes.TrimRight(file.text, "\n"), '\n') // minisign wants the newline
		if err := os.Chmod(file.tmp, file.mode); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		if _, err := writeFile(file.tmp, writeBytes(line)); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
	}
	if err := secret.commit(); err != nil {
		return err
	}
	if err := public.commit(); err != nil {
		return errors.Join(err, os.Remove(secret.path))
	}
	fmt.Fprintf(a.out, "%s.key, %s.pub: key %016X\n", name, name, pub.ID())
	return nil
}

// readKey reads a private key, and asks for its passphrase if it has one.
func (a *app) readKey(path, passphraseFile string) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("read key: %w", err)
	}
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return key, withHint(notIntact{fmt.Errorf("read key %s: %s", path, strings.TrimPrefix(err.Error(), "minisign: "))}, "the private key is FILE.key, of mkimage keygen FILE")
		}
		return key, nil
	}
	passphrase, err := a.passphrase(passphraseFile, false)
	if err != nil {
		return key, fmt.Errorf("read key %s: %w", path, err)
	}
	if key, err = minisign.DecryptKey(passphrase, text); err != nil {
		return key, fmt.Errorf("read key %s: wrong passphrase, or the file is damaged: %s", path, strings.TrimPrefix(err.Error(), "minisign: "))
	}
	return key, nil
}

// passphrase returns the first line of the file, or asks at the terminal; for a new key twice.
func (a *app) passphrase(file string, twice bool) (string, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			return "", notIntact{fmt.Errorf("the passphrase in %s is empty", file)}
		}
		return line, nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", withHint(errors.New("it takes a passphrase, and there is no terminal to ask at"), "--passphrase-file FILE; for a key without a passphrase: mkimage keygen -W")
	}
	defer tty.Close()
	first, err := ask(tty, "passphrase: ")
	if err != nil || !twice {
		return first, err
	}
	again, err := ask(tty, "again:      ")
	if err == nil && again != first {
		err = errors.New("the two passphrases are not the same")
	}
	if err == nil && first == "" {
		err = withHint(errors.New("the passphrase is empty"), "-W makes a key without one")
	}
	return first, err
}

func ask(tty *os.File, prompt string) (string, error) {
	if _, err := io.WriteString(tty, prompt); err != nil {
		return "", err
	}
	text, err := term.ReadPassword(int(tty.Fd()))
	io.WriteString(tty, "\n")
	return string(text), err
}
