package bundle

import (
	"strings"
	"testing"
)

func TestAFileOfAnotherKindIsCalledByItsName(t *testing.T) {
	tar := func(name string) string {
		head := []byte(name + strings.Repeat("\x00", blockSize-len(name)))
		copy(head[257:], "ustar")
		return string(head)
	}
	for head, want := range map[string]string{
		"": "empty", "\x00\x00": "all zeros", "hsqs\x01": "a squashfs", "SBDELTA\n\x00": "the delta of a bare squashfs", "<html>": "a web page",
		"{\n": "JSON", "root:x:0:0\n": "a text", "gr\xc3\xbc\xc3": "a text", "\x01\x02\x03": "", "ab\x00cd": "", "\xff\xfe\xfd\xfc\xfb": "",
		tar("etc/passwd"): "a tar", tar(ManifestName): "a bundle", strings.Repeat("\x01", 512) + "EFI PART": "a disk",
		"untrusted comment: x\n": "a key or signature of minisign", "# GRUB Environment Block\n": "an environment block",
	} {
		if got := KindOf([]byte(head)); got != want {
			t.Errorf("KindOf(%.20q) = %q, want %q", head, got, want)
		}
	}
}
