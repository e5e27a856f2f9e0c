package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/slots"
)

// wrongKinds are files and folders that people give to commands, by the kind of each.
var wrongKinds = []string{"text", "empty", "random", "folder", "slotset", "bundle", "squashfs", "block", "fifo"}

// makeKinds makes one of each in a folder, and a device beside them.
func makeKinds(t *testing.T) string {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	block, err := bootenv.New(slots.Fresh())
	if err != nil {
		t.Fatal(err)
	}
	put(t, at("text"), []byte("root:x:0:0:root:/root:/bin/sh\n"))
	put(t, at("empty"), nil)
	put(t, at("random"), bytes.Repeat([]byte{1, 2, 3, 0xfe}, 1000))
	put(t, at("squashfs"), []byte("hsqs"+strings.Repeat("\x00", 200)))
	put(t, at("block"), block)
	put(t, at("grubenv"), block)
	put(t, at("sealed"), []byte(sealedStart))
	if err := os.Mkdir(at("folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]string{"slotset": "2", "data/slots/A": "1"} {
		if err := writeSlotSet(at(name), version, nil); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(at("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := bundle.Write(f, os.DirFS(at("slotset"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wrongKindRows are the ways to give slotctl a file, X, with the kinds that it takes there.
var wrongKindRows = []struct{ args, takes string }{
	{"install X", "slotset bundle"},
	{"install --keys X slotset", ""},
	{"install --identity X sealed", "fifo"}, // as of a shell: <(pass show device)
	{"install --cacert X https://127.0.0.1:1/x", "fifo"},
	{"install --cert X https://127.0.0.1:1/x", "fifo"},
	{"install --cert X docker://127.0.0.1:1/x", "fifo"},
	{"verify --keys X", ""},
	{"--grubenv X status", "block empty"}, // one that an accident has emptied is repaired
	{"--grubenv X commit", "block empty"},
	{"--grubenv X rollback", "block empty"},
	{"--grubenv X mark-bad B", "block empty"},
	{"--grubenv X mark-good A", "block empty"},
	{"--grubenv X boot-once A", "block empty"},
	{"--grubenv X simulate", "block empty"},
	{"--grubenv X explain", "block empty"},
	{"--grubenv X install slotset", "block empty"},
	{"--data X status", "folder"}, // an empty one is that of a new device
	{"--data X install slotset", "folder"},
	{"env list X", "block"},
	{"env set X A=1", "block"},
	{"env unset X A", "block"},
	{"env create X", "block empty"},
}

func TestAFileOfTheWrongKindIsStatus4ForEveryCommandAndIsKept(t *testing.T) {
	t.Chdir(makeKinds(t))
	covered := map[string]bool{"version": true, "env": true}
	before, err := snapshot("data")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, row := range wrongKindRows {
		words := strings.Fields(row.args)
		for _, w := range words {
			covered[w] = true
		}
		check := func(x string, want int) {
			args := []string{}
			if words[0] != "env" {
				args = []string{"--grubenv", "grubenv", "--data", "data", "--running", "A"}
			}
			for _, w := range words {
				if w == "X" {
					w = x
				}
				args = append(args, w)
			}
			var out, stderr bytes.Buffer
			code := run(t.Context(), args, stdio{&out, &stderr}, machine())
			line, _, _ := strings.Cut(stderr.String(), "\n")
			fmt.Fprintf(&table, "%d %-50s %s\n", code, strings.ReplaceAll(row.args, "X", x), line)
			if code != want || !strings.HasPrefix(stderr.String(), "slotctl: ") {
				t.Errorf("slotctl %s with X=%s: status %d, %s, want %d and a message", row.args, x, code, stderr.String(), want)
			}
		}
		for _, kind := range wrongKinds {
			if slices.Contains(strings.Fields(row.takes), kind) {
				continue
			}
			kept := content(t, kind)
			check(kind, exitInvalid)
			if got := content(t, kind); got != kept {
				t.Errorf("slotctl %s has changed %s", row.args, kind)
			}
		}
		if row.args != "env create X" {
			check("missing", exitFailed)
		}
	}
	if after, err := snapshot("data"); err != nil || after != before {
		t.Errorf("the slots have changed, %v", err)
	}
	a := &app{}
	for _, c := range a.root().Commands() {
		if !covered[c.Name()] && !c.Hidden {
			t.Errorf("no row gives slotctl %s a file of the wrong kind", c.Name())
		}
	}
	t.Logf("\n%s", table.String())
}

// content is what a file holds, "" for what is no regular file.
func content(t *testing.T, path string) string {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
