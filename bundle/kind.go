package bundle

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// KindOf says what begins with head, the first bytes of a file: "a squashfs", "a text", "empty"; what people give to a
// command that wants something else. It is "" for what it does not know. 520 bytes are enough.
func KindOf(head []byte) string {
	switch {
	case len(head) == 0:
		return "empty"
	case isTar(head) && bytes.HasPrefix(head, []byte(ManifestName+"\x00")):
		return "a bundle"
	case isTar(head):
		return "a tar"
	case len(head) >= 520 && string(head[512:520]) == "EFI PART":
		return "a disk"
	case len(bytes.Trim(head, "\x00")) == 0:
		return "all zeros"
	}
	for magic, what := range map[string]string{
		"\x1f\x8b": "compressed with gzip", "\x28\xb5\x2f\xfd": "compressed with zstd", "\xfd7zXZ\x00": "compressed with xz", "BZh": "compressed with bzip2",
		"hsqs": "a squashfs", "\x7fELF": "a program", "PK\x03\x04": "a zip archive", "age-encryption.org/": "encrypted with age",
		"SBDELTA\n": "the delta of a bare squashfs", "MZ": "a kernel or another EFI program", "0707": "an initrd", "{": "JSON",
		"QFI\xfb": "a disk as qcow2", "KDMV": "a disk as vmdk", "# GRUB Env": "an environment block", "untrusted comment:": "a key or signature of minisign",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return what
		}
	}
	switch {
	case len(head) >= 512 && string(head[510:512]) == "\x55\xaa": // a boot sector; that of a kernel begins with MZ
		return "a disk"
	case isText(head) && head[0] == '<':
		return "a web page"
	case isText(head):
		return "a text"
	}
	return ""
}

// isTar tells whether head begins with a tar header, of any tar since 1988.
func isTar(head []byte) bool { return len(head) >= blockSize && string(head[257:262]) == "ustar" }

// isText allows for a character that the end of head cuts.
func isText(head []byte) bool {
	for n := 0; n < utf8.UTFMax && n < len(head); n++ {
		if text := string(head[:len(head)-n]); utf8.ValidString(text) {
			return !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) })
		}
	}
	return false
}
