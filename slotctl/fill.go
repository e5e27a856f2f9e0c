package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/screen"
)

// newManifest is the manifest's name until every other file of the slot set has been read back.
const newManifest = "." + bundle.ManifestName + ".new"

// fill writes the slot set into the target: old files away, payloads as they stream, fsync, read back, the manifest
// last, the journal written back. When it returns nil GRUB can read every byte.
func (i *installation) fill() error {
	dir := i.slotDir(i.target)
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := i.files.Mkdir(d); err != nil {
			return err
		}
		if err := i.files.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	var err error
	if i.journal, err = i.openJournal(dir); err != nil {
		return err
	}
	err = i.copyPayloads(dir)
	if err = errors.Join(err, i.journal.file.Close()); err != nil {
		return err
	}
	if err := i.readBack(dir); err != nil {
		return err
	}
	if err := i.describe(dir); err != nil {
		return err
	}
	if err := i.files.Settle(i.data); err != nil {
		return err
	}
	if i.ctx.Err() != nil {
		return errInterrupted
	}
	i.say("slot %s: read back, every digest matches", i.target)
	return nil
}

// copyPayloads writes the payloads as they come, and reads the source to its end.
func (i *installation) copyPayloads(dir string) error {
	bar := i.meter("write", i.Manifest.Size())
	defer bar.Done()
	if i.Manifest.Deltas() {
		defer sparingly()()
	}
	buf := make([]byte, min(1<<20, i.markEvery))
	for {
		entry, err := i.Next()
		if errors.Is(err, io.EOF) {
			return i.files.SyncDir(dir)
		}
		if err != nil {
			return err
		}
		if err := i.copyPayload(dir, entry, bar, buf); err != nil {
			return err
		}
		if !bar.Shown() {
			i.say("slot %s: %s, %s", i.target, entry.Payload.Name, screen.Size(entry.Payload.Size))
		}
	}
}

func (i *installation) copyPayload(dir string, entry *bundle.Entry, bar *screen.Meter, buf []byte) error {
	p := &entry.Payload
	path := filepath.Join(dir, p.Name)
	kept := i.kept(path, p)
	var have io.Reader
	if kept.size > 0 {
		i.say("slot %s: %s: %s are there already", i.target, p.Name, screen.Size(kept.size))
		f, err := i.files.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		have = watched{f, i.ctx, bar}
	}
	content, done, err := i.content(entry, have, kept.size)
	if err != nil {
		return err
	}
	defer done.Close()
	return i.copyFile(path, p.Name, watched{content, i.ctx, bar}, kept, buf)
}

func (i *installation) copyFile(path, name string, from io.Reader, kept mark, buf []byte) (err error) {
	f, err := i.openPayload(path, name, kept)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	// io.CopyBuffer would hand the copy to the file, and with it the choice of the writes.
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, from, buf); err != nil {
		return err
	}
	return f.finish()
}

// readBack compares what the disk holds with the manifest.
func (i *installation) readBack(dir string) error {
	bar := i.meter("read back", i.Manifest.Size())
	defer bar.Done()
	for _, p := range i.Manifest.Payloads {
		f, err := i.files.Open(filepath.Join(dir, p.Name))
		if err != nil {
			return err
		}
		got, err := digest(f, watched{f, i.ctx, bar})
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read back %s: %w", p.Name, err)
		}
		if got != p.SHA256 {
			return fmt.Errorf("read back %s: sha256 %s, want %s: %w", p.Name, got, p.SHA256, durable.ErrReadBack)
		}
	}
	return nil
}

func digest(f durable.File, from io.Reader) (string, error) {
	if err := f.DropCache(); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, from); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// describe writes the signature and then the manifest, which makes the target a slot set.
func (i *installation) describe(dir string) error {
	if i.Signature != nil {
		if err := durable.Create(i.files, filepath.Join(dir, bundle.SignatureName), dir, i.Signature); err != nil {
			return err
		}
	}
	if err := durable.Create(i.files, filepath.Join(dir, newManifest), dir, i.Raw); err != nil {
		return err
	}
	if err := i.files.Remove(filepath.Join(dir, journalName)); err != nil {
		return err
	}
	if err := i.files.Rename(filepath.Join(dir, newManifest), filepath.Join(dir, bundle.ManifestName)); err != nil {
		return err
	}
	return i.files.SyncDir(dir)
}
