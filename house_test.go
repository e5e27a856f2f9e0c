package slotboot

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/slotboot/slotboot"

// The floors of the house. A package imports packages of lower floors only; siblings lists the exceptions within a
// floor. A name that ends in a slash stands for every package below that folder. A new package must have a floor.
var floors = map[string]int{
	"internal/need":         -1,
	"internal/lz/":          -1,
	"grubenv":               0,
	"squash":                0,
	"squash/zstdenc":        0,
	"squash/flateenc":       0,
	"squash/lz4enc":         0,
	"squash/internal/":      0,
	"squash/internal/bench": 4,
	"bundle":                0,
	"delta":                 0,
	"delta/":                0,
	"internal/verity":       0,
	"internal/minisig":      0,
	"internal/gpt":          0,
	"internal/built":        0,
	"slots":                 1,
	"overlay":               2,
	"grub":                  2,
	"internal/durable":      3,
	"internal/fetch":        3,
	"internal/screen":       3,
	"internal/screen/":      3,
	"internal/bootenv":      3,
	"internal/sys":          3,
	"internal/sys/systest":  3,
	"init":                  4,
	"slotctl":               4,
	"mkimage":               4,
	"mkimage/internal/":     4,
	"qemu-tests":            5,
	"qemu-tests/":           5,
	"":                      5,
}

var siblings = map[string][]string{
	"squash":               {"squash/zstdenc", "squash/flateenc", "squash/lz4enc", "delta/lzmaenc", "squash/internal/tartree"},
	"squash/internal/":     {"squash"},
	"internal/lz/":         {"internal/lz/"},
	"bundle":               {"delta", "squash", "internal/verity"},
	"delta":                {"squash", "squash/zstdenc", "delta/"},
	"internal/bootenv":     {"internal/durable"},
	"internal/sys/systest": {"internal/sys"},
	"mkimage":              {"mkimage/internal/"},
	"mkimage/internal/":    {"mkimage/internal/"},
	"qemu-tests":           {"qemu-tests/vm"},
}

// testOnly are packages that only tests import.
var testOnly = []string{"internal/need", "internal/lz/lztest"}

// floorOf returns the floor of a package, by its own name or by the nearest folder above it that has one.
func floorOf(pkg string) (int, bool) {
	if floor, ok := floors[pkg]; ok {
		return floor, true
	}
	for dir := path.Dir(pkg); dir != "."; dir = path.Dir(dir) {
		if floor, ok := floors[dir+"/"]; ok {
			return floor, true
		}
	}
	return 0, false
}

// initMustNotImport are the standard packages that PID 1 keeps out, because each is large for what it would do there.
var initMustNotImport = regexp.MustCompile(`^(net|net/.*|text/template|html/.*|database/.*|crypto/tls|go/.*|regexp|testing)$`)

// source is one parsed Go file.
type source struct {
	pkg  string // folder, relative to the root
	path string
	test bool
	file *ast.File
	text []byte
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(p))
		if pkg == "." {
			pkg = ""
		}
		all = append(all, source{pkg: pkg, path: filepath.ToSlash(p), test: strings.HasSuffix(p, "_test.go"), file: file, text: text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, s := range sources(t) {
		from, known := floorOf(s.pkg)
		if !known {
			t.Errorf("%s: package %q has no floor: give it one in house_test.go", s.path, s.pkg)
			continue
		}
		for _, imported := range s.imports() {
			to, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if s.test && (to == s.pkg || slices.Contains(testOnly, to) || to == "qemu-tests/vm" || to == "internal/sys/systest") {
				continue
			}
			floor, known := floorOf(to)
			switch {
			case !known:
				t.Errorf("%s imports %s, which has no floor", s.path, to)
			case s.pkg == "qemu-tests" || strings.HasPrefix(s.pkg, "qemu-tests/"):
				if to != "qemu-tests/vm" {
					t.Errorf("%s imports %s: the proof looks at the built files only", s.path, to)
				}
			case slices.Contains(testOnly, to):
				t.Errorf("%s imports %s: it is for tests", s.path, to)
			case strings.HasPrefix(to, "mkimage/internal/") && !strings.HasPrefix(s.pkg, "mkimage"):
				t.Errorf("%s imports %s: builders stay on the build machine", s.path, to)
			case floor >= from && !sibling(s.pkg, to):
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", s.path, from, to, floor)
			}
		}
	}
}

func sibling(from, to string) bool {
	keys := []string{from}
	for dir := path.Dir(from); dir != "."; dir = path.Dir(dir) {
		keys = append(keys, dir+"/")
	}
	for _, key := range keys {
		for _, allowed := range siblings[key] {
			if to == allowed || strings.HasSuffix(allowed, "/") && strings.HasPrefix(to, allowed) {
				return true
			}
		}
	}
	return false
}

func TestInitPullsInLittle(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg != "init" || s.test {
			continue
		}
		for _, p := range s.imports() {
			outside := strings.Contains(strings.SplitN(p, "/", 2)[0], ".")
			if initMustNotImport.MatchString(p) || outside && p != "golang.org/x/sys/unix" && !strings.HasPrefix(p, module+"/") {
				t.Errorf("%s imports %s: PID 1 uses the standard library, x/sys/unix and the floors below", s.path, p)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			said[s.pkg] = said[s.pkg] || s.file.Doc != nil
		}
	}
	for pkg, ok := range said {
		if !ok {
			t.Errorf("package %q has no package comment", pkg)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, decl := range s.file.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%s: %s has no doc comment", s.path, name)
			}
		}
	}
}

// undocumented returns the exported names of a declaration that no comment explains. One comment over a group of
// constants is enough for the group.
func undocumented(decl ast.Decl) []string {
	var names []string
	switch d := decl.(type) {
	case *ast.FuncDecl:
		exported := d.Name.IsExported()
		if d.Recv != nil && len(d.Recv.List) == 1 {
			exported = exported && receiverExported(d.Recv.List[0].Type)
		}
		standard := slices.Contains([]string{"Error", "String", "Unwrap", "Read", "Write", "Close", "Len", "Less", "Swap"}, d.Name.Name)
		if exported && d.Doc == nil && !(standard && d.Recv != nil) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch sp := spec.(type) {
			case *ast.TypeSpec:
				if sp.Name.IsExported() && d.Doc == nil && sp.Doc == nil && sp.Comment == nil {
					names = append(names, sp.Name.Name)
				}
			case *ast.ValueSpec:
				if sp.Names[0].IsExported() && d.Doc == nil && sp.Doc == nil && sp.Comment == nil {
					names = append(names, sp.Names[0].Name)
				}
			}
		}
	}
	return names
}

func receiverExported(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiverExported(e.X)
	case *ast.IndexExpr:
		return receiverExported(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

func TestMainIsShort(t *testing.T) {
	for _, s := range sources(t) {
		if path.Base(s.path) != "main.go" {
			continue
		}
		if lines := strings.Count(string(s.text), "\n"); lines > 40 {
			t.Errorf("%s has %d lines, want 40 or fewer: main parses and calls", s.path, lines)
		}
	}
}

func TestEveryDependencyHasAReasonAndAnExactVersion(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	require := regexp.MustCompile(`^\s*(?:require )?([a-z0-9.]+\.[a-z]+/?\S*) (v\S+)(.*)$`)
	n := 0
	for line := range strings.Lines(string(text)) {
		m := require.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil || strings.Contains(m[3], "// indirect") {
			continue
		}
		n++
		if !strings.Contains(m[3], "// ") {
			t.Errorf("go.mod: %s %s has no reason behind it", m[1], m[2])
		}
	}
	if n < 5 {
		t.Errorf("go.mod: found %d direct dependencies; the pattern of this test is wrong", n)
	}
}

// TestTheProjectSpeaksOfItselfAlone looks for words that mean unfinished work, and for paths of somebody's machine.
func TestTheProjectSpeaksOfItselfAlone(t *testing.T) {
	bad := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b|failed` + ` to |(^|[^A-Za-z.])/wo` + `rk/|/ho` + `me/[a-z]`)
	for _, s := range sources(t) {
		for i, line := range strings.Split(string(s.text), "\n") {
			if m := bad.FindString(line); m != "" {
				t.Errorf("%s:%d: %q", s.path, i+1, m)
			}
		}
	}
}
