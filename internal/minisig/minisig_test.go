package minisig

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"aead.dev/minisign"

	"github.com/slotboot/slotboot/internal/need"
)

// signer is a key pair of package aead.dev/minisign.
type signer struct {
	private minisign.PrivateKey
	public  PublicKey
	pub     []byte // the .pub file
}

func newSigner(t testing.TB) signer {
	t.Helper()
	pub, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pub.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePublicKey(text)
	if err != nil {
		t.Fatalf("ParsePublicKey(%s) = %v", text, err)
	}
	if want := fmt.Sprintf("%016X", pub.ID()); key.String() != want {
		t.Errorf("the key is %v, want %s", key, want)
	}
	return signer{private, key, text}
}

// plain signs in the form before 0.10, without the digest, and writes the id of s.public on it.
func (s signer) plain(t testing.TB, message []byte) []byte {
	t.Helper()
	text, err := s.private.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	raw, err := base64.StdEncoding.DecodeString(lines[1])
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(raw[2:], s.public.ID)
	lines[1] = base64.StdEncoding.EncodeToString(raw)
	return []byte(strings.Join(lines, "\n"))
}

func messages() [][]byte {
	var all [][]byte
	for _, n := range []int{0, 1, 63, 64, 127, 128, 129, 255, 256, 257, 4096, 100_000} {
		m := make([]byte, n)
		for i := range m {
			m[i] = byte(i * 7)
		}
		all = append(all, m)
	}
	return all
}

func TestDigestIsThatOfTheRFCAndOfB2sum(t *testing.T) {
	sum := blake2b512([]byte("abc")) // RFC 7693, appendix A
	if got := hex.EncodeToString(sum[:]); !strings.HasPrefix(got, "ba80a53f981c4d0d6a2797b69f12f6e9") || !strings.HasSuffix(got, "d4009923") {
		t.Errorf("blake2b512(abc) = %s", got)
	}
	tool := need.Tool(t, "b2sum", "coreutils")
	for _, m := range messages() {
		cmd := exec.Command(tool)
		cmd.Stdin = bytes.NewReader(m)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		sum := blake2b512(m)
		if got := hex.EncodeToString(sum[:]); !strings.HasPrefix(string(out), got+" ") {
			t.Errorf("blake2b512(%d bytes) = %s, b2sum says %s", len(m), got, out)
		}
	}
}

func TestBothAlgorithmsOfMinisignAreAccepted(t *testing.T) {
	s := newSigner(t)
	keys := Keys{Trusted: []PublicKey{newSigner(t).public, s.public}}
	for _, m := range messages() {
		for name, sig := range map[string][]byte{"hashed": minisign.Sign(s.private, m), "plain": s.plain(t, m)} {
			if key, err := keys.Verify(m, sig); err != nil || key != s.public {
				t.Errorf("Verify(%d bytes, %s) = %v, %v, want the key", len(m), name, key, err)
			}
			if _, err := keys.Verify(append(bytes.Clone(m), 0), sig); !errors.Is(err, ErrMismatch) {
				t.Errorf("Verify(%d bytes and one more, %s) = %v, want ErrMismatch", len(m), name, err)
			}
		}
	}
}

func TestWhatTheMinisignProgramSignsIsAccepted(t *testing.T) {
	tool := need.Tool(t, "minisign", "minisign")
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	message := []byte("a manifest\n")
	if err := os.WriteFile(in("m"), message, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("minisign %v: %v: %s", args, err, out)
		}
	}
	run("-G", "-W", "-f", "-p", in("k.pub"), "-s", in("k.key"))
	run("-S", "-s", in("k.key"), "-m", in("m"), "-x", in("new.minisig"), "-t", "built by me")
	run("-S", "-l", "-s", in("k.key"), "-m", in("m"), "-x", in("old.minisig"))
	keys, err := ReadKeys(os.DirFS(dir))
	if err != nil || len(keys.Trusted) != 1 || len(keys.Revoked) != 0 {
		t.Fatalf("ReadKeys() = %v, %v, want one trusted key", keys, err)
	}
	for _, name := range []string{"new.minisig", "old.minisig"} {
		sig, err := os.ReadFile(in(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Verify(message, sig); err != nil {
			t.Errorf("Verify(%s) = %v, %s", name, err, sig)
		}
	}
}

func TestEachChangedBitOfASignatureIsNoticed(t *testing.T) {
	s := newSigner(t)
	m := []byte("message")
	keys := Keys{Trusted: []PublicKey{s.public}}
	sig := minisign.SignWithComments(s.private, m, "trusted", "any")
	from := bytes.IndexByte(sig, '\n') + 1 // the untrusted comment is what its name says
	for i := from; i < len(sig); i++ {
		for bit := range 8 {
			bad := bytes.Clone(sig)
			bad[i] ^= 1 << bit
			if _, err := keys.Verify(m, bad); !errors.Is(err, ErrUntrusted) {
				t.Errorf("Verify() with bit %d of byte %d changed = %v, want ErrUntrusted:\n%s", bit, i, err, bad)
			}
		}
	}
	for n := range sig {
		if _, err := keys.Verify(m, sig[:n]); !errors.Is(err, ErrUntrusted) {
			t.Errorf("Verify() with %d of %d bytes = %v, want ErrUntrusted", n, len(sig), err)
		}
	}
	for _, tail := range []string{"\n", " ", "x", "\x00", string(sig)} {
		if _, err := keys.Verify(m, append(bytes.Clone(sig), tail...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("Verify() with %q behind the signature = %v, want ErrMalformed", tail, err)
		}
	}
}

func TestWhoseSignaturesCount(t *testing.T) {
	mine, other, old := newSigner(t), newSigner(t), newSigner(t)
	m := []byte("message")
	forged := other // somebody writes my id over his key
	forged.public.ID = mine.public.ID
	twin := old.public // the revoked key again, with another id
	twin.ID++
	renamed := old
	renamed.public = twin
	keys := Keys{Trusted: []PublicKey{mine.public, old.public, twin}, Revoked: []PublicKey{old.public}}
	for _, test := range []struct {
		name string
		sig  []byte
		want error
	}{
		{"a trusted key", minisign.Sign(mine.private, m), nil},
		{"no signature", nil, ErrUnsigned},
		{"an empty signature", []byte{}, ErrUnsigned},
		{"a foreign key", minisign.Sign(other.private, m), ErrForeign},
		{"a foreign key with a trusted id", forged.plain(t, m), ErrMismatch},
		{"a key that is revoked, and trusted as well", minisign.Sign(old.private, m), ErrRevoked},
		{"a key that is revoked under another id", renamed.plain(t, m), ErrRevoked},
		{"another message", minisign.Sign(mine.private, []byte("other")), ErrMismatch},
		{"rubbish", []byte("rubbish"), ErrMalformed},
	} {
		key, err := keys.Verify(m, test.sig)
		if !errors.Is(err, test.want) || test.want == nil && key != mine.public || test.want != nil && (key != (PublicKey{}) || !errors.Is(err, ErrUntrusted)) {
			t.Errorf("Verify(signed by %s) = %v, %v, want %v", test.name, key, err, test.want)
		}
	}
	only := Keys{Revoked: []PublicKey{old.public}}
	if _, err := only.Verify(m, minisign.Sign(old.private, m)); !errors.Is(err, ErrRevoked) || !only.Any() {
		t.Errorf("Verify() with a revoked key alone = %v, Any() = %v, want ErrRevoked, true", err, only.Any())
	}
}

func TestKeysOfAFolder(t *testing.T) {
	a, b := newSigner(t), newSigner(t)
	bare := []byte(strings.Split(string(b.pub), "\n")[1])
	keys, err := ReadKeys(fstest.MapFS{"a.pub": {Data: a.pub}, "b.pub": {Data: bare}, "README": {Data: []byte("x")}, ".c.pub": {Data: []byte("x")}, "revoked/old.pub": {Data: b.pub}})
	if err != nil || !slices.Equal(keys.Trusted, []PublicKey{a.public, b.public}) || !slices.Equal(keys.Revoked, []PublicKey{b.public}) {
		t.Errorf("ReadKeys() = %v, %v, want a and b trusted, b revoked", keys, err)
	}
	if keys, err := ReadKeys(os.DirFS(filepath.Join(t.TempDir(), "none"))); err != nil || keys.Any() {
		t.Errorf("ReadKeys(no folder) = %v, %v, want no keys and no error", keys, err)
	}
	for name, text := range map[string]string{"empty": "", "rubbish": "rubbish", "a private key": strings.Repeat("RWQ", 40), "two keys": string(a.pub) + "\n" + string(b.pub), "too long": strings.Repeat("x", 10_000)} {
		if keys, err := ReadKeys(fstest.MapFS{"a.pub": {Data: a.pub}, "bad.pub": {Data: []byte(text)}}); err == nil {
			t.Errorf("ReadKeys(with a .pub file that is %s) = %v, want an error", name, keys)
		}
	}
	if _, err := ReadKeys(fstest.MapFS{"a.pub/x": {}}); err == nil {
		t.Error("ReadKeys(a folder called a.pub) = nil, want an error")
	}
}

// FuzzVerify: no text is taken for a signature that was not made with the key.
func FuzzVerify(f *testing.F) {
	seed := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	k := PublicKey{ID: 1}
	copy(k.key[:], seed.Public().(ed25519.PublicKey))
	m := []byte("message")
	sign := func(signed []byte, algorithm string) string {
		sig := ed25519.Sign(seed, signed)
		raw := append(binary.LittleEndian.AppendUint64([]byte(algorithm), k.ID), sig...)
		return fmt.Sprintf("untrusted comment: x\n%s\ntrusted comment: y\n%s\n", base64.StdEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString(ed25519.Sign(seed, append(sig, 'y'))))
	}
	sum := blake2b512(m)
	good := []string{sign(m, algorithmPlain), sign(sum[:], algorithmHashed)}
	for _, g := range good {
		f.Add(g)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := (&Keys{Trusted: []PublicKey{k}}).Verify(m, []byte(text))
		_, rest, found := strings.Cut(text, "\n")
		genuine := found && slices.ContainsFunc(good, func(g string) bool { return g[strings.IndexByte(g, '\n')+1:] == rest })
		if err == nil != (genuine && strings.HasPrefix(text, "untrusted comment:")) {
			t.Errorf("Verify(%q) = %v", text, err)
		}
	})
}
