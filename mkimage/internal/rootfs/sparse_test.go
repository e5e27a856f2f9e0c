package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// sparseTars makes a file with two holes and has GNU tar pack it in each of its sparse formats.
func sparseTars(tb testing.TB) map[string][]byte {
	tb.Helper()
	gnutar := need.Tool(tb, "tar", "tar")
	dir := tb.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		tb.Fatal(err)
	}
	for at, s := range map[int64]string{0: "head", 150000: "middle", 300000 - 4: "tail"} {
		if _, err := f.WriteAt([]byte(s), at); err != nil {
			tb.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	all := map[string][]byte{}
	for name, args := range map[string][]string{"gnu": {"--format=gnu"}, "pax 0.0": {"--format=pax", "--sparse-version=0.0"},
		"pax 0.1": {"--format=pax", "--sparse-version=0.1"}, "pax 1.0": {"--format=pax", "--sparse-version=1.0"}} {
		b, err := exec.Command(gnutar, append(args, "-S", "-C", dir, "-c", "sparse")...).Output()
		if err != nil {
			tb.Fatalf("tar %s: %v", name, err)
		}
		all[name] = b
	}
	return all
}
