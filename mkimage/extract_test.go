package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/squash"
)

// squashfs writes an image that nothing in it is compressed in, so that a test can forge it.
func squashfs(t *testing.T, entries ...squash.Entry) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.squashfs")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := squash.NewWriter(f, squash.Options{Compression: squash.None})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func textFile(path, text string) squash.Entry {
	return squash.Entry{Path: path, Mode: 0o644, ModTime: time.Unix(1_700_000_000, 0), Size: int64(len(text)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

func folder(path string) squash.Entry { return squash.Entry{Path: path, Mode: fs.ModeDir | 0o755} }

// forge replaces bytes of an image by as many others.
func forge(t *testing.T, file, old, by string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil || len(old) != len(by) || bytes.Count(data, []byte(old)) == 0 {
		t.Fatalf("forge %q: %v, %d times there", old, err, bytes.Count(data, []byte(old)))
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte(old), []byte(by)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// below lists all paths below dir.
func below(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		list = append(list, strings.TrimPrefix(p, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

func TestForgedNamesNeverLeadOutOfTheFolder(t *testing.T) {
	for _, forged := range []string{"..", "./", "a/", "\x00a", "/a"} {
		file := squashfs(t, folder("@@"), textFile("@@/inner", "x"))
		forge(t, file, "@@", forged)
		dir := t.TempDir()
		for _, args := range [][]string{{"extract", file, filepath.Join(dir, "out")}, {"ls", "-R", file}, {"ls", file}} {
			status, out, stderr := mkimage(t.Context(), nil, args...)
			if status != 4 || out != "" {
				t.Errorf("%s of an image with the name %q: status %d, %q, %q, want 4", args[0], forged, status, out, stderr)
			}
		}
		if left := below(t, dir); left != "" {
			t.Errorf("name %q: left %s, want nothing", forged, left)
		}
	}
}

func TestSymlinksOfTheImageAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(path, target string) squash.Entry {
		return squash.Entry{Path: path, Mode: fs.ModeSymlink | 0o777, Target: target, ModTime: time.Unix(1_600_000_000, 0)}
	}
	file := squashfs(t, link("abs", outside+"/file"), link("dir", outside), link("loop", "loop"), link("up", "../outside/file"),
		textFile("z", "y"))
	out := filepath.Join(dir, "out")
	if status, _, stderr := mkimage(t.Context(), nil, "extract", file, out); status != 0 {
		t.Fatalf("extract: status %d, %s", status, stderr)
	}
	fi, err := os.Stat(filepath.Join(outside, "file"))
	if err != nil || fi.Mode().Perm() != 0o600 || time.Since(fi.ModTime()) > time.Hour {
		t.Errorf("after extract the file outside is %v %v, %v, want it as it was", fi.Mode(), fi.ModTime(), err)
	}
	if got, err := os.Readlink(filepath.Join(out, "dir")); err != nil || got != outside {
		t.Errorf("the link dir = %q, %v, want %q", got, err, outside)
	}
	// In the image they are followed, with the image's root as the root.
	for _, args := range [][]string{{"cat", file, "abs"}, {"cat", file, "up"}, {"cat", file, "loop"}, {"ls", file, "dir/file"}, {"extract", file, "dir", out + "2"}} {
		if status, stdout, stderr := mkimage(t.Context(), nil, args...); status != 1 || stdout != "" {
			t.Errorf("%v: status %d, %q, %q, want 1: it is not in the image", args, status, stdout, stderr)
		}
	}
}

func TestInodesWithOneNumberAreOneFileOnlyIfAlike(t *testing.T) {
	one, two := textFile("one", "11"), textFile("two", "222")
	file := squashfs(t, one, squash.Entry{Path: "one-more", HardlinkTo: "one"}, two, squash.Entry{Path: "two-more", HardlinkTo: "two"})
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The second inode gets the number of the first. Extended regular files: type 9, mode 0644, owners, time, number.
	head := func(number byte) []byte {
		return []byte{9, 0, 0o644 & 0xff, 0o644 >> 8, 0, 0, 0, 0, 0x00, 0xf1, 0x53, 0x65, number, 0, 0, 0}
	}
	if bytes.Count(data, head(2)) != 1 {
		t.Fatalf("the second inode is there %d times", bytes.Count(data, head(2)))
	}
	if err := os.WriteFile(file, bytes.Replace(data, head(2), head(1), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if status, _, stderr := mkimage(t.Context(), nil, "extract", file, out); status != 0 {
		t.Fatalf("extract: status %d, %s", status, stderr)
	}
	for name, want := range map[string]string{"one": "11", "one-more": "11", "two": "222", "two-more": "222"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestNamesThatSteerATerminalAreQuoted(t *testing.T) {
	file := squashfs(t, textFile("\x1b[2Jx", ""), textFile("b\xff", ""), textFile("naïve", ""))
	_, out, _ := mkimage(t.Context(), nil, "ls", file)
	if want := "\"\\x1b[2Jx\"\n\"b\\xff\"\nnaïve\n"; out != want {
		t.Errorf("ls = %q, want %q", out, want)
	}
	if _, out, _ = mkimage(t.Context(), nil, "ls", "--json", file); !strings.Contains(out, `"path_bytes": "Yv8="`) {
		t.Errorf("ls --json = %s, want path_bytes for the name that is not UTF-8", out)
	}
}

func TestHolesStayHoles(t *testing.T) {
	const length = 1 << 30
	sparse := textFile("sparse", "")
	sparse.Size = length
	sparse.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("begin"), io.LimitReader(zeros{}, length-5))), nil
	}
	out := filepath.Join(t.TempDir(), "out")
	if status, _, stderr := mkimage(t.Context(), nil, "extract", squashfs(t, sparse), out); status != 0 {
		t.Fatalf("extract: status %d, %s", status, stderr)
	}
	fi, err := os.Stat(filepath.Join(out, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); fi.Size() != length || st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file has %d bytes in %d blocks, want %d in a few", fi.Size(), st.Blocks, length)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestWithoutRootExtractSaysWhatItLeftOut(t *testing.T) {
	need.Root(t)
	entries := []squash.Entry{folder("d"), {Path: "dev", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		{Path: "dev2", HardlinkTo: "dev"}, {Path: "fifo", Mode: fs.ModeNamedPipe | 0o644}}
	su := textFile("suxx", "x")
	su.Mode, su.GID = 0o755|fs.ModeSetuid, 42
	su.Xattrs = map[string]string{"security.note": "x"}
	closed := folder("shut")
	closed.Mode = fs.ModeDir | 0o500
	file := squashfs(t, append(entries, closed, textFile("shut/in", "x"), su)...)
	dir, err := os.MkdirTemp("", "extract")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for p, mode := range map[string]os.FileMode{dir: 0o777, filepath.Dir(file): 0o755, filepath.Dir(filepath.Dir(file)): 0o755, file: 0o644} {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	status, stderr := asNobody(t, "extract", file, filepath.Join(dir, "out"))
	want := []string{"owner not set", "setuid and setgid not set: suxx", "not made: char devices: dev and 1 more", "attribute security.note not set: suxx"}
	for _, text := range want {
		if status != 0 || !strings.Contains(stderr, "mkimage: warning: "+text) {
			t.Errorf("extract without root: status %d, %s, want a warning %q", status, stderr, text)
		}
	}
	fi, err := os.Stat(filepath.Join(dir, "out/suxx"))
	if err != nil || fi.Mode() != 0o755 {
		t.Errorf("suxx = %v, %v, want mode 0755: setuid would be another user's", fi.Mode(), err)
	}
	// A failure in the end leaves nothing, though a folder may not be written to by then.
	forge(t, file, "suxx", "s/xx")
	if status, stderr := asNobody(t, "extract", file, filepath.Join(dir, "bad")); status != 4 {
		t.Errorf("extract of a forged image: status %d, %s, want 4", status, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "bad")); err == nil {
		t.Error("extract of a forged image left something")
	}
}

// asNobody runs a command line in a process without rights.
func asNobody(t *testing.T, args ...string) (int, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(args[1]), "mkimage") // testscript.Main goes by the name
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(fmt.Errorf("run as nobody: %w", err))
	}
	return cmd.ProcessState.ExitCode(), stderr.String()
}
