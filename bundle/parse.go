package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slotboot/slotboot/internal/verity"
)

// Limits on what a manifest may ask a device to hold, in bytes.
const (
	MaxManifest  = 1 << 20  // manifest.json
	MaxSignature = 64 << 10 // manifest.json.minisig
	MaxPayload   = 1 << 42  // one file; small enough that sums never overflow
	maxText      = 1024     // one text field
)

// ErrInvalid is what every error about the content of a manifest, slot set or bundle wraps: the data is not what it
// says it is. Errors of reading it (a disk, a cable) do not wrap it.
var ErrInvalid = errors.New("not intact")

// invalid is an error that wraps ErrInvalid without repeating its text.
type invalid struct{ text string }

func (e *invalid) Error() string        { return e.text }
func (e *invalid) Is(target error) bool { return target == ErrInvalid }

func invalidf(format string, args ...any) error { return &invalid{fmt.Sprintf(format, args...)} }

// ParseManifest reads manifest.json and checks it as Validate does. It is strict, because a signature covers bytes and
// two programs must not read two things in them: UTF-8, one document, no duplicate or unknown keys, keys spelled
// exactly. Errors wrap ErrInvalid.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifest {
		return nil, invalidf("manifest: larger than %d bytes", MaxManifest)
	}
	if err := strictJSON(data); err != nil {
		return nil, err
	}
	if err := checkFormat(data); err != nil {
		return nil, err
	}
	m := new(Manifest)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, invalidf("manifest: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// checkFormat looks at the format alone first: a manifest of another format must not be blamed for its unknown keys.
func checkFormat(data []byte) error {
	var head struct {
		Format *json.Number `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return invalidf("manifest: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if head.Format == nil {
		return invalidf("manifest: no format, want %d", Format)
	}
	if head.Format.String() != fmt.Sprint(Format) {
		return invalidf("manifest: format %s, this program reads format %d", *head.Format, Format)
	}
	return nil
}

// strictJSON checks what encoding/json lets pass: bad UTF-8, duplicate keys, keys in other case, text behind the end.
func strictJSON(data []byte) error {
	if !utf8.Valid(data) {
		return invalidf("manifest: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var open []map[string]bool // the keys of each open object, nil for an array
	key := false               // the next token of the innermost object is a key
	for {
		tok, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF) && len(open) == 0:
			return invalidf("manifest: empty")
		case err != nil:
			return invalidf("manifest: %s", err)
		}
		switch v := tok.(type) {
		case json.Delim:
			switch v {
			case '{':
				open = append(open, make(map[string]bool))
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
		case string:
			if key {
				keys := open[len(open)-1]
				if keys[v] {
					return invalidf("manifest: key %q twice", v)
				}
				if strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
					return invalidf("manifest: unknown key %q", v)
				}
				keys[v] = true
				key = false
				continue
			}
		}
		if len(open) == 0 {
			break
		}
		key = open[len(open)-1] != nil
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalidf("manifest: text behind its end")
	}
	return nil
}

// Validate checks that m describes a slot set that a device can hold: the known format, texts without control
// characters, vmlinuz, initrd and rootfs.squashfs once each and slot.cfg, if there is one, in front of them, sizes and
// digests in range, and the build that follows from the digests. Errors wrap ErrInvalid.
func (m *Manifest) Validate() error {
	if m.Format != Format {
		return invalidf("manifest: format %d, this program reads format %d", m.Format, Format)
	}
	for _, field := range []struct {
		name, text string
		required   bool
	}{
		{"version", m.Version, true}, {"arch", m.Arch, true}, {"kernel", m.Kernel, true}, {"compatible", m.Compatible, false},
		{"tool", m.Tool, false}, {"source kind", m.Source.Kind, false}, {"source name", m.Source.Name, false},
		{"source manifest", m.Source.Manifest, false}, {"source config", m.Source.Config, false},
		{"source diff ids", strings.Join(m.Source.DiffIDs, ""), false}, {"options", strings.Join(m.Options, ""), false},
	} {
		if field.required && field.text == "" {
			return invalidf("manifest: no %s", field.name)
		}
		if strings.ContainsFunc(field.text, unicode.IsControl) || field.required && len(field.text) > maxText {
			return invalidf("manifest: %s %.40q is not a text of at most %d bytes without control characters", field.name, field.text, maxText)
		}
	}
	if y := m.Created.Year(); y < 1970 || y > 9999 {
		return invalidf("manifest: created in the year %d", y)
	}
	if err := m.validatePayloads(); err != nil {
		return err
	}
	if want := BuildID(m.Payloads); m.Build != want {
		return invalidf("manifest: build %.80q, want %s, which follows from the digests", m.Build, want)
	}
	return nil
}

func (m *Manifest) validatePayloads() error {
	seen := make(map[string]bool)
	for i, p := range m.Payloads {
		if !slices.Contains([]string{SlotCfgName, KernelName, InitrdName, RootfsName}, p.Name) {
			return invalidf("manifest: payload %.80q is no file of a slot set", p.Name)
		}
		if seen[p.Name] {
			return invalidf("manifest: payload %s twice", p.Name)
		}
		if p.Name == SlotCfgName && i > 0 {
			return invalidf("manifest: %s does not come first", p.Name)
		}
		seen[p.Name] = true
		if err := p.validate(); err != nil {
			return err
		}
	}
	for _, name := range []string{KernelName, InitrdName, RootfsName} {
		if !seen[name] {
			return invalidf("manifest: no payload %s", name)
		}
	}
	return nil
}

func (p *Payload) validate() error {
	least := int64(1)
	if p.Name == SlotCfgName {
		least = 0
	}
	if p.Size < least || p.Size > MaxPayload {
		return invalidf("manifest: %s: size %d, want %d to %d", p.Name, p.Size, least, int64(MaxPayload))
	}
	if !isDigest(p.SHA256) {
		return invalidf("manifest: %s: sha256 %.80q is not 64 hex digits", p.Name, p.SHA256)
	}
	if v := p.Verity; v != nil {
		if !isDigest(v.RootHash) {
			return invalidf("manifest: %s: verity root hash %.80q is not 64 hex digits", p.Name, v.RootHash)
		}
		if v.DataBlocks < 1 || v.DataBlocks > p.Size/verity.BlockSize || !p.remakesTree() {
			return invalidf("manifest: %s: verity over %d blocks in %d bytes", p.Name, v.DataBlocks, p.Size)
		}
	}
	if d := p.Delta; d != nil {
		switch {
		case d.Format == "" || len(d.Format) > maxText || strings.ContainsFunc(d.Format, unicode.IsControl):
			return invalidf("manifest: %s: delta format %.40q", p.Name, d.Format)
		case d.Size < 1 || d.Size > MaxPayload:
			return invalidf("manifest: %s: delta of %d bytes, want 1 to %d", p.Name, d.Size, int64(MaxPayload))
		case !isDigest(d.SHA256) || !isDigest(d.From):
			return invalidf("manifest: %s: delta: sha256 %.80q from %.80q: not 64 hex digits each", p.Name, d.SHA256, d.From)
		}
	}
	return nil
}

// Carried returns the size and sha256 of the bytes that a bundle carries for p: of the delta if there is one.
func (p *Payload) Carried() (size int64, digest string) {
	if p.Delta != nil {
		return p.Delta.Size, p.Delta.SHA256
	}
	return p.Size, p.SHA256
}

// Size returns how many bytes the payloads take once they are installed.
func (m *Manifest) Size() int64 {
	var sum int64
	for _, p := range m.Payloads {
		sum += p.Size
	}
	return sum
}

// Payload returns the payload that has the name.
func (m *Manifest) Payload(name string) (Payload, bool) {
	for _, p := range m.Payloads {
		if p.Name == name {
			return p, true
		}
	}
	return Payload{}, false
}

// Encode returns the manifest.json that says m: indented, with a final newline, the same bytes for the same m. It
// returns Validate's error for an m that ParseManifest would not take.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	whole := *m
	whole.Created = m.Created.UTC().Truncate(time.Second)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&whole); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b.Bytes(), nil
}

// BuildID names a slot set by its content: the sha256, in hex, over a line "NAME SHA256" for each payload in order. Two
// slot sets have the same one exactly when they install the same files.
func BuildID(payloads []Payload) string {
	h := sha256.New()
	for _, p := range payloads {
		fmt.Fprintf(h, "%s %s\n", p.Name, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
