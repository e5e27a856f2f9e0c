package bundle

import (
	"slices"
	"time"
)

// Format is the manifest format this package writes and the only one it reads.
const Format = 1

// The names of the files in a slot set, which are the names of the entries in a bundle.
const (
	ManifestName  = "manifest.json"
	SignatureName = "manifest.json.minisig"
	KernelName    = "vmlinuz"
	InitrdName    = "initrd"
	RootfsName    = "rootfs.squashfs"
	SlotCfgName   = "slot.cfg"
)

// Manifest describes a slot set. It is what gets signed; everything else hangs on it by digest.
type Manifest struct {
	Format     int       `json:"format"`               // 1
	Version    string    `json:"version"`              // for people: "1.4.2"; any text without control characters
	Build      string    `json:"build"`                // for machines: sha256 over the payload digests, hex
	Created    time.Time `json:"created"`              // the container image's creation time, not the build's: builds reproduce
	Arch       string    `json:"arch"`                 // GOARCH: amd64, arm64
	Kernel     string    `json:"kernel"`               // release, as uname -r prints it
	Compatible string    `json:"compatible,omitempty"` // product; a device refuses another product's
	Sequence   uint64    `json:"sequence,omitempty"`   // monotonic version; a device refuses one below its floor
	Downgrade  bool      `json:"downgrade,omitempty"`  // consents to --allow-downgrade
	Tool       string    `json:"tool"`                 // "mkimage 0.1.0"
	Source     Source    `json:"source"`
	Options    []string  `json:"options,omitempty"` // the build options that change bytes, sorted "name=value"
	Payloads   []Payload `json:"payloads"`          // in the order in which they stand in a bundle
}

// Source says which container image a slot set was made from. It holds digests, never host paths.
type Source struct {
	Kind     string   `json:"kind"`               // oci, docker-archive, docker, tar, dir
	Name     string   `json:"name,omitempty"`     // repository and tag where the image itself carries them
	Manifest string   `json:"manifest,omitempty"` // sha256:... of the image manifest
	Config   string   `json:"config,omitempty"`   // sha256:... of the image config
	DiffIDs  []string `json:"diff_ids,omitempty"` // sha256:... of each uncompressed layer, lowest first
}

// Payload is one file of a slot set.
type Payload struct {
	Name    string  `json:"name"`              // a file name of the slot set, never a path
	Size    int64   `json:"size"`              // bytes of the installed file
	SHA256  string  `json:"sha256"`            // of the installed file, 64 hex digits
	Encoder string  `json:"encoder,omitempty"` // the squashfs block encoder, for deltas: "kp-zstd/1"
	Verity  *Verity `json:"verity,omitempty"`  // the hash tree appended to the squashfs
	Delta   *Delta  `json:"delta,omitempty"`   // in a delta bundle: the entry holds a delta, not the file
}

// Verity describes a dm-verity hash tree appended to a payload: version 1, sha256, 4096-byte blocks, no salt.
type Verity struct {
	RootHash   string `json:"root_hash"`   // 64 hex digits
	DataBlocks int64  `json:"data_blocks"` // 4096-byte blocks in front of the tree, which starts with its superblock
}

// Delta describes the bytes that a bundle carries in place of a payload.
type Delta struct {
	Format string `json:"format"`      // name and version of the delta format
	Size   int64  `json:"size"`        // bytes in the bundle
	SHA256 string `json:"sha256"`      // of those bytes
	From   string `json:"from_sha256"` // the installed file it starts from
}

// Whole returns the manifest of the slot set that installing m gives: m without its deltas. Its Encode is the
// manifest.json that a full bundle of the same slot set carries, and so what the signature in a delta bundle signs.
func (m *Manifest) Whole() *Manifest {
	whole := *m
	whole.Payloads = slices.Clone(m.Payloads)
	for i := range whole.Payloads {
		whole.Payloads[i].Delta = nil
	}
	return &whole
}

// Deltas tells whether any payload is carried as a delta.
func (m *Manifest) Deltas() bool {
	return slices.ContainsFunc(m.Payloads, func(p Payload) bool { return p.Delta != nil })
}
