package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// sealer is a key to encrypted bundles, and the file it stands in.
type sealer struct {
	key  *age.X25519Identity
	file string
}

func newSealer(t *testing.T) sealer {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := sealer{key, filepath.Join(t.TempDir(), "key.txt")}
	put(t, s.file, []byte("# for tests\n"+key.String()+"\n"))
	return s
}

// seal encrypts data for all of them.
func seal(t *testing.T, data []byte, to ...sealer) []byte {
	t.Helper()
	var b bytes.Buffer
	var keys []age.Recipient
	for _, s := range to {
		keys = append(keys, s.key.Recipient())
	}
	w, err := age.Encrypt(&b, keys...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAnEncryptedBundleIsInstalledByItsRecipientsAlone(t *testing.T) {
	mine, other, stranger := newSealer(t), newSealer(t), newSealer(t)
	rubbish := filepath.Join(t.TempDir(), "rubbish")
	put(t, rubbish, []byte("rubbish\n"))
	for _, row := range []struct {
		name  string
		key   string
		spoil func(sealed []byte) []byte
		code  int
		says  string
		left  string
	}{
		{"mine", mine.file, same, 0, "", installed},
		{"the other recipient's", other.file, same, 0, "", installed},
		{"a stranger's key", stranger.file, same, 4, "it is encrypted for others", nothing},
		{"no key", "", same, 1, "hint: --identity FILE", nothing},
		{"a key file that is not there", "/none", same, 1, "hint: --identity FILE", nothing},
		{"a key file that is none", rubbish, same, 4, "read " + rubbish, nothing},
		{"a flipped bit in the head", mine.file, func(d []byte) []byte { d[100] ^= 1; return d }, 4, "", nothing},
		{"a flipped bit in the first piece", mine.file, func(d []byte) []byte { d[2000] ^= 1; return d }, 4, "decrypt: ", nothing},
		{"a flipped bit in a later piece", mine.file, func(d []byte) []byte { d[150_000] ^= 1; return d }, 4, "decrypt: ", emptied},
		{"a flipped bit at the end", mine.file, func(d []byte) []byte { d[len(d)-1] ^= 1; return d }, 4, "decrypt: ", emptied},
		{"cut in an earlier piece", mine.file, func(d []byte) []byte { return d[:len(d)-5000-65552] }, 4, "", emptied},
		{"cut", mine.file, func(d []byte) []byte { return d[:len(d)-100] }, 4, "", emptied},
		{"bytes behind the end", mine.file, func(d []byte) []byte { return append(d, 0) }, 4, "", emptied},
		{"as text", mine.file, func(d []byte) []byte {
			var b bytes.Buffer
			w := armor.NewWriter(&b)
			w.Write(d)
			w.Close()
			return b.Bytes()
		}, 4, "encrypted with age as text", nothing},
		{"nothing but a head", mine.file, func(d []byte) []byte { return d[:50] }, 4, "", nothing},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, s := served(t)
			path := h.bytes(row.spoil(seal(t, s.data, mine, other)))
			args := []string{"install", "--keys", h.keys, path}
			if row.key != "" {
				args = append(args, "--identity", row.key)
			}
			before := h.snapshots()
			code, stderr := h.run(t.Context(), durable.OS{}, args...)
			if code != row.code || !strings.Contains(stderr, row.says) {
				t.Errorf("install: exit status %d, %s, want %d and %q", code, stderr, row.code, row.says)
			}
			h.check(row.left, before)
		})
	}
}

// TestAnEncryptedBundleStreamsFromAServer uses the key that the device has on its data partition.
func TestAnEncryptedBundleStreamsFromAServer(t *testing.T) {
	mine := newSealer(t)
	h, s := served(t)
	key, err := os.ReadFile(mine.file)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(h.data, identityFile), key)
	s.data = seal(t, s.data, mine)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(&cutting{w, 70_000}, r) }))
	defer web.Close()
	h.markEvery = 20_000
	cutAfter(t, h.fixture, 3, web.URL)
	code, stderr := h.run(t.Context(), durable.OS{}, "install", "--keys", h.keys, web.URL)
	if err := h.bootable(slots.B, "2"); code != 0 || err != nil || !strings.Contains(stderr, "asking again") {
		t.Errorf("install: exit status %d, %s, %v", code, stderr, err)
	}
}

// TestACutLineUnderAnEncryptedBundleIsNoDamage: its exit status is that of the network.
func TestACutLineUnderAnEncryptedBundleIsNoDamage(t *testing.T) {
	mine := newSealer(t)
	h, s := served(t)
	s.data = seal(t, s.data, mine)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			panic(http.ErrAbortHandler)
		}
		s.serve(&cutting{w, 100_000}, r)
	}))
	defer web.Close()
	before := h.snapshots()
	code, stderr := h.run(t.Context(), durable.OS{}, "install", "--keys", h.keys, "--identity", mine.file, web.URL)
	if code != exitFailed || !strings.Contains(stderr, "the connection was cut (after 100000 of ") {
		t.Errorf("install: exit status %d: %s", code, stderr)
	}
	h.check(emptied, before)
}
