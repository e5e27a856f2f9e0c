package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/slots"
)

// What an image says about who may update it, below /etc/slotboot.
const (
	keysFolder    = "keys"           // public keys, and revoked/ below
	insecureFile  = "allow-insecure" // its presence allows install --insecure
	productFile   = "compatible"     // one line: the product
	floorFile     = "state/floor"    // on the data partition: the lowest sequence that may be installed
	maxPolicyFile = 4096
)

// trust is what the flags of install say about authenticity.
type trust struct {
	keys      string // a folder, off the device
	insecure  bool
	downgrade bool
}

// readKeys returns the keys that count on d: those of the image that runs, or off the device those in dir.
func (d *device) readKeys(dir string) (minisig.Keys, error) {
	if d.boot != nil {
		if dir != "" {
			return minisig.Keys{}, usagef("--keys is for off the device: here those in %s count", filepath.Join(d.etc, keysFolder))
		}
		return minisig.ReadKeys(os.DirFS(filepath.Join(d.etc, keysFolder)))
	}
	if dir == "" {
		return minisig.Keys{}, nil
	}
	if err := isFolder("--keys", dir); err != nil {
		return minisig.Keys{}, err
	}
	keys, err := minisig.ReadKeys(os.DirFS(dir))
	if err == nil && !keys.Any() {
		err = notIntact{fmt.Errorf("--keys %s: there is no .pub file", dir)}
	}
	return keys, err
}

// authentic checks the signature of the manifest, on which everything else hangs by its digest, where there are keys.
func (i *installation) authentic() error {
	keys, err := i.readKeys(i.trust.keys)
	if err != nil {
		return err
	}
	if !keys.Any() {
		if i.plain {
			i.warn("nothing says who made this: there are no keys here, and http:// protects nothing")
		}
		return nil
	}
	if i.trust.insecure {
		allowed := filepath.Join(i.etc, insecureFile)
		if _, err := os.Lstat(allowed); err != nil || i.boot == nil {
			return refusal{fmt.Errorf("--insecure is not allowed: this image has no %s", allowed)}
		}
		i.warn("--insecure: not asking who signed it")
		return nil
	}
	key, err := keys.Verify(i.Raw, i.Signature)
	if err != nil {
		return err
	}
	i.say("signed by key %v", key)
	return nil
}

// suits holds what the manifest says about product and sequence against the device.
func (i *installation) suits() error {
	m := i.Manifest
	product, err := i.product()
	if err != nil {
		return err
	}
	if product != "" && m.Compatible != product {
		return refusal{fmt.Errorf("it is for product %q, this device is %q", m.Compatible, product)}
	}
	floor, err := i.floor()
	switch {
	case err != nil:
		return hinted{err, "slotctl commit writes it anew"}
	case m.Sequence >= floor:
		return nil
	case !i.trust.downgrade:
		return refusal{fmt.Errorf("it has sequence %d, this device has committed %d", m.Sequence, floor)}
	case !m.Downgrade:
		return refusal{fmt.Errorf("it has sequence %d, this device has committed %d, and its manifest does not consent to --allow-downgrade", m.Sequence, floor)}
	}
	return nil
}

// product returns what this device is: what the image says, or else its slot set.
func (d *device) product() (string, error) {
	if d.boot != nil {
		text, err := readPolicy(filepath.Join(d.etc, productFile))
		if err != nil || text != "" {
			return text, err
		}
	}
	if here := d.manifest(d.running); here != nil {
		return here.Compatible, nil
	}
	return "", nil
}

// readPolicy returns the one line of a file, "" if there is no such file.
func readPolicy(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPolicyFile {
		return "", fmt.Errorf("read %s: not a regular file of one line", path)
	}
	text, err := os.ReadFile(path)
	line := strings.TrimSpace(string(text))
	if err == nil && strings.ContainsAny(line, "\n\x00") {
		err = fmt.Errorf("read %s: more than one line", path)
	}
	return line, err
}

// floor returns the lowest sequence that may be installed: the highest that was ever committed.
func (d *device) floor() (uint64, error) {
	line, err := readPolicy(filepath.Join(d.data, floorFile))
	if err != nil || line == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(line, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %.40q is no sequence", floorFile, line)
	}
	return n, nil
}

// raiseFloor makes the sequence of a committed slot the floor, if it is above it. Most boots commit what is committed
// already, and then nothing is written.
func (d *device) raiseFloor(slot slots.Slot) error {
	if d.data == "" {
		return nil
	}
	m := d.manifest(slot)
	if m == nil || m.Sequence == 0 {
		return nil
	}
	if floor, err := d.floor(); err == nil && floor >= m.Sequence {
		return nil
	}
	lock, err := d.files.Lock(d.data) // else the end of an install would make the partition read-only under our hands
	if err != nil {
		return fmt.Errorf("raise the floor to sequence %d: %w", m.Sequence, err)
	}
	defer lock.Close()
	err = d.withData(false, func() error { return d.replace(floorFile, fmt.Appendf(nil, "%d\n", m.Sequence)) })
	if err != nil {
		return fmt.Errorf("raise the floor to sequence %d: %w", m.Sequence, err)
	}
	return nil
}

// replace gives a small file of the data partition new content: after a power cut it has the old or the new.
func (d *device) replace(name string, data []byte) error {
	path := filepath.Join(d.data, name)
	dir, next := filepath.Dir(path), path+".new"
	if err := d.files.Mkdir(dir); err != nil {
		return err
	}
	if err := d.files.SyncDir(d.data); err != nil {
		return err
	}
	if err := d.files.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.Create(d.files, next, dir, data); err != nil {
		return err
	}
	if err := d.files.Rename(next, path); err != nil {
		return err
	}
	return d.files.SyncDir(dir)
}

// checkSigned returns which of the keys signed a slot's manifest, "" where there are no keys.
func (d *device) checkSigned(slot slots.Slot, keys minisig.Keys) (string, error) {
	if !keys.Any() {
		return "", nil
	}
	s, err := bundle.ReadFolder(onDisk(d.slotDir(slot)))
	if err != nil {
		return "", err
	}
	key, err := keys.Verify(s.Raw, s.Signature)
	if err != nil {
		return "", err
	}
	return key.String(), nil
}
