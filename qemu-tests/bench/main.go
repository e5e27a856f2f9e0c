// Command bench measures what an initrd costs: its size, and the guest's time from `Run /init` to the first line of the
// image's own init. Under -icount one nanosecond of guest time is one instruction, so the figures repeat on any machine.
//
// `make bench-boot` runs it. The peers do the same steps on the same disk: a busybox script, Debian's live-boot, and
// dracut's dmsquash-live; `qemu-tests/fixtures/make peers` makes the latter two.
package main

import (
	"flag"
	"os"
	"path/filepath"
)

func main() {
	home, _ := os.UserHomeDir()
	cache := os.Getenv("SLOTBOOT_CACHE")
	if cache == "" {
		cache = filepath.Join(home, ".cache", "slotboot")
	}
	bin := flag.String("bin", "bin", "folder with mkimage")
	runs := flag.Int("runs", 5, "boots of each; the quickest counts")
	flag.Parse()
	b := newBench(*bin, cache, *runs)
	defer b.Close()
	b.run()
}
