package slotboot

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheDocsNameTestsThatExist holds every test that a page names against the tests that there are.
func TestTheDocsNameTestsThatExist(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	named := regexp.MustCompile("`(Test[A-Z]\\w+)`")
	var tests []string
	pages := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".md") {
			pages[path] = string(text)
			return nil
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for page, text := range pages {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			seen++
			if !slices.Contains(tests, m[1]) {
				t.Errorf("%s names %s, which is no test", page, m[1])
			}
		}
	}
	if seen == 0 {
		t.Error("no page names a test")
	}
}
