package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/mkimage/internal/rootfs"
)

// orderMax bounds a file of --order: a million paths are tens of megabytes.
const orderMax = 256 << 20

// readOrder reads a file of --order: one path a line, the one that is needed first first. Empty lines and those that
// begin with # are passed over.
func readOrder(file string) (paths []string, raw []byte, err error) {
	if file == "" {
		return nil, nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read order: %w", err)
	}
	defer f.Close()
	raw, err = io.ReadAll(io.LimitReader(f, orderMax+1))
	if err == nil && len(raw) > orderMax {
		err = fmt.Errorf("%s: more than %s", file, screen.Size(orderMax))
	}
	if err == nil && bytes.IndexByte(raw, 0) >= 0 {
		err = notIntact{fmt.Errorf("%s is no list of paths", file)}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read order: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" && line[0] != '#' {
			paths = append(paths, line)
		}
	}
	return paths, raw, nil
}

// place turns the paths of an order into those that the files have in t, without symbolic links. It warns about those that
// are not there; what is no file has no content, and is passed over.
func (a *app) place(t *rootfs.Tree, order []string) ([]string, error) {
	bySize := map[int64][]int{} // places of wanted
	var wanted []*rootfs.Node
	missing, first := 0, ""
	for _, p := range order {
		n, err := t.Lookup(path.Clean("/" + p))
		switch {
		case err != nil:
			if missing++; first == "" {
				first = p
			}
		case n.Mode.IsRegular() && n.Size > 0:
			bySize[n.Size] = append(bySize[n.Size], len(wanted))
			wanted = append(wanted, n)
		}
	}
	paths := make([]string, len(wanted))
	err := t.Walk(func(p string, n *rootfs.Node, _ string) error {
		if !n.Mode.IsRegular() {
			return nil
		}
		for _, i := range bySize[n.Size] {
			if paths[i] == "" && wanted[i].SameInode(n) {
				paths[i] = p
			}
		}
		return nil
	})
	if missing > 0 {
		a.warn(fmt.Sprintf("the order names %d of %d paths that are not in the root, first %s", missing, len(order), printable(first)))
	}
	if len(wanted) > 0 {
		a.say("order   %s first", screen.Count(len(wanted), "file"))
	}
	return paths, err
}

// recordOrder notes the digest of --order in the manifest, so that rebuild-check can ask for the same file.
func (b *build) recordOrder() error {
	if b.f.order == "" {
		return nil
	}
	_, raw, err := readOrder(b.f.order)
	if err == nil {
		b.options = append(b.options, "order=sha256:"+digest(raw))
	}
	return err
}
