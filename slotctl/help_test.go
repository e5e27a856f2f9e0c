package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func help(t *testing.T, path string) string {
	t.Helper()
	var out, err bytes.Buffer
	args := append(strings.Fields(path)[1:], "-h")
	if code := run(context.Background(), args, stdio{&out, &err}, machine()); code != 0 || err.Len() > 0 {
		t.Fatalf("%s -h: exit status %d: %s", path, code, &err)
	}
	return out.String()
}

// TestTheDocsListEveryCommandAndEveryFlag holds docs/slotctl.md against the program.
func TestTheDocsListEveryCommandAndEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../docs/slotctl.md")
	if err != nil {
		t.Fatal(err)
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if len(c.Commands()) == 0 && !bytes.Contains(text, []byte(c.CommandPath())) {
			t.Errorf("docs/slotctl.md does not know %s", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !bytes.Contains(text, []byte("--"+f.Name)) {
				t.Errorf("docs/slotctl.md does not know %s --%s", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				visit(sub)
			}
		}
	}
	visit((&app{effects: machine()}).root())
}

func TestHelpFitsAScreenAndEndsWithAnExample(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		text := help(t, c.CommandPath())
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) > 24 {
			t.Errorf("%s -h has %d lines, want at most 24:\n%s", c.CommandPath(), len(lines), text)
		}
		for _, line := range lines {
			if len(line) > 82 {
				t.Errorf("%s -h has a line of %d characters: %s", c.CommandPath(), len(line), line)
			}
		}
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "  slotctl ") || !strings.Contains(text, "\nExample:\n"+last) {
			t.Errorf("%s -h does not end with an example:\n%s", c.CommandPath(), text)
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				visit(sub)
			}
		}
	}
	visit((&app{effects: machine()}).root())
}
