package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// identityFile is where a device keeps the key to its bundles, on the data partition, which updates leave alone.
const identityFile = "state/identity"

// What an encrypted bundle begins with.
const (
	sealedStart  = "age-encryption.org/v1\n"
	armoredStart = "-----BEGIN AGE ENCRYPTED FILE-----"
)

// identity returns the file with the keys for encrypted bundles: what the flag names, else that of the device.
func (d *device) identity(flag string) string {
	if flag != "" {
		return flag
	}
	return filepath.Join(d.data, identityFile)
}

// peeker is a reader that can be looked into.
type peeker interface {
	io.Reader
	Peek(n int) ([]byte, error)
}

// unseal returns in, or what is encrypted in it. sealed tells which.
func unseal(in peeker, identity string) (out io.Reader, sealed bool, err error) {
	head, err := in.Peek(len(armoredStart))
	switch {
	case strings.HasPrefix(string(head), armoredStart):
		return nil, false, notIntact{errors.New("not a bundle: it is encrypted with age as text, want it as bytes")}
	case !strings.HasPrefix(string(head), sealedStart):
		return in, false, nil // also if it cannot be read: whoever reads on says so
	}
	f, err := os.Open(identity)
	if err != nil {
		return nil, false, hinted{fmt.Errorf("it is encrypted: %w", err), "--identity FILE names the key"}
	}
	defer f.Close()
	keys, err := age.ParseIdentities(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, false, notIntact{fmt.Errorf("read %s: %w", identity, err)}
	}
	from := &remembering{from: in}
	plain, err := age.Decrypt(from, keys...)
	if none := new(age.NoIdentityMatchError); errors.As(err, &none) {
		return nil, false, notIntact{fmt.Errorf("it is encrypted for others than the keys in %s", identity)}
	}
	if err != nil {
		return nil, false, from.blame(err)
	}
	return bufio.NewReaderSize(authenticated{plain, from}, 1<<20), true, nil
}

// remembering is a reader that keeps its error.
type remembering struct {
	from io.Reader
	err  error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// blame returns the error of the source, if it had one, or says that what came from it is not intact.
func (r *remembering) blame(err error) error {
	if r.err != nil {
		return r.err
	}
	return notIntact{fmt.Errorf("decrypt: %w", err)}
}

// authenticated is what is encrypted in a source: each error of it is about the source, or about the bytes.
type authenticated struct {
	io.Reader
	source *remembering
}

func (a authenticated) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = a.source.blame(err)
	}
	return n, err
}
