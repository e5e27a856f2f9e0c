package delta

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/squash/zstdenc"
)

// applyFolder names the folder with the files of TestApplyInAProcessOfItsOwn.
const applyFolder = "SLOTBOOT_TEST_APPLY"

// TestApplyInAProcessOfItsOwn is run by other tests, and prints what it took.
func TestApplyInAProcessOfItsOwn(t *testing.T) {
	dir := os.Getenv(applyFolder)
	if dir == "" {
		t.Skip("run by TestLargestFramesAreAppliedIn64MB")
	}
	// As mkimage and slotctl have it.
	debug.SetMemoryLimit(44 << 20)
	debug.SetGCPercent(25)
	old, err := os.Open(filepath.Join(dir, "old"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	d, err := os.Open(filepath.Join(dir, "delta"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := Apply(io.Discard, old, d, ApplyOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Print(line)
		}
	}
}

// chapters is size bytes that pack fast, each chapter a few times over.
func chapters(size int, moved uint32) (all []byte) {
	for i := 0; len(all) < size; i++ {
		all = append(all, bytes.Repeat(program(rand.New(rand.NewPCG(uint64(i), 6)), 16<<10, moved), 8)...)
	}
	return all[:size]
}

// The largest old pack that is read, and the largest frames that are made.
func TestLargestFramesAreAppliedIn64MB(t *testing.T) {
	t.Parallel()
	const half = maxZstd - 1000
	body := chapters(2*half+1<<20, 0)
	old := zstdenc.New(zstdenc.Best).EncodeLong(nil, archiveOf("a", string(body[:half]), "b", string(body[half:2*half]), "c", string(body[2*half:])))
	changed := chapters(2*half, 8)
	var p packer
	next := p.pack(nil, zstdFrame, archiveOf("a", string(changed[:half])))
	next = p.pack(next, zstdFrame, archiveOf("b", string(changed[half:])))
	d, rep := mustMake(t, old, next)
	if len(d) > len(next)/8 || len(rep.Header.Needs) != 1 {
		t.Errorf("a delta of %d bytes for %d, which needs %q", len(d), len(next), rep.Header.Needs)
	}
	if rep.Header.Memory > 64<<20 {
		t.Errorf("it says that it needs %d bytes", rep.Header.Memory)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"old": old, "delta": d} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestApplyInAProcessOfItsOwn$")
	cmd.Env = append(os.Environ(), applyFolder+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var peak int
	if _, err := fmt.Sscanf(string(out[bytes.Index(out, []byte("VmHWM:")):]), "VmHWM: %d kB", &peak); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if peak > 64<<10 {
		t.Errorf("applying takes %d kB, want at most 65536; the header says %d", peak, rep.Header.Memory>>10)
	}
	t.Logf("%d kB; the header says %d", peak, rep.Header.Memory>>10)
}
