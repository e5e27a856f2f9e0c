package main

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/fetch"
	"github.com/slotboot/slotboot/internal/screen"
)

// openPieces opens the full bundle at u, whose fragment names the list of its pieces beside it: those that the running
// slot has are taken from there, and only the others fetched. A wrong piece is found out like any wrong byte of a bundle.
func (a *app) openPieces(ctx context.Context, u *url.URL, id fetch.Identity) (*source, error) {
	d, err := a.find(needs{env: true, data: true, running: true})
	if err != nil {
		return nil, err
	}
	list := u.ResolveReference(&url.URL{Path: "./" + u.Fragment, RawQuery: u.RawQuery})
	bare := *u
	bare.Fragment = ""
	in, err := a.fetchFile(ctx, list.String(), id)
	if err != nil {
		return nil, err
	}
	pieces, err := bundle.ReadPieces(bufio.NewReader(in))
	in.Close()
	if err != nil {
		return nil, err
	}
	var files []*io.SectionReader
	var open closers
	for _, name := range []string{bundle.KernelName, bundle.InitrdName, bundle.RootfsName} {
		f, err := os.Open(filepath.Join(d.slotDir(d.running), name))
		if err != nil {
			continue
		}
		open = append(open, f)
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			files = append(files, io.NewSectionReader(f, 0, info.Size()))
		}
	}
	all := bundle.Assemble(pieces, files)
	a.say("%s: %s are in slot %s, %s come from the server", filepath.Base(bare.Path), screen.Size(all.Here), d.running, screen.Size(all.There))
	body, err := a.fetchFile(ctx, bare.String(), id)
	if err != nil {
		open.Close()
		return nil, err
	}
	open = append(open, body)
	all.From(body)
	s, err := bundle.NewReader(bufio.NewReaderSize(all, 1<<20))
	if err != nil {
		open.Close()
		return nil, err
	}
	return &source{Stream: s, file: open, plain: u.Scheme == "http"}, nil
}

// fetchFile begins to fetch what is behind a URL.
func (a *app) fetchFile(ctx context.Context, address string, id fetch.Identity) (streamed, error) {
	rt, err := carrier(id)
	if err != nil {
		return streamed{}, err
	}
	body, err := fetch.Open(ctx, fetch.Client(rt), address, a.patience())
	if err != nil {
		return streamed{}, networkHint(err)
	}
	return streamed{body, ctx}, nil
}

// closers are closed together.
type closers []io.Closer

// Close implements io.Closer.
func (all closers) Close() error {
	for _, c := range all {
		c.Close()
	}
	return nil
}

// online tells whether src is an http or https URL.
func online(src string) bool {
	return strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://")
}
