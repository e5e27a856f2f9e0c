package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// row is one measurement.
type row struct {
	name  string
	args  []string // of the command; "self" is this program
	stdin string   // file
	out   string   // image made
	bytes int64
	wall  time.Duration
	cpu   time.Duration
	rss   int64 // KiB
}

func (r *row) run() error {
	args := r.args
	if args[0] == "self" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		args = append([]string{self, "child"}, args[1:]...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if r.stdin != "" {
		in, err := os.Open(r.stdin)
		if err != nil {
			return err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	if args[0] == "sqfs2tar" {
		cmd.Stdout = io.Discard
	}
	start := time.Now()
	err := cmd.Run()
	r.wall = time.Since(start)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, output.String())
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.rss = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if fi, err := os.Stat(r.out); err == nil {
		r.bytes = fi.Size()
	}
	return nil
}

func (r *row) String() string {
	return fmt.Sprintf("| %-34s | %8.2f | %8.2f | %6d | %11d |", r.name, r.wall.Seconds(), r.cpu.Seconds(), r.rss>>10, r.bytes)
}

const head = "| | wall s | CPU s | RSS MiB | bytes |\n|---|---|---|---|---|"

func bench(root, only string, growth bool) error {
	if root == "" {
		var err error
		if root, err = debianRoot(); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp("", "bench-squash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("tar", "-C", tree, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", root).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", root, err, out)
	}
	b := &runner{root: root, tree: tree, work: work, only: only, done: map[string]*row{}}
	if err := b.writers(); err != nil {
		return err
	}
	if err := b.readers(); err != nil {
		return err
	}
	if growth {
		if err := b.growth(); err != nil {
			return err
		}
	}
	b.goals()
	return nil
}

// debianRoot returns the tar file in the cache folder, which it makes if it is not there.
func debianRoot() (string, error) {
	cache := os.Getenv("SLOTBOOT_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "slotboot")
	}
	path := filepath.Join(cache, "debian-root.tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	part := filepath.Join(cache, "debian-root-part.tar")
	out, err := exec.Command("mmdebstrap", "--variant=important", "--include=systemd-sysv,openssh-server,python3,linux-image-cloud-amd64",
		"bookworm", part).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make a Debian root (apt-get install mmdebstrap): %w: %s", err, out)
	}
	return path, os.Rename(part, path)
}
