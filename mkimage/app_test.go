package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/mkimage/internal/kernel/kerneltest"
	"github.com/slotboot/slotboot/mkimage/internal/source"
)

// mkimage runs one command line in this process.
func mkimage(ctx context.Context, stdin io.Reader, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(ctx, args, stdio{stdin, &out, &err})
	return status, out.String(), err.String()
}

var goType = regexp.MustCompile(`^ +(-., )?--[a-z-]+ (int|uint|string|bytes|float|duration)`)

func TestHelpFitsAScreenAndEndsWithAnExample(t *testing.T) {
	names := []string{"", "version"}
	for _, g := range (&app{}).groups() {
		for _, c := range g.commands {
			names = append(names, c.Name())
		}
	}
	for _, name := range names {
		args := append(strings.Fields(name), "-h")
		status, out, _ := mkimage(t.Context(), nil, args...)
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if status != 0 || len(lines) > 24 || !strings.HasPrefix(lines[len(lines)-1], "Example: ") {
			t.Errorf("mkimage %v: status %d, %d lines, the last %q, want 0, 24 at most, an example", args, status, len(lines), lines[len(lines)-1])
		}
		for _, line := range lines {
			if goType.MatchString(line) {
				t.Errorf("mkimage %v: %q names a type, want what to give", args, line)
			}
			if len(line) > 100 {
				t.Errorf("mkimage %v: a line of %d characters: %s", args, len(line), line)
			}
		}
	}
	_, out, _ := mkimage(t.Context(), nil, "build", "--help-all")
	if !strings.Contains(out, "--kernel-file") {
		t.Errorf("mkimage build --help-all = %s, want --kernel-file in it", out)
	}
	for line := range strings.Lines(out) {
		if goType.MatchString(line) {
			t.Errorf("mkimage build --help-all: %q names a type, want what to give", line)
		}
	}
}

func TestExitStatusSaysWhatKindOfFailureItWas(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), 1}, {usage("x"), 2}, {fmt.Errorf("a: %w", usage("x")), 2}, {fmt.Errorf("a: %w", source.ErrCorrupt), 4},
		{fmt.Errorf("a: %w", bundle.ErrInvalid), 4}, {&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 5}, {fmt.Errorf("a: %w", syscall.EDQUOT), 5},
	} {
		if got := status(test.err); got != test.want {
			t.Errorf("status(%v) = %d, want %d", test.err, got, test.want)
		}
	}
}

func TestInterruptedBuildLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	if err := os.WriteFile(program, kerneltest.Program("amd64", false), 0o755); err != nil {
		t.Fatal(err)
	}
	im := newImage()
	im.kernels = []string{"6.1.0"}
	data, err := im.tar()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	// Half an image arrives, then somebody types Ctrl-C.
	r, w := io.Pipe()
	go func() {
		w.Write(data[:len(data)/2])
		cancel()
		w.Write(data[len(data)/2:])
		w.Close()
	}()
	status, _, stderr := mkimage(ctx, r, "build", "--init", program, "tar:-", filepath.Join(dir, "out"))
	if status != 1 || !strings.Contains(stderr, "mkimage: interrupted") {
		t.Errorf("build, interrupted: status %d, %q, want 1 and that it was interrupted", status, stderr)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("after the interrupt there is %v, %v, want init alone", left, err)
	}
}

func TestInitIsFoundInsideThenBesideAndOnlyForTheMachine(t *testing.T) {
	amd64, arm64 := kerneltest.Program("amd64", false), kerneltest.Program("arm64", false)
	inside := fstest.MapFS{"embedded/init-amd64": {Data: append(bytes.Clone(amd64), "inside"...)}, "embedded/README": {}}
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	got, err := initProgram("", "amd64", inside, dir)
	if err != nil || !strings.HasSuffix(string(got), "inside") {
		t.Errorf("initProgram(amd64) = %.20q, %v, want the one inside", got, err)
	}
	_, err = initProgram("", "arm64", inside, dir)
	if hint := source.Hint(err); !strings.Contains(hint, "GOARCH=arm64 go build") {
		t.Errorf("initProgram(arm64) = %v, hint %q, want how to build it", err, hint)
	}
	put("init", amd64)
	if _, err := initProgram("", "arm64", inside, dir); err == nil || !strings.Contains(err.Error(), "EM_X86_64, want arm64") {
		t.Errorf("initProgram(arm64) beside an init for amd64 = %v, want that said", err)
	}
	put("init-arm64", arm64)
	if got, err := initProgram("", "arm64", inside, dir); err != nil || !bytes.Equal(got, arm64) {
		t.Errorf("initProgram(arm64) beside init-arm64 = %.20q, %v, want that", got, err)
	}
	if _, err := initProgram(put("dyn", kerneltest.Program("amd64", true)), "amd64", inside, dir); err == nil || !strings.Contains(err.Error(), "static") {
		t.Errorf("initProgram(a dynamic program) = %v, want an error about static", err)
	}
	if got := strings.Join(embeddedInits(inside), " "); got != "amd64" {
		t.Errorf("embeddedInits() = %s, want amd64", got)
	}
}

func TestSizesAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "512": 512, "600M": 600 << 20, "8G": 8 << 30, "8GiB": 8 << 30, "1T": 1 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "x", "8X", "G", "99999999999T", "1.5G"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestTreeIsAFileSystemWithItsLinksFollowed(t *testing.T) {
	im := newImage()
	im.kernels = []string{"6.1.0"}
	data, err := im.tar()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	a := &app{stdio: stdio{nil, io.Discard, io.Discard}}
	img, tree, err := a.openTree(t.Context(), "tar:"+file, &imageFlags{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	defer tree.Close()
	fsys := treeFS{tree}
	// fstest wants lists and files without links, which the tree has; so a folder without any.
	if err := fstest.TestFS(mustSub(t, fsys, "usr/lib/modules"), "6.1.0/modules.dep", "6.1.0/kernel/squashfs.ko"); err != nil {
		t.Error(err)
	}
	f, err := fsys.Open("lib/modules/6.1.0/modules.dep")
	if err != nil {
		t.Fatalf("Open(lib/modules/...) through the link lib -> usr/lib = %v", err)
	}
	f.Close()
}

func mustSub(t *testing.T, fsys fs.FS, dir string) fs.FS {
	t.Helper()
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}
