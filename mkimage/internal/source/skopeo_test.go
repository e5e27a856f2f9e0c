package source

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slotboot/slotboot/internal/need"
)

func TestImagesThatSkopeoWritesAreRead(t *testing.T) {
	skopeo := need.Tool(t, "skopeo", "skopeo")
	s := blobs{}
	one, two := bigLayer(t, 3000), tarOf(t, "two", "2")
	d := s.image("linux/arm64", gzipped, one, two)
	s.index(tagged(d, "v1"))
	from := "oci:" + s.folder(t) + ":v1"
	host := newRegistry(t, s, d, nil)
	tmp := t.TempDir()
	for _, tc := range []struct {
		to, read string
		flags    []string
	}{
		{to: "docker-archive:" + filepath.Join(tmp, "d.tar") + ":example.org/x:v1"},
		{to: "docker-archive:" + filepath.Join(tmp, "e.tar"), read: "docker-archive:" + filepath.Join(tmp, "e.tar") + ":@0"},
		{to: "oci-archive:" + filepath.Join(tmp, "o.tar") + ":v2"},
		{to: "oci:" + filepath.Join(tmp, "zstd") + ":v3", flags: []string{"--dest-compress-format", "zstd", "--dest-compress"}},
		{to: "docker://" + host + "/new/img:v4", flags: []string{"--dest-tls-verify=false"}},
		{to: "docker://" + host + "/new/v2s2:v5", flags: []string{"--dest-tls-verify=false", "--format", "v2s2"}},
	} {
		args := append([]string{"--insecure-policy", "copy", "-q"}, tc.flags...)
		if out, err := exec.Command(skopeo, append(args, from, tc.to)...).CombinedOutput(); err != nil {
			t.Errorf("skopeo copy to %s: %v: %s", tc.to, err, out)
			continue
		}
		if tc.read == "" {
			tc.read = tc.to
		}
		img, layers, err := read(t, tc.read, quick)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff([][]byte{one, two}, layers); diff != "" || img.Platform() != "linux/arm64" {
			t.Errorf("%s: for %s, layers differ: %v", tc.read, img.Platform(), diff != "")
		}
	}
}
