package bundle

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAManifestReadsBackAsItWasWritten(t *testing.T) {
	raw := slotSet(t, func(m *Manifest) {
		m.Version, m.Compatible, m.Sequence, m.Downgrade = "1.4.2 <beta> é", "acme-kiosk", 7, true
		m.Options = []string{"compression=zstd"}
		m.Source = Source{Kind: "oci", Name: "acme/kiosk:1", Manifest: "sha256:aa", Config: "sha256:bb", DiffIDs: []string{"sha256:cc"}}
		m.Payloads[3].Size = 6 * 4096 // four blocks, a superblock, a tree of one block
		m.Payloads[3].Verity = &Verity{RootHash: m.Payloads[0].SHA256, DataBlocks: 4}
	})[ManifestName].Data
	m, err := ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Encode()
	if err != nil || string(again) != string(raw) {
		t.Errorf("Encode of the parsed manifest: %v\n%s", err, cmp.Diff(string(raw), string(again)))
	}
	if !strings.Contains(string(raw), `"version": "1.4.2 <beta> é"`) {
		t.Errorf("the version is not readable in %s", raw)
	}
}

// edited returns a valid manifest after one textual change, which must apply.
func edited(t *testing.T, old, replacement string) []byte {
	t.Helper()
	raw := string(slotSet(t, nil)[ManifestName].Data)
	out := strings.Replace(raw, old, replacement, 1)
	if out == raw {
		t.Fatalf("%q is not in %s", old, raw)
	}
	return []byte(out)
}

func TestAManifestThatSaysTwoThingsIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, old, replacement, want string }{
		{"duplicate key", `"arch": "amd64"`, `"arch": "amd64", "arch": "arm64"`, `key "arch" twice`},
		{"duplicate key in a payload", `"size": 34`, `"size": 34, "size": 35`, `key "size" twice`},
		{"escaped duplicate", `"arch": "amd64"`, `"arch": "amd64", "\u0061rch": "arm64"`, `key "arch" twice`},
		{"key in other case", `"arch": "amd64"`, `"arch": "amd64", "Arch": "arm64"`, `unknown key "Arch"`},
		{"key in folded case", `"kernel"`, `"` + "\u212a" + `ernel"`, "unknown key"},
		{"unknown key", `"arch": "amd64"`, `"arch": "amd64", "extra": 1`, `unknown field "extra"`},
		{"text behind", "]\n}\n", "]\n}\n{}", "text behind its end"},
		{"not UTF-8", "1.4.2", "1.4.\xff", "not UTF-8"},
		{"unknown format", `"format": 1`, `"format": 2`, "format 2, this program reads format 1"},
		{"unknown format with unknown keys", `"format": 1`, `"format": 2, "new": {}`, "format 2, this"},
		{"format as a fraction", `"format": 1`, `"format": 1.0`, "format 1.0"},
		{"no format", `"format": 1,`, ``, "no format"},
		{"format as text", `"format": 1`, `"format": "1.x"`, "manifest"},
		{"no version", `"version": "1.4.2"`, `"version": ""`, "no version"},
		{"an escape sequence in the version", "1.4.2", `1\u001b[2J`, "control characters"},
		{"a long version", "1.4.2", strings.Repeat("1", 2000), "at most 1024 bytes"},
		{"size below zero", `"size": 34`, `"size": -34`, "size -34"},
		{"size of 2^63", `"size": 34`, `"size": 9223372036854775808`, "9223372036854775808"},
		{"size of 2^63-1", `"size": 34`, `"size": 9223372036854775807`, "size 9223372036854775807"},
		{"size as a fraction", `"size": 34`, `"size": 3.4`, "3.4"},
		{"size 0 of a kernel", `"size": 2100`, `"size": 0`, "vmlinuz: size 0"},
		{"foreign name", `"name": "initrd"`, `"name": "../../etc/shadow"`, "no file of a slot set"},
		{"manifest as a payload", `"name": "initrd"`, `"name": "manifest.json"`, "no file of a slot set"},
		{"a NUL in a name", `"name": "initrd"`, `"name": "initrd\u0000"`, "no file of a slot set"},
		{"name twice", `"name": "initrd"`, `"name": "vmlinuz"`, "vmlinuz twice"},
		{"slot.cfg later", `"name": "slot.cfg"`, `"name": "vmlinuz"`, ""},
		{"upper case digest", `"sha256": "`, `"sha256": "F`, "not 64 hex digits"},
		{"no digest", `"sha256": "`, `"sha256": "", "encoder": "`, "not 64 hex digits"},
		{"another build", `"build": "`, `"build": "0`, "follows from the digests"},
		{"time of no calendar", "2026-11-21", "2026-13-21", "manifest"},
		{"time before computers", "2026-11-21", "0001-01-01", "year 1"},
	} {
		_, err := ParseManifest(edited(t, tc.old, tc.replacement))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: ParseManifest = %v, want %q", tc.name, err, tc.want)
		}
	}
	for _, data := range []string{"", " ", "{", "[]", "null", "1", `"x"`, "{}", "{}{}", `{"format":1}`, strings.Repeat("[", 100000), strings.Repeat(" ", MaxManifest+1)} {
		if _, err := ParseManifest([]byte(data)); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseManifest(%.20q) = %v, want ErrInvalid", data, err)
		}
	}
}

func TestAPayloadOutOfRangeIsRefused(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for name, edit := range map[string]func(m *Manifest){
		"no payloads":            func(m *Manifest) { m.Payloads = nil },
		"no rootfs":              func(m *Manifest) { m.Payloads = m.Payloads[:3] },
		"slot.cfg last":          func(m *Manifest) { m.Payloads = append(m.Payloads[1:], m.Payloads[0]) },
		"verity of nothing":      func(m *Manifest) { m.Payloads[3].Verity = &Verity{RootHash: digest} },
		"verity beyond the end":  func(m *Manifest) { m.Payloads[3].Verity = &Verity{RootHash: digest, DataBlocks: 1 << 50} },
		"verity of another size": func(m *Manifest) { m.Payloads[3].Verity = &Verity{RootHash: digest, DataBlocks: 2} },
		"verity without root":    func(m *Manifest) { m.Payloads[3].Verity = &Verity{DataBlocks: 2} },
		"delta of nothing":       func(m *Manifest) { m.Payloads[3].Delta = &Delta{Format: "x", SHA256: digest, From: digest} },
		"delta without format":   func(m *Manifest) { m.Payloads[3].Delta = &Delta{Size: 1, SHA256: digest, From: digest} },
		"delta from anywhere":    func(m *Manifest) { m.Payloads[3].Delta = &Delta{Format: "x", Size: 1, SHA256: digest} },
		"delta of 2^62 bytes": func(m *Manifest) {
			m.Payloads[3].Delta = &Delta{Format: "x", Size: 1 << 62, SHA256: digest, From: digest}
		},
		"year 10000": func(m *Manifest) { m.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		m, err := ParseManifest(slotSet(t, nil)[ManifestName].Data)
		if err != nil {
			t.Fatal(err)
		}
		edit(m)
		m.Build = BuildID(m.Payloads)
		if err := m.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Validate = %v, want ErrInvalid", name, err)
		}
		if raw, err := m.Encode(); err == nil {
			t.Errorf("%s: Encode writes %s", name, raw)
		}
	}
}

func TestTheBuildNamesTheInstalledFiles(t *testing.T) {
	one := []Payload{{Name: "vmlinuz", SHA256: strings.Repeat("a", 64)}}
	two := []Payload{{Name: "vmlinuz", SHA256: strings.Repeat("b", 64)}}
	delta := []Payload{{Name: "vmlinuz", SHA256: strings.Repeat("a", 64), Delta: &Delta{Format: "x"}}}
	if BuildID(one) == BuildID(two) || BuildID(one) != BuildID(delta) {
		t.Errorf("BuildID: %s, %s, %s", BuildID(one), BuildID(two), BuildID(delta))
	}
	const want = "ccc711fdfe67ea1d5d2c1ed0dd48cb343920e6512b9598e516ed67ad0db37aa1" // a change would rename every slot set there is
	if got := BuildID(one); got != want {
		t.Errorf("BuildID = %s, want %s", got, want)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(slotSet(f, nil)[ManifestName].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if m != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("ParseManifest = %v, %v", m, err)
			}
			return
		}
		if size := m.Size(); size < 3 || size > 4*MaxPayload {
			t.Fatalf("an accepted manifest takes %d bytes", size)
		}
		raw, err := m.Encode()
		if err != nil {
			t.Fatalf("Encode of an accepted manifest: %v", err)
		}
		again, err := ParseManifest(raw)
		if err != nil {
			t.Fatalf("Parse of %s: %v", raw, err)
		}
		one, _ := json.Marshal(again)
		m.Created = m.Created.UTC().Truncate(time.Second)
		if two, _ := json.Marshal(m); string(one) != string(two) {
			t.Fatalf("%s reads back as %s", two, one)
		}
	})
}
