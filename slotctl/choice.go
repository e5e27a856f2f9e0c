package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/fetch"
)

// installBest installs src or, if that is an index of bundles, the smallest of them that fits. A delta that does not fit
// after all, because the running slot has rotted, gives way to the next; so does a bundle that cannot be put together.
func (a *app) installBest(ctx context.Context, src string, f installFlags) error {
	all, err := a.choices(ctx, src, f)
	if errors.Is(err, errNotNeeded) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w (nothing changed)", err)
	}
	var earlier error // what is said of the state belongs to the last attempt, and this one may have changed it
	for n, one := range all {
		err = a.install(ctx, one, f)
		m, pieces := misfit{}, strings.Contains(one, "#") && errors.Is(err, bundle.ErrInvalid)
		if n == len(all)-1 || !pieces && !errors.As(err, &m) {
			break
		}
		a.warn("%s: %v; trying %s", sourceName(one), err, sourceName(all[n+1]))
		earlier = fmt.Errorf("%s: %w", sourceName(one), err)
	}
	if m := (misfit{}); as[besideError](err) && errors.As(err, &m) {
		a.warn("%s: %v; trying without a delta", sourceName(src), err)
		f.full, earlier = true, fmt.Errorf("%s: %w", sourceName(src), err)
		err = a.install(ctx, src, f)
	}
	if err != nil && earlier != nil {
		return fmt.Errorf("%w; before that, %v", err, earlier)
	}
	return err
}

// choices returns the bundles that src stands for and that fit this device, the smallest first; src alone if it is no
// index.
func (a *app) choices(ctx context.Context, src string, f installFlags) ([]string, error) {
	index, beside, err := a.openIndex(ctx, src, f.id)
	if err != nil || index == nil {
		return []string{src}, err
	}
	d, err := a.find(needs{env: true, data: true, running: true})
	if err != nil {
		return nil, err
	}
	if f.needed {
		if err := d.needs(index.Version, index.Build); err != nil {
			return nil, err
		}
	}
	var all []string
	fit := 0
	for _, c := range index.For(d.manifest(d.running)) {
		fit++
		if c.Pieces != "" && online(src) {
			all = append(all, beside(c.File)+"#"+c.Pieces)
		}
		all = append(all, beside(c.File))
	}
	if len(all) == 0 {
		return nil, misfit{fmt.Errorf("%s has updates from other versions only, and no full bundle", bundle.IndexName)}
	}
	a.say("%s: %s, %d of %d bundles fit", bundle.IndexName, index.Version, fit, len(index.Choices))
	return all, nil
}

// openIndex reads the index that src names, and returns how to name the files beside it; nil if it names none.
func (a *app) openIndex(ctx context.Context, src string, id fetch.Identity) (*bundle.Index, func(string) string, error) {
	u, err := url.Parse(src)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		if !strings.HasSuffix(u.Path, "/"+bundle.IndexName) {
			return nil, nil, nil
		}
		beside := func(name string) string {
			return u.ResolveReference(&url.URL{Path: "./" + name, RawQuery: u.RawQuery}).String()
		}
		index, err := a.fetchIndex(ctx, src, id)
		return index, beside, err
	}
	if info, err := os.Stat(src); err == nil && info.IsDir() {
		src = filepath.Join(src, bundle.IndexName)
	}
	info, err := os.Stat(src)
	if err != nil || filepath.Base(src) != bundle.IndexName || !info.Mode().IsRegular() {
		return nil, nil, nil // installing it will say what it is
	}
	f, err := os.Open(src)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	index, err := readIndex(f)
	return index, func(name string) string { return filepath.Join(filepath.Dir(src), name) }, err
}

func (a *app) fetchIndex(ctx context.Context, address string, id fetch.Identity) (*bundle.Index, error) {
	body, err := a.fetchFile(ctx, address, id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readIndex(body)
}

func readIndex(r io.Reader) (*bundle.Index, error) {
	data, err := io.ReadAll(io.LimitReader(r, bundle.MaxIndex+1))
	if err != nil {
		return nil, err
	}
	return bundle.ParseIndex(data)
}
