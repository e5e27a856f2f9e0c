package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/slots"
)

// The states of a slot in status --json.
const (
	slotEmpty   = "empty"   // none of a slot set's files
	slotPartial = "partial" // some of them, or not of the sizes in the manifest
	slotReady   = "ready"   // a whole slot set; verify compares its digests too
	slotRunning = "running" // this boot came from it
	slotUnknown = "unknown" // off the device without --data
)

// slotInfo is what status says about the content of a slot.
type slotInfo struct {
	Version string `json:"version"`
	Build   string `json:"build"`
	Created string `json:"created"` // RFC 3339, "" if not known
	Size    int64  `json:"size"`    // bytes of the slot set's files
	State   string `json:"state"`
}

// inspect looks at a slot without reading its payloads.
func (d *device) inspect(slot slots.Slot) slotInfo {
	if d.data == "" {
		return slotInfo{State: slotUnknown}
	}
	dir := d.slotDir(slot)
	info := slotInfo{State: slotEmpty}
	for _, name := range bundle.FileNames() {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil {
			info.Size += st.Size()
			info.State = slotPartial
		}
	}
	var m *bundle.Manifest
	if s, err := bundle.ReadFolder(os.DirFS(dir)); err == nil {
		m, info.State = s.Manifest, slotReady
	} else {
		m = d.manifest(slot)
	}
	if info.State == slotPartial && m == nil {
		info.Version = d.halfInstalled(slot)
	}
	if m != nil {
		info.Version, info.Build, info.Created = m.Version, m.Build, m.Created.UTC().Format(time.RFC3339)
	}
	if slot == d.running {
		info.State = slotRunning
	}
	return info
}

// disk is a folder whose files are read from the disk, not from the page cache, as far as the system lets us ask.
type disk struct{ fs.FS }

func onDisk(dir string) fs.FS { return disk{os.DirFS(dir)} }

func (d disk) Open(name string) (fs.File, error) {
	f, err := d.FS.Open(name)
	if file, ok := f.(*os.File); ok && err == nil {
		unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) // advice: where it is not heeded, the cache is what we get
	}
	return f, err
}

// Stat does not open the file: a FIFO would wait for its writer.
func (d disk) Stat(name string) (fs.FileInfo, error) { return fs.Stat(d.FS, name) }

// manifest returns the manifest of a slot; nil if it has none that can be read.
func (d *device) manifest(slot slots.Slot) *bundle.Manifest {
	path := filepath.Join(d.slotDir(slot), bundle.ManifestName)
	info, err := os.Stat(path) // before opening: a FIFO would wait for its writer
	if err != nil || !info.Mode().IsRegular() || info.Size() > bundle.MaxManifest {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	m, err := bundle.ParseManifest(raw)
	if err != nil {
		return nil
	}
	return m
}

// Why a slot holds no slot set. errHalf is what an install leaves that was cut.
var (
	errEmpty = errors.New("empty")
	errHalf  = notIntact{errors.New("half a slot set: it has no " + bundle.ManifestName)}
)

// notIntact is an error that counts as bundle.ErrInvalid without repeating its text: about what is not intact, or not of the
// kind that is wanted. Of what was meant to be one, nobody can tell which it is.
type notIntact struct{ error }

func (notIntact) Is(target error) bool { return target == bundle.ErrInvalid }
func (e notIntact) Unwrap() error      { return e.error }
