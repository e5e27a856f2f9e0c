package squash_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slotboot/slotboot/squash"
)

// describe turns a tree into one line a path, so that trees compare as text: type, mode, owner, mtime, the link group
// by its least path, xattrs, and the length and digest of the content.
func describe(t testing.TB, entries []squash.Entry) []string {
	t.Helper()
	first := map[string]string{} // path -> the path that its link group was added under
	least := map[string]string{} // that path -> the least path of the group
	attrs := map[string]string{}
	for _, e := range entries {
		key := e.Path
		if e.HardlinkTo != "" {
			key = first[e.HardlinkTo]
		} else {
			attrs[key] = attributes(t, e)
		}
		first[e.Path] = key
		if l, ok := least[key]; !ok || e.Path < l {
			least[key] = e.Path
		}
	}
	lines := make([]string, 0, len(entries))
	for path, key := range first {
		lines = append(lines, fmt.Sprintf("%q group=%q %s", path, least[key], attrs[key]))
	}
	sort.Strings(lines)
	return lines
}

func attributes(t testing.TB, e squash.Entry) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%v %d:%d mtime=%d", e.Mode, e.UID, e.GID, max(0, e.ModTime.Unix()))
	switch {
	case e.Mode.IsRegular():
		h := sha256.New()
		n := copyBody(t, h, e)
		fmt.Fprintf(&b, " size=%d sha256=%x", n, h.Sum(nil)[:8])
	case e.Mode&fs.ModeSymlink != 0:
		fmt.Fprintf(&b, " target=%q", e.Target)
	case e.Mode&fs.ModeDevice != 0:
		fmt.Fprintf(&b, " device=%d:%d", e.Major, e.Minor)
	}
	keys := make([]string, 0, len(e.Xattrs))
	for k := range e.Xattrs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, " %s=%q", k, e.Xattrs[k])
	}
	return b.String()
}

func copyBody(t testing.TB, w io.Writer, e squash.Entry) int64 {
	t.Helper()
	if e.Open == nil {
		return 0
	}
	r, err := e.Open()
	if err != nil {
		t.Fatalf("open %s: %v", e.Path, err)
	}
	defer r.Close()
	n, err := io.Copy(w, r)
	if err != nil {
		t.Fatalf("read %s: %v", e.Path, err)
	}
	return n
}

// same fails the test unless both trees are equal, entry by entry.
func same(t testing.TB, reader string, got, want []squash.Entry) {
	t.Helper()
	a, b := describe(t, want), describe(t, got)
	if slices.Equal(a, b) { // cmp.Diff takes minutes for a million lines
		return
	}
	if diff := cmp.Diff(a, b); diff != "" {
		if len(diff) > 4000 {
			diff = diff[:4000] + "..."
		}
		t.Fatalf("%s reads another tree (-want +got):\n%s", reader, diff)
	}
}
