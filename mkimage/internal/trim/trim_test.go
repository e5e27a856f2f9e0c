package main

import (
	"bytes"
	"compress/flate"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// busy does what depends on the tables: it grows stacks, collects garbage under them, unwinds panics, and takes the type
// of an error apart.
const busy = `package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
)

type node struct{ next *node; text string }

func deep(n int, list *node) int {
	var pad [64]byte
	if n == 0 {
		runtime.GC()
		return len(pad)
	}
	return deep(n-1, &node{list, strings.Repeat("x", n%7)}) + int(pad[n%64]) + len(list.text)
}

func recovered() (err error) {
	defer func() { err = fmt.Errorf("recovered: %v", recover()) }()
	var m map[string]int
	m["x"] = deep(100, &node{})
	return nil
}

func main() {
	var group sync.WaitGroup
	sums := make([]int, 8)
	for i := range sums {
		group.Add(1)
		go func() { defer group.Done(); sums[i] = deep(2000+i, &node{text: "root"}) }()
	}
	group.Wait()
	_, err := os.Open("/nowhere/at/all")
	var path *os.PathError
	fmt.Println(sums, recovered(), errors.As(err, &path), path.Op, runtime.NumGoroutine())
	if len(os.Args) > 1 {
		var list []int
		fmt.Println(list[len(os.Args)])
	}
}
`

// build links a program as the Makefile does and returns its file.
func build(t *testing.T, arch string, args ...string) string {
	t.Helper()
	goTool := need.Tool(t, "go", "golang-go")
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command(goTool, append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-gcflags=all=-l", "-o", file}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

func packed(t *testing.T, file string) (size, compressed int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	w.Write(data)
	w.Close()
	return len(data), out.Len()
}

func TestATrimmedProgramDoesTheSameAndPacksSmaller(t *testing.T) {
	source := filepath.Join(t.TempDir(), "busy.go")
	if err := os.WriteFile(source, []byte(busy), 0o644); err != nil {
		t.Fatal(err)
	}
	file := build(t, "amd64", source)
	run := func(args ...string) string {
		out, err := exec.Command(file, args...).CombinedOutput()
		if (err != nil) != (len(args) > 0) {
			t.Fatalf("%s %q: %v\n%s", file, args, err, out)
		}
		first, _, _ := bytes.Cut(out, []byte("\ngoroutine ")) // what follows is the trace
		return string(first)
	}
	want, wantCrash := run(), run("crash")
	size, before := packed(t, file)
	if err := trimFile(file); err != nil {
		t.Fatal(err)
	}
	if got := run(); got != want {
		t.Errorf("prints %q, before %q", got, want)
	}
	if got := run("crash"); got != wantCrash {
		t.Errorf("crashes with %q, before %q", got, wantCrash)
	}
	if again, after := packed(t, file); again != size || after > before*9/10 {
		t.Errorf("%d bytes, packed %d; before %d, packed %d: want the same and a tenth less", again, after, size, before)
	}
	if err := trimFile(file); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestInitIsAProgramThatCanBeTrimmedOnEachArchitecture(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		file := build(t, arch, "github.com/slotboot/slotboot/init")
		_, before := packed(t, file)
		if err := trimFile(file); err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		if _, after := packed(t, file); after > before*9/10 {
			t.Errorf("%s: packed %d, before %d, want a tenth less", arch, after, before)
		}
	}
}

func TestWhatIsNoGoProgramStaysAsItIs(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	section := file.Section(".gopclntab")
	if section == nil {
		t.Skip("this test is linked in another way")
	}
	raw, err := io.ReadAll(section.Open())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte){
		"no ELF":            func(p []byte) { p[0] = 'x' },
		"another version":   func(p []byte) { p[section.Offset] = 0xf0 },
		"cut names":         func(p []byte) { p[section.Offset+32]++ },
		"too many records":  func(p []byte) { p[section.Offset+14]++ },
		"a record too long": func(p []byte) { p[int(section.Offset)+firstRecord(raw)+43]++ },
		"a table beyond":    func(p []byte) { p[int(section.Offset)+firstRecord(raw)+19] = 0x7f },
	} {
		p := bytes.Clone(program)
		change(p)
		want := bytes.Clone(p)
		if err := trim(p); err == nil || !bytes.Equal(p, want) {
			t.Errorf("%s: trim: %v, changed %t, want an error and no change", name, err, !bytes.Equal(p, want))
		}
	}
}

func firstRecord(data []byte) int {
	t, err := parse(bytes.Clone(data))
	if err != nil {
		return 0
	}
	return t.records[0]
}
