package sys

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/overlay"
)

// below moves a plan under dir.
func below(dir string, m overlay.Mount) overlay.Mount {
	m.Target = dir + m.Target
	for i := range m.Make {
		m.Make[i] = dir + m.Make[i]
	}
	m.Data = strings.ReplaceAll(m.Data, "="+overlay.Base, "="+dir+overlay.Base)
	return m
}

func TestThePlannedRootMountsTakesWritesAndGoesAwayWithItsLoopDevice(t *testing.T) {
	need.Root(t)
	need.File(t, "/dev/loop-control", "kmod, with the kernel module loop")
	mksquashfs := need.Tool(t, "mksquashfs", "squashfs-tools")
	dir := t.TempDir()
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "rootfs.squashfs")
	if err := os.MkdirAll(tree+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tree+"/etc/os", []byte("image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mksquashfs, tree, image, "-quiet", "-no-progress").CombinedOutput(); err != nil {
		t.Fatalf("mksquashfs: %v\n%s", err, out)
	}
	l := New()
	device, release, err := l.AttachLoop(image)
	if err != nil {
		need.Absent(t, "this test needs loop devices: %v", err)
	}
	if err := os.WriteFile(device, []byte("x"), 0); err == nil {
		t.Errorf("%s can be written", device)
	}
	var mounted []string
	for _, m := range overlay.Plan(device, overlay.DefaultOptions()) {
		m = below(dir, m)
		if err := l.Mount(m); err != nil {
			release()
			need.Absent(t, "this test needs squashfs, tmpfs and overlay: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(m.Target, unix.MNT_DETACH) })
		mounted = append(mounted, m.Target)
	}
	release()
	root := dir + overlay.NewRoot
	if err := os.WriteFile(root+"/etc/os", []byte("changed"), 0o644); err != nil {
		t.Errorf("write into the root: %v", err)
	}
	for path, want := range map[string]string{root + "/etc/os": "changed", dir + overlay.Rootfs + "/etc/os": "image"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v, want %q", path, got, err, want)
		}
	}
	for i := len(mounted) - 1; i >= 0; i-- {
		if err := l.Unmount(mounted[i]); err != nil {
			t.Error(err)
		}
	}
	backing := "/sys/block/" + filepath.Base(device) + "/loop/backing_file"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if name, err := os.ReadFile(backing); err != nil || strings.TrimSpace(string(name)) != image {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still attached to %s", device, image)
		}
	}
}

func TestAttachAndLoadSayWhichFileIsMissing(t *testing.T) {
	l := New()
	missing := filepath.Join(t.TempDir(), "gone")
	if _, _, err := l.AttachLoop(missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("AttachLoop = %v", err)
	}
	if err := l.LoadModule(missing, ""); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("LoadModule = %v", err)
	}
	if err := l.Unmount(missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("Unmount = %v", err)
	}
}
