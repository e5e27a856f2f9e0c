package rootfs

import (
	"fmt"
	"path"
	"strings"
)

// glob is a pattern for paths of the tree. A pattern with a slash is anchored at the root; one without matches a name at any
// depth. In an element * ? [a-z] and \ work as in path.Match; the element ** stands for any number of elements, but
// at the end for one or more: a/** is what is in a.
type glob struct {
	elems []string
	text  string
}

func parseGlob(text string) (glob, error) {
	p := strings.TrimSuffix(text, "/")
	if p == "" {
		return glob{}, fmt.Errorf("pattern %q: want a name or a path", text)
	}
	if !strings.Contains(p, "/") {
		p = "**/" + p
	}
	g := glob{strings.Split(strings.TrimPrefix(p, "/"), "/"), text}
	for _, e := range g.elems {
		if _, err := path.Match(e, ""); err != nil {
			return glob{}, fmt.Errorf("pattern %q: %w", text, err)
		}
		if e == "" || e == "." || e == ".." {
			return glob{}, fmt.Errorf("pattern %q: want a clean path, without empty, . and .. elements", text)
		}
	}
	return g, nil
}

func parseGlobs(texts []string) ([]glob, error) {
	var list []glob
	for _, t := range texts {
		g, err := parseGlob(t)
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

// match reports whether g matches the path itself.
func (g glob) match(name []string) bool { return matchElems(g.elems, name) }

// matchElems backtracks over the last ** only, so that a pattern with many of them takes no exponential time.
func matchElems(pattern, name []string) bool {
	var star, from = -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			star, from = p, n
			p++
		case p < len(pattern) && matchElem(pattern[p], name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return p == len(pattern)
}

func matchElem(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// above reports whether something below the folder name can match, so that the folder must be looked into or kept.
func (g glob) above(name []string) bool {
	for i, e := range g.elems {
		if e == "**" {
			return true
		}
		if i == len(name) {
			return true
		}
		if !matchElem(e, name[i]) {
			return false
		}
	}
	return false
}
