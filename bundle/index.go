package bundle

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// IndexName is the name of the file beside bundles of one release that lists them.
const IndexName = "update.json"

// The limits of an index.
const (
	MaxIndex   = 1 << 20 // bytes
	maxChoices = 1024
)

// Index lists the bundles that all give the same slot set: the full one, and deltas from older versions. A device takes
// the smallest that fits. Nothing in an index is believed: each bundle has its own manifest and signature, and a wrong
// choice is one that is refused.
type Index struct {
	Format  int      `json:"format"`  // 1
	Version string   `json:"version"` // of the slot set
	Build   string   `json:"build"`
	Choices []Choice `json:"choices"`
}

// Choice is one bundle of an index.
type Choice struct {
	File   string            `json:"file"`             // beside the index, never a path
	Size   int64             `json:"size"`             // bytes
	Pieces string            `json:"pieces,omitempty"` // beside the index as well: the list of the pieces of a full bundle
	From   map[string]string `json:"from,omitempty"`   // the sha256 of the installed files its deltas start from, by payload
}

// ParseIndex reads update.json. It is as strict as ParseManifest. Errors wrap ErrInvalid.
func ParseIndex(data []byte) (*Index, error) {
	if len(data) > MaxIndex {
		return nil, invalidf("index: larger than %d bytes", MaxIndex)
	}
	var x Index
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&x); err != nil {
		return nil, invalidf("index: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); err == nil {
		return nil, invalidf("index: text behind its end")
	}
	if x.Format != Format {
		return nil, invalidf("index: format %d, this program reads format %d", x.Format, Format)
	}
	if len(x.Choices) == 0 || len(x.Choices) > maxChoices {
		return nil, invalidf("index: %d bundles, want 1 to %d", len(x.Choices), maxChoices)
	}
	for _, c := range x.Choices {
		if !plainName(c.File) || c.Pieces != "" && !plainName(c.Pieces) || c.Size < 0 {
			return nil, invalidf("index: bundle %.80q of %d bytes, pieces in %.80q", c.File, c.Size, c.Pieces)
		}
	}
	return &x, nil
}

// plainName tells whether name is that of a file beside the index, in a folder and behind a URL.
func plainName(name string) bool {
	return name == path.Base(name) && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\:%?#\x00")
}

// Encode returns the index as a file.
func (x *Index) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(x, "", "\t")
	return append(data, '\n'), err
}

// For returns the choices of a device that runs the slot set have, which is nil if it does not know: those whose deltas
// start from it, and the full bundles, the smallest first.
func (x *Index) For(have *Manifest) []Choice {
	fits := slices.DeleteFunc(slices.Clone(x.Choices), func(c Choice) bool {
		for name, sum := range c.From {
			if have == nil {
				return true
			}
			if p, ok := have.Payload(name); !ok || p.SHA256 != sum {
				return true
			}
		}
		return false
	})
	slices.SortStableFunc(fits, func(a, b Choice) int { return int(max(-1, min(1, a.Size-b.Size))) })
	return fits
}

// Starts returns what the deltas of m start from, as an index lists it.
func (m *Manifest) Starts() map[string]string {
	from := map[string]string{}
	for _, p := range m.Payloads {
		if p.Delta != nil {
			from[p.Name] = p.Delta.From
		}
	}
	return from
}
