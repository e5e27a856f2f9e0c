// Program bench measures the squashfs writer and reader against squashfs-tools and squashfs-tools-ng on a real Debian
// root, in one run, and prints a Markdown table.
//
// The root is a tar file in the cache folder, made with mmdebstrap the first time. Every row is a process of its own, also
// ours: its processor time and peak memory are what the kernel says about it.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		exit(child(os.Args[2], os.Args[3:]))
	}
	root := flag.String("root", "", "tar file with the tree; default: debian-root.tar in the cache folder")
	only := flag.String("only", "", "run only rows whose name contains this")
	growth := flag.Bool("growth", false, "also measure from one to eight copies of the tree")
	flag.Parse()
	exit(bench(*root, *only, *growth))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
