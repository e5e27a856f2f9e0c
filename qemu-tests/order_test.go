package qemutests

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBootOrderIsWhatBootingReadsAndBuildPutsItFirst records a boot of an image with three files that do not compress,
// of which booting reads the one in the middle. So each can be found in a root by its bytes.
func TestBootOrderIsWhatBootingReadsAndBuildPutsItFirst(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		absent(t, "qemu-system-x86_64 is not installed: apt-get install qemu-system-x86")
	}
	random := rand.NewChaCha8([32]byte{1})
	files := map[string][]byte{"etc/rc": []byte("cat /opt/m >/dev/null\n")}
	names := []string{"opt/a", "opt/m", "opt/z"}
	for _, name := range names {
		files[name] = make([]byte, 300_000)
		random.Read(files[name])
	}
	inRoot := func(set string) (at []int) {
		root := readFile(t, filepath.Join(set, "rootfs.squashfs"))
		for _, name := range names {
			at = append(at, bytes.Index(root, files[name][:100_000]))
		}
		return at
	}
	image, dir := theLab.imageTar(t, "v1"), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := withFiles(in("image.tar"), image, files); err != nil {
		t.Fatal(err)
	}
	if _, err := theLab.build(t, "tar:"+in("image.tar"), in("plain"), "v1"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"disk", in("plain"), in("disk")}, {"boot-order", "--settle", "5s", in("disk"), in("order")}} {
		if _, err := theLab.run(t, "mkimage", args...); err != nil {
			t.Fatal(err)
		}
	}
	order := strings.Fields(string(readFile(t, in("order"))))
	if order[0] != "/sbin/init" {
		t.Errorf("the order begins with %s, want /sbin/init", order[0])
	}
	for _, name := range []string{"/bin/busybox", "/etc/image-version", "/etc/rc", "/opt/m"} {
		if !slices.Contains(order, name) {
			t.Errorf("booting reads %s, which is not in the order %q", name, order)
		}
	}
	for _, name := range []string{"/usr/bin/slotctl", "/opt/a", "/opt/z"} {
		if slices.Contains(order, name) {
			t.Errorf("booting does not read %s, which is in the order %q", name, order)
		}
	}
	out, err := theLab.build(t, "tar:"+in("image.tar"), in("ordered"), "v1", "--order", in("order"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "not in the root") {
		t.Errorf("the order names files that are not in the image: %s", out)
	}
	if at := inRoot(in("plain")); !slices.IsSorted(at) || at[0] < 0 {
		t.Errorf("without an order %q begin at %d, want them one after the other", names, at)
	}
	at := inRoot(in("ordered"))
	if most := 4 << 20; slices.Min(at) < 0 || at[1] > most || at[0] < at[1] || at[2] < at[1] {
		t.Errorf("with an order %q begin at %d, want %s first, before byte %d", names, at, names[1], most)
	}
}
