package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/internal/screen/screentest"
	"github.com/slotboot/slotboot/mkimage/internal/disk"
)

func TestTheDocsHaveTheKeysOfEveryJSON(t *testing.T) {
	page, err := filepath.Abs("../docs/mkimage.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(makeKinds(t))
	printed := func(lines ...string) (texts []string) {
		t.Helper()
		for _, line := range lines {
			status, out, stderr := mkimage(t.Context(), nil, strings.Fields(line)...)
			if status != 0 {
				t.Fatalf("mkimage %s: status %d: %s", line, status, stderr)
			}
			texts = append(texts, out)
		}
		return texts
	}
	disks := []string{`{"firmware": "uefi"}`}
	if _, err := os.Stat("/usr/lib/grub/x86_64-efi/kernel.img"); err == nil {
		disks = printed("disk -q --json slotset d.img")
	} else {
		need.File(t, "/usr/lib/grub/x86_64-efi/kernel.img", "grub-efi-amd64-bin")
	}
	updates := printed("delta --json old slotset slotset updates")
	screentest.Keys(t, page, map[string]screentest.Output{
		"disk --json":          {Type: disk.Layout{}, Printed: disks},
		"inspect --json":       {Type: report{}, Printed: printed("inspect --json slotset", "inspect --json bundle", "inspect --json squashfs", "inspect --json delta", "inspect --json updates/update.json")},
		"ls --json":            {Type: []lsEntry{}, Printed: printed("ls --json -R squashfs /")},
		"delta --json":         {Type: deltaReport{}, Printed: printed("delta --json old slotset d1", "delta --json old/rootfs.squashfs squashfs d2")},
		"delta olds --json":    {Type: deltasReport{}, Printed: updates},
		"diff --json":          {Type: diffReport{}, Printed: printed("diff --json old slotset", "diff --json --delta old slotset", "diff --json old slotset/rootfs.squashfs")},
		"rebuild-check --json": {Type: rebuildReport{}, Printed: printed("rebuild-check -q --json --init init slotset tar:image.tar")},
		"version --json":       {Type: versionReport{}, Printed: printed("version --json")},
	}, bundle.Manifest{}, bundle.Index{}, delta.Header{})
}
