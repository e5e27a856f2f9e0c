package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/screen/screentest"
)

func TestTheDocsHaveTheKeysOfEveryJSON(t *testing.T) {
	page, err := filepath.Abs("../docs/slotctl.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(makeKinds(t))
	put(t, "data/state/boots.jsonl", []byte(`{"time":1,"boot_id":"x","event":"boot","slot":"B","why":"trial","count":1,"limit":3,"saved":true,"version":"2"}`+"\n"))
	printed := func(args ...string) []string {
		t.Helper()
		var out, stderr bytes.Buffer
		if code := run(t.Context(), args, stdio{&out, &stderr}, machine()); code != 0 {
			t.Fatalf("slotctl %s: status %d: %s", strings.Join(args, " "), code, stderr.String())
		}
		return []string{out.String()}
	}
	here := func(args ...string) []string {
		return printed(append([]string{"--grubenv", "grubenv", "--data", "data", "--running", "A"}, args...)...)
	}
	screentest.Keys(t, page, map[string]screentest.Output{
		"status --json":   {Type: statusReport{}, Printed: here("status", "--json")},
		"simulate --json": {Type: []simulatedBoot{}, Printed: here("simulate", "--json")},
		"explain --json":  {Type: explanation{}, Printed: here("explain", "--json")},
		"verify --json":   {Type: []verifiedSlot{}, Printed: here("verify", "--json")},
		"env list --json": {Type: []variable{}, Printed: printed("env", "list", "--json", "grubenv")},
		"version --json":  {Type: versionReport{}, Printed: printed("version", "--json")},
	})
}
