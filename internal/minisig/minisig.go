// Package minisig checks minisign signatures, with nothing but the standard library, so that init and slotctl decide by
// the same rules. Making keys and signatures is for mkimage. Format: https://jedisct1.github.io/minisign/.
//
// It is stricter than minisign: a signature is exactly four lines, and nothing follows them.
package minisig

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What can be wrong with a signature. All of them are ErrUntrusted as well.
var (
	ErrUntrusted = errors.New("not authentic")
	ErrUnsigned  = untrusted("not signed")
	ErrMalformed = untrusted("the signature is no minisign signature")
	ErrForeign   = untrusted("signed by a key that is not trusted here")
	ErrRevoked   = untrusted("signed by a key that is revoked")
	ErrMismatch  = untrusted("the signature does not fit: signed was something else")
)

type untrusted string

func (u untrusted) Error() string        { return string(u) }
func (u untrusted) Is(target error) bool { return target == ErrUntrusted }

// PublicKey is a minisign public key.
type PublicKey struct {
	ID  uint64 // a hint that the key pair was given when it was made
	key [ed25519.PublicKeySize]byte
}

// String returns the key's id as minisign prints it.
func (k PublicKey) String() string { return keyName(k.ID) }

func keyName(id uint64) string {
	text := strings.ToUpper(strconv.FormatUint(id, 16))
	return strings.Repeat("0", 16-len(text)) + text
}

// The two algorithms: of the message itself, and, which minisign has written since 0.10, of its BLAKE2b digest.
const (
	algorithmPlain  = "Ed"
	algorithmHashed = "ED"
)

// ParsePublicKey reads the content of a .pub file: a comment line, which may be missing, and the key. What is none is
// ErrUntrusted.
func ParsePublicKey(text []byte) (PublicKey, error) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) == 2 && strings.HasPrefix(lines[0], "untrusted comment:") {
		lines = lines[1:]
	}
	if len(lines) != 1 {
		return PublicKey{}, untrusted("not a minisign public key: want a comment and one line")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(lines[0], "\r"))
	if err != nil || len(raw) != 2+8+ed25519.PublicKeySize || string(raw[:2]) != algorithmPlain {
		return PublicKey{}, untrusted("not a minisign public key: want 42 bytes in base64 that begin with Ed")
	}
	k := PublicKey{ID: binary.LittleEndian.Uint64(raw[2:])}
	copy(k.key[:], raw[10:])
	return k, nil
}

// signature is a parsed .minisig file.
type signature struct {
	hashed  bool
	id      uint64
	sig     []byte
	comment string // the trusted one
	global  []byte // the signature of sig and comment
}

func parseSignature(text []byte) (signature, error) {
	lines := strings.Split(string(text), "\n")
	const untrustedComment, trustedComment = "untrusted comment:", "trusted comment: "
	if len(lines) != 5 || lines[4] != "" || !strings.HasPrefix(lines[0], untrustedComment) || !strings.HasPrefix(lines[2], trustedComment) {
		return signature{}, ErrMalformed
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(lines[1])
	if err != nil || len(raw) != 2+8+ed25519.SignatureSize {
		return signature{}, ErrMalformed
	}
	s := signature{id: binary.LittleEndian.Uint64(raw[2:]), sig: raw[10:], comment: strings.TrimPrefix(lines[2], trustedComment)}
	switch string(raw[:2]) {
	case algorithmPlain:
	case algorithmHashed:
		s.hashed = true
	default:
		return signature{}, ErrMalformed
	}
	if s.global, err = base64.StdEncoding.Strict().DecodeString(lines[3]); err != nil || len(s.global) != ed25519.SignatureSize {
		return signature{}, ErrMalformed
	}
	return s, nil
}

// by tells whether k made the signature, of message and of the comment.
func (s *signature) by(k PublicKey, message []byte) bool {
	if s.hashed {
		sum := blake2b512(message)
		message = sum[:]
	}
	return ed25519.Verify(k.key[:], message, s.sig) &&
		ed25519.Verify(k.key[:], append(bytes.Clone(s.sig), s.comment...), s.global)
}

// Keys says whose signatures count. A key that is revoked does not, wherever else it stands.
type Keys struct{ Trusted, Revoked []PublicKey }

// Any tells whether there are keys at all. Where there are none signatures are not asked for.
func (k *Keys) Any() bool { return len(k.Trusted)+len(k.Revoked) > 0 }

// Verify returns the key that signed message. signature is the content of a .minisig file, empty if there is none. The
// errors to test for are those above.
func (k *Keys) Verify(message, signature []byte) (PublicKey, error) {
	if len(signature) == 0 {
		return PublicKey{}, ErrUnsigned
	}
	s, err := parseSignature(signature)
	if err != nil {
		return PublicKey{}, err
	}
	known := false
	for _, key := range k.Trusted {
		if key.ID != s.id {
			continue
		}
		if k.revoked(key) {
			return PublicKey{}, fmt.Errorf("key %v: %w", key, ErrRevoked)
		}
		known = true
		if s.by(key, message) {
			return key, nil
		}
	}
	for _, key := range k.Revoked {
		if key.ID == s.id && !known {
			return PublicKey{}, fmt.Errorf("key %v: %w", key, ErrRevoked)
		}
	}
	if known {
		return PublicKey{}, fmt.Errorf("key %s: %w", keyName(s.id), ErrMismatch)
	}
	return PublicKey{}, fmt.Errorf("key %s: %w", keyName(s.id), ErrForeign)
}

// revoked goes by the key as well as by its id: an id is nothing but a label, which anybody can write over another key.
func (k *Keys) revoked(key PublicKey) bool {
	for _, r := range k.Revoked {
		if r.key == key.key || r.ID == key.ID {
			return true
		}
	}
	return false
}
