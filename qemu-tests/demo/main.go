// Command demo shows slotboot at work, start to finish, on a Debian container image: build, boot, update, three failed
// trial boots, fallback, update again, commit. It prints the timeline as it happens.
//
// `make demo` runs it; it finds the built programs in bin/ and the container images in the fixtures' cache.
package main

import (
	"flag"
	"fmt"
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
	images := flag.String("images", filepath.Join(cache, "demo", "oci"), "OCI layout with the tags v1 and v2")
	out := flag.String("out", filepath.Join(cache, "demo", "out"), "folder for slot sets, bundle and disk")
	flag.Parse()
	d := newDemo(*bin, *images, *out)
	defer d.Close()
	d.run()
	fmt.Println("\nThe disk is " + filepath.Join(*out, "disk.img") + "; to look around: " + filepath.Join(*bin, "mkimage") + " run " + filepath.Join(*out, "disk.img"))
}
