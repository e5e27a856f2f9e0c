package minisig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Folder is where the keys stand, in the image and in the initrd, and RevokedFolder is the folder below it that holds
// those that are revoked.
const (
	Folder        = "/etc/slotboot/keys"
	RevokedFolder = "revoked"
)

// maxKeyFile bounds a .pub file, in bytes. Real ones have about 110.
const maxKeyFile = 4096

// ReadKeys reads the .pub files of a folder and of revoked/ below it. Files of other names do not count, a missing
// folder is one without keys. A .pub file that is none is an error: which key it was meant to be, nobody can tell.
func ReadKeys(fsys fs.FS) (Keys, error) {
	var k Keys
	var err error
	if k.Trusted, err = readFolder(fsys, "."); err != nil {
		return Keys{}, err
	}
	k.Revoked, err = readFolder(fsys, RevokedFolder)
	if err != nil {
		return Keys{}, err
	}
	return k, nil
}

func readFolder(fsys fs.FS, dir string) ([]PublicKey, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var keys []PublicKey
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".pub") || strings.HasPrefix(name, ".") {
			continue
		}
		if dir != "." {
			name = dir + "/" + name
		}
		key, err := readKey(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func readKey(fsys fs.FS, name string) (PublicKey, error) {
	info, err := fs.Stat(fsys, name) // before opening: a FIFO would wait for its writer
	if err != nil {
		return PublicKey{}, err
	}
	if !info.Mode().IsRegular() {
		return PublicKey{}, untrusted("not a regular file")
	}
	f, err := fsys.Open(name)
	if err != nil {
		return PublicKey{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return PublicKey{}, err
	}
	return ParsePublicKey(text)
}
