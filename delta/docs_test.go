package delta

import (
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// listing reads the bytes of the example in docs/delta-format.md.
func listing(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../docs/delta-format.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```\n")
	if len(parts) != 3 {
		t.Fatalf("docs/delta-format.md has %d listings, want 1", len(parts)/2)
	}
	var all []byte
	for line := range strings.Lines(parts[1]) {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			s, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all = append(all, s...)
			continue
		}
		octets, _, _ := strings.Cut(strings.TrimSpace(line), "   ")
		b, err := hex.DecodeString(strings.ReplaceAll(octets, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, b...)
	}
	return all
}

func TestExampleInTheDocumentationIsADelta(t *testing.T) {
	dog, cat := "The quick brown fox jumps over the lazy dog. ", "The quick brown fox jumps over the lazy cat. "
	old, want := dog+dog, cat+cat+"Twice!"
	var got bytes.Buffer
	h, err := Apply(&got, strings.NewReader(old), bytes.NewReader(listing(t)), ApplyOptions{})
	if err != nil || got.String() != want {
		t.Fatalf("Apply(the example) = %q, %v, want %q", got.String(), err, want)
	}
	if h.Memory != memory(h) {
		t.Errorf("the example needs %d bytes of memory, want the %d that Make would say", h.Memory, memory(h))
	}
}
