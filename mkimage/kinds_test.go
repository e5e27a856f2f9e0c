package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/mkimage/internal/kernel/kerneltest"
)

// wrongKinds are files and folders that people give to commands, by the kind of each.
var wrongKinds = []string{"text", "empty", "random", "folder", "squashfs", "bundle", "delta", "deltabundle", "slotset", "disk", "json"}

// makeKinds makes one of each in a folder, and beside them what commands that are given one of them need.
func makeKinds(t *testing.T) string {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name string, data []byte) {
		if err := os.WriteFile(at(name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	do := func(args ...string) {
		if status, _, stderr := mkimage(t.Context(), nil, args...); status != 0 {
			t.Fatalf("mkimage %v: status %d: %s", args, status, stderr)
		}
	}
	put("text", []byte("root:x:0:0:root:/root:/bin/sh\n"))
	put("empty", nil)
	put("random", []byte(noise(4000)))
	put("disk", append(make([]byte, 512), append([]byte("EFI PART"), noise(4000)...)...))
	put("json", []byte("{\"format\": 1}\n"))
	put("init", kerneltest.Program("amd64", false))
	if err := os.Mkdir(at("folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for n, motd := range []string{"1", "2"} {
		im := newImage()
		im.kernels, im.motd = []string{"6.1.0"}, motd
		data, err := im.tar()
		if err != nil {
			t.Fatal(err)
		}
		put("image.tar", data)
		do("build", "-q", "--init", at("init"), "tar:"+at("image.tar"), at([]string{"old", "slotset"}[n]))
	}
	do("rootfs", "-q", "tar:"+at("image.tar"), at("squashfs"))
	do("bundle", "-q", at("slotset"), at("bundle"))
	do("delta", "-q", at("old"), at("slotset"), at("deltabundle"))
	do("delta", "-q", at("old/rootfs.squashfs"), at("slotset/rootfs.squashfs"), at("delta"))
	do("keygen", "-W", at("k"))
	return dir
}

// wrongKindRows are the ways to give a command a file, X, with the kinds that it takes there. Empty files and JSON are texts.
var wrongKindRows = []struct{ args, takes string }{
	{"build --init init tar:X out", "bundle deltabundle"}, // tars, which hold no kernel
	{"rootfs dir:X out", "folder slotset"},
	{"rootfs oci:X out", ""},
	{"rootfs oci-archive:X out", ""},
	{"rootfs docker-archive:X out", "bundle deltabundle"}, // a manifest.json is there; see below
	{"build --init X tar:image.tar out", ""},
	{"build --init init --kernel-file X tar:image.tar out", ""},
	{"build --init init --order X tar:image.tar out", "text empty json"},
	{"build --init init --key X tar:image.tar out", ""},
	{"disk X out", "slotset"},
	{"bundle X out", "slotset"},
	{"push X docker://127.0.0.1:1/x:1", "slotset bundle deltabundle"},
	{"delta X slotset out", "slotset bundle squashfs"},
	{"delta old X out", "slotset bundle squashfs"},
	{"delta X old slotset out", "slotset bundle"},
	{"apply X deltabundle out", "slotset bundle squashfs"},
	{"apply old X out", "bundle delta deltabundle"},
	{"diff X slotset", "slotset bundle squashfs"},
	{"diff slotset X", "slotset bundle squashfs"},
	{"inspect X", "slotset bundle deltabundle delta squashfs"},
	{"ls X", "slotset bundle squashfs"},
	{"cat X /etc/motd", "slotset bundle squashfs"},
	{"extract X out", "slotset bundle squashfs"},
	{"sign --key k.key X", "slotset"},
	{"sign --key X slotset", ""},
	{"verify --pubkey k.pub X", ""}, // none of them is signed
	{"verify --pubkey X slotset", ""},
	{"rebuild-check --init init X tar:image.tar", "slotset"},
	{"run X", ""},
	{"boot-order X", ""},
}

func TestAFileOfTheWrongKindIsStatus4ForEveryCommand(t *testing.T) {
	dir := makeKinds(t)
	t.Chdir(dir)
	covered := map[string]bool{"keygen": true} // it reads no file
	message := regexp.MustCompile("(?m)^mkimage: .+")
	var table bytes.Buffer
	for _, row := range wrongKindRows {
		name, _, _ := strings.Cut(row.args, " ")
		covered[name] = true
		check := func(x string, want int) {
			args := strings.Fields(row.args)
			for i := range args {
				if rest, ok := strings.CutSuffix(args[i], "X"); ok && (rest == "" || strings.HasSuffix(rest, ":")) {
					args[i] = rest + x
				}
			}
			status, _, stderr := mkimage(t.Context(), nil, args...)
			line := message.FindString(stderr)
			fmt.Fprintf(&table, "%d %-70s %s\n", status, strings.Join(args, " "), line)
			if status != want || line == "" {
				t.Errorf("mkimage %v: status %d, %s, want %d and a message", args, status, stderr, want)
			}
			if _, err := os.Lstat("out"); err == nil {
				t.Errorf("mkimage %v has left something", args)
				os.RemoveAll("out")
			}
		}
		for _, kind := range wrongKinds {
			if !slices.Contains(strings.Fields(row.takes), kind) {
				check(kind, exitNotIntact)
			}
		}
		check("missing", exitFailed)
	}
	for _, g := range (&app{}).groups() {
		for _, c := range g.commands {
			if !covered[c.Name()] {
				t.Errorf("no row gives mkimage %s a file of the wrong kind", c.Name())
			}
		}
	}
	t.Logf("\n%s", table.String())
}
