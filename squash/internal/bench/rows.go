package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type runner struct {
	root, tree, work, only string
	done                   map[string]*row
}

// run measures one row and prints it. What it made stays for the rows that read it.
func (b *runner) run(name, stdin string, args ...string) error {
	if b.only != "" && !strings.Contains(name, b.only) {
		return nil
	}
	out := filepath.Join(b.work, strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "/", "-"))
	for i, a := range args {
		switch a {
		case "OUT":
			args[i] = out
		case "TREE":
			args[i] = b.tree
		case "TAR":
			args[i] = b.root
		}
	}
	r := &row{name: name, args: args, stdin: stdin, out: out}
	if err := r.run(); err != nil {
		return err
	}
	b.done[name] = r
	fmt.Println(r)
	if strings.HasPrefix(name, "read") || strings.Contains(name, "x the tree") {
		os.RemoveAll(out)
	}
	return nil
}

func (b *runner) mksquashfs(name string, options ...string) error {
	return b.run("mksquashfs "+name, "", append([]string{"mksquashfs", "TREE", "OUT", "-noappend", "-quiet", "-no-progress"}, options...)...)
}

func (b *runner) tar2sqfs(name string, options ...string) error {
	return b.run("tar2sqfs "+name, b.root, append(append([]string{"tar2sqfs", "-q", "-f"}, options...), "OUT")...)
}

func (b *runner) ours(name string, options ...string) error {
	return b.run("squash "+name, "", append([]string{"self", "write", "TAR", "OUT"}, options...)...)
}

func (b *runner) writers() error {
	fmt.Println(head)
	for _, f := range []func() error{
		func() error { return b.mksquashfs("defaults (gzip 9)") },
		func() error { return b.tar2sqfs("defaults (xz)") },
		func() error { return b.ours("defaults") },
		func() error { return b.mksquashfs("zstd 15", "-comp", "zstd") },
		func() error { return b.tar2sqfs("zstd 15", "-c", "zstd", "-X", "level=15") },
		func() error { return b.ours("zstd 15 128K", "-block", "131072", "-comp", "zstd") },
		func() error { return b.ours("gzip 9", "-block", "131072", "-comp", "gzip") },
		func() error { return b.mksquashfs("xz", "-comp", "xz") },
		func() error { return b.ours("xz", "-block", "131072", "-comp", "xz") },
		func() error { return b.ours("xz 9", "-block", "131072", "-comp", "xz", "-level", "9") },
		func() error { return b.mksquashfs("lz4 hc", "-comp", "lz4", "-Xhc") },
		func() error { return b.ours("lz4 hc", "-block", "131072", "-comp", "lz4") },
		func() error { return b.mksquashfs("zstd 15 256K", "-comp", "zstd", "-b", "256K") },
		func() error { return b.ours("zstd 15 256K", "-block", "262144", "-comp", "zstd") },
		func() error { return b.mksquashfs("zstd 15 1M", "-comp", "zstd", "-b", "1M") },
		func() error { return b.ours("zstd 15 1M", "-block", "1048576", "-comp", "zstd") },
		func() error { return b.ours("zstd 1", "-block", "131072", "-comp", "zstd", "-level", "1") },
		func() error { return b.mksquashfs("zstd 1", "-comp", "zstd", "-Xcompression-level", "1") },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// readers read the image of mksquashfs zstd, which none of them wrote.
func (b *runner) readers() error {
	image := b.done["mksquashfs zstd 15"]
	if image == nil {
		return nil
	}
	fmt.Printf("\nReading the image of mksquashfs zstd 15\n\n%s\n", head)
	memory, err := os.MkdirTemp("/dev/shm", "bench-squash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(memory)
	if err := b.run("read: unsquashfs to tmpfs", "", "unsquashfs", "-quiet", "-no-progress", "-f", "-d", memory, image.out); err != nil {
		return err
	}
	if err := b.run("read: sqfs2tar", "", "sqfs2tar", image.out); err != nil {
		return err
	}
	if err := b.run("read: squash Contents", "", "self", "contents", image.out); err != nil {
		return err
	}
	if err := b.run("read: squash Walk, one thread", "", "self", "walk", image.out); err != nil {
		return err
	}
	return b.run("read: squash 20000 random 4 KiB", "", "self", "random", image.out)
}

// growth shows that memory stays and time grows with the input.
func (b *runner) growth() error {
	fmt.Printf("\nGrowing input, default options but no search for copies\n\n%s\n", head)
	for _, n := range []string{"1", "2", "4", "8"} {
		if err := b.ours(n+" x the tree", "-copies", n); err != nil {
			return err
		}
	}
	return b.run("squash 1,000,000 files in a folder", "", "self", "million", "OUT")
}

// goals prints what was aimed at beside what came out.
func (b *runner) goals() {
	ours, theirs := b.done["squash defaults"], b.done["mksquashfs zstd 15"]
	gzip, theirGzip := b.done["squash gzip 9"], b.done["mksquashfs defaults (gzip 9)"]
	if ours == nil || theirs == nil || gzip == nil || theirGzip == nil {
		return
	}
	fmt.Printf("\n| goal | want | got |\n|---|---|---|\n")
	fmt.Printf("| bytes, defaults / mksquashfs zstd | <= 1 | %.4f |\n", float64(ours.bytes)/float64(theirs.bytes))
	fmt.Printf("| wall, mksquashfs zstd / defaults | >= 2 | %.2f |\n", theirs.wall.Seconds()/ours.wall.Seconds())
	fmt.Printf("| CPU, mksquashfs zstd / defaults | >= 2 | %.2f |\n", theirs.cpu.Seconds()/ours.cpu.Seconds())
	fmt.Printf("| bytes, gzip / mksquashfs gzip | <= 1.005 | %.4f |\n", float64(gzip.bytes)/float64(theirGzip.bytes))
	fmt.Printf("| CPU, mksquashfs gzip / gzip | >= 1 | %.2f |\n", theirGzip.cpu.Seconds()/gzip.cpu.Seconds())
	for _, c := range []string{"lz4 hc", "xz"} {
		small := "squash " + map[string]string{"lz4 hc": c, "xz": "xz 9"}[c]
		if a, t := b.done[small], b.done["mksquashfs "+c]; a != nil && t != nil {
			fmt.Printf("| bytes, %s / mksquashfs %s | - | %.4f |\n", small, c, float64(a.bytes)/float64(t.bytes))
		}
	}
	if million := b.done["squash 1,000,000 files in a folder"]; million != nil {
		fmt.Printf("| RSS MiB, 1,000,000 files in a folder | < 256 | %d |\n", million.rss>>10)
	}
	fmt.Printf("| RSS MiB | < 256 | %d |\n", ours.rss>>10)
	if seq, un := b.done["read: squash Contents"], b.done["read: unsquashfs to tmpfs"]; seq != nil && un != nil {
		fmt.Printf("| wall, unsquashfs / Contents | >= 1 | %.2f |\n", un.wall.Seconds()/seq.wall.Seconds())
	}
}
