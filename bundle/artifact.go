package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// The media types of a slot set in an OCI registry. docs/bundle.md describes the artifact.
const (
	ArtifactType       = "application/vnd.slotboot.slotset.v1"
	MediaTypeManifest  = "application/vnd.slotboot.manifest.v1+json"
	MediaTypeSignature = "application/vnd.slotboot.signature.v1"
	MediaTypePayload   = "application/vnd.slotboot.payload.v1"
	MediaTypeDelta     = "application/vnd.slotboot.delta.v1"
	MediaTypeOCI       = "application/vnd.oci.image.manifest.v1+json"
	mediaTypeEmpty     = "application/vnd.oci.empty.v1+json"
)

// MaxArtifact is the size in bytes of the largest artifact manifest that ParseArtifact reads.
const MaxArtifact = 1 << 20

// EmptyConfig is the configuration blob of every artifact, as the OCI image specification has it.
const EmptyConfig = "{}"

// Artifact is a slot set in an OCI registry: the image manifest that names its files.
type Artifact struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Descriptor names one blob of an artifact.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// titleKey is where tools such as oras read a blob's file name.
const titleKey = "org.opencontainers.image.title"

// Title returns the file name of the blob.
func (d Descriptor) Title() string { return d.Annotations[titleKey] }

// NewArtifact returns the artifact of the slot set that s gives, full or with deltas: manifest.json, its signature if
// there is one, then the payloads as the bundle carries them. The same slot set gives the same artifact.
func NewArtifact(s *Stream) *Artifact {
	a := &Artifact{
		SchemaVersion: 2, MediaType: MediaTypeOCI, ArtifactType: ArtifactType,
		Config:      Descriptor{MediaType: mediaTypeEmpty, Digest: Digest([]byte(EmptyConfig)), Size: int64(len(EmptyConfig))},
		Annotations: map[string]string{"org.opencontainers.image.version": s.Manifest.Version, "org.opencontainers.image.created": s.Manifest.Created.UTC().Format("2006-01-02T15:04:05Z")},
	}
	a.add(MediaTypeManifest, ManifestName, Digest(s.Raw), int64(len(s.Raw)))
	if s.Signature != nil {
		a.add(MediaTypeSignature, SignatureName, Digest(s.Signature), int64(len(s.Signature)))
	}
	for _, p := range s.Manifest.Payloads {
		kind := MediaTypePayload
		if p.Delta != nil {
			kind = MediaTypeDelta
		}
		size, digest := p.Carried()
		a.add(kind, p.Name, "sha256:"+digest, size)
	}
	return a
}

func (a *Artifact) add(kind, name, digest string, size int64) {
	a.Layers = append(a.Layers, Descriptor{kind, digest, size, map[string]string{titleKey: name}})
}

// Encode returns the manifest as a registry keeps it.
func (a *Artifact) Encode() ([]byte, error) { return json.Marshal(a) }

// ParseArtifact reads what a registry gives. It must name one manifest.json and at most one signature, of sizes that a
// bundle may have; what else it names does not count, because the manifest.json names the payloads. Errors wrap
// ErrInvalid.
func ParseArtifact(data []byte) (*Artifact, error) {
	if len(data) > MaxArtifact {
		return nil, invalidf("artifact: larger than %d bytes", MaxArtifact)
	}
	a := new(Artifact)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, invalidf("artifact: %v", err)
	}
	if a.ArtifactType != ArtifactType && (len(a.Layers) == 0 || a.Layers[0].MediaType != MediaTypeManifest) {
		return nil, invalidf("not a slot set: it is a container image or another artifact")
	}
	for kind, limit := range map[string]int64{MediaTypeManifest: MaxManifest, MediaTypeSignature: MaxSignature} {
		all := a.layers(kind)
		if len(all) > 1 || kind == MediaTypeManifest && len(all) == 0 {
			return nil, invalidf("artifact: %d blobs of type %s", len(all), kind)
		}
		for _, d := range all {
			if d.Size < 0 || d.Size > limit {
				return nil, invalidf("artifact: %s has %d bytes, want at most %d", kind, d.Size, limit)
			}
			if len(d.Digest) < 7 || d.Digest[:7] != "sha256:" || !isDigest(d.Digest[7:]) {
				return nil, invalidf("artifact: %s: digest %.80q, want sha256:HEX", kind, d.Digest)
			}
		}
	}
	return a, nil
}

func (a *Artifact) layers(kind string) []Descriptor {
	var found []Descriptor
	for _, d := range a.Layers {
		if d.MediaType == kind {
			found = append(found, d)
		}
	}
	return found
}

// DeltaTag returns the tag under which a registry has, beside the one that people give it, the delta to the slot set of
// this build from the one whose root has this digest.
func DeltaTag(root, build string) string {
	return "delta-" + root[:min(16, len(root))] + "-" + build[:min(16, len(build))]
}

// DeltaTag returns the tag by which a device finds the delta in m; "" if m does not carry its root as one.
func (m *Manifest) DeltaTag() string {
	if p, ok := m.Payload(RootfsName); ok && p.Delta != nil {
		return DeltaTag(p.Delta.From, m.Build)
	}
	return ""
}

// Manifest returns the blob that is manifest.json.
func (a *Artifact) Manifest() Descriptor { return a.layers(MediaTypeManifest)[0] }

// Signature returns the blob that is its signature, if there is one.
func (a *Artifact) Signature() (Descriptor, bool) {
	if all := a.layers(MediaTypeSignature); len(all) > 0 {
		return all[0], true
	}
	return Descriptor{}, false
}

// Check compares the content of a blob with its descriptor. The error wraps ErrInvalid.
func (d Descriptor) Check(data []byte) error {
	if int64(len(data)) != d.Size || Digest(data) != d.Digest {
		return invalidf("artifact: %s: %d bytes, %s, want %d, %s", d.MediaType, len(data), Digest(data), d.Size, d.Digest)
	}
	return nil
}

// Digest names data as a registry does: "sha256:" and 64 hex digits.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return fmt.Sprintf("sha256:%s", hex.EncodeToString(sum[:]))
}
