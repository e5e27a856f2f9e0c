package grub

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/slots"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// usual are the options of a disk as mkimage makes them.
func usual() Options {
	return Options{
		Data:          "PARTUUID=9d69c3d4-4175-4a46-baba-64f95bcea861",
		Env:           "PARTUUID=2c3ea72e-0f1a-4b8e-9d0d-6d1f7e1f3a55",
		DataPartition: 3,
		DataUUID:      "0b1f7c36-9a52-4e0b-8e4b-0b7d7a1c9f10",
		SerialSpeed:   115200,
	}
}

func config(t *testing.T, opts Options) string {
	t.Helper()
	script, err := Config(opts)
	if err != nil {
		t.Fatalf("Config(%+v): %v", opts, err)
	}
	return string(script)
}

func TestTheScriptIsTheOneInTestdata(t *testing.T) {
	got := config(t, usual())
	path := filepath.Join("testdata", "grub.cfg")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("Config differs from %s (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

func TestGrubScriptCheckAcceptsEveryKindOfScript(t *testing.T) {
	check := need.Tool(t, "grub-script-check", "grub-common")
	for name, opts := range map[string]Options{
		"usual":   usual(),
		"minimal": {DataPartition: 1},
		"full": {
			Limit: 10, Data: "LABEL=slotboot", Env: "/dev/vda1:/boot/env.blk", DataPartition: 128, DataLabel: "data-1",
			EnvFile: "env.blk", Args: []string{"panic=30", "quiet", "ip=10.0.0.2::10.0.0.1:255.255.255.0::eth0:off", "modprobe.blacklist=a,b"},
		},
		"no arguments": {DataPartition: 2, Args: []string{}},
	} {
		cmd := exec.Command(check)
		cmd.Stdin = strings.NewReader(config(t, opts))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: grub-script-check: %v\n%s", name, err, out)
		}
	}
}

func TestDefaultsAreThoseOfThePolicy(t *testing.T) {
	script := config(t, Options{DataPartition: 2})
	for _, want := range []string{
		"\n  set slotboot_limit=3\n",
		"\n  set slotboot_env=\"$1/grubenv\"\n",
		"\n  set slotboot_handover=\"\"\n",
		"\n  set slotboot_default_args=\"panic=10\"\n",
		",gpt2)/slots\"",
		" --label slotboot\n",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("Config without options lacks %q", want)
		}
	}
	if strings.Contains(script, "serial --unit") {
		t.Error("Config without SerialSpeed uses the serial port")
	}
	for _, name := range slots.Names() {
		if !strings.Contains(script, name) {
			t.Errorf("Config does not mention %s", name)
		}
	}
}

func TestEveryBlockAccessNamesItsVariables(t *testing.T) {
	// load_env without names sets whatever the block says, $prefix and $root too.
	n := 0
	for _, line := range strings.Split(config(t, usual()), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if at := max(strings.Index(line, "load_env "), strings.Index(line, "save_env ")); at >= 0 {
			n++
			if !strings.Contains(line, `--file "$slotboot_env" BOOT_VERSION `) {
				t.Errorf("without a file or names: %s", line)
			}
		}
		if strings.Contains(line, "load_env ") && !strings.Contains(line, "--skip-sig") {
			t.Errorf("without --skip-sig: %s", line)
		}
	}
	if n != 3 {
		t.Errorf("%d lines read or write the block, want 3", n)
	}
}

func TestOptionsThatMeanSomethingToGRUBAreErrors(t *testing.T) {
	hostile := []string{
		`"`, `'`, `\`, `$x`, `${x}`, "a\nb", "a\rb", "a b", "a;b", "a#b", "a|b", "a&b", "a*b", "a?b", "a{b", "a}b",
		"a<b", "a>b", "a(b", "a)b", "`a`", "a\x00b", "a\x7fb", "é", "a\tb", "!", "~", "[a",
	}
	for _, text := range hostile {
		for what, opts := range map[string]Options{
			"Data":      {DataPartition: 3, Data: "LABEL=" + text},
			"Env":       {DataPartition: 3, Env: "PARTUUID=1:/" + text},
			"DataUUID":  {DataPartition: 3, DataUUID: text},
			"DataLabel": {DataPartition: 3, DataLabel: text},
			"EnvFile":   {DataPartition: 3, EnvFile: text},
			"Args":      {DataPartition: 3, Args: []string{"quiet", "x=" + text}},
		} {
			if script, err := Config(opts); err == nil || script != nil {
				t.Errorf("Config accepts %s %q", what, text)
			}
		}
	}
	for name, opts := range map[string]Options{
		"no data partition":  {},
		"partition 129":      {DataPartition: 129},
		"negative partition": {DataPartition: -1},
		"limit 11":           {DataPartition: 3, Limit: 11},
		"negative limit":     {DataPartition: 3, Limit: -1},
		"negative speed":     {DataPartition: 3, SerialSpeed: -1},
		"data without kind":  {DataPartition: 3, Data: "vda3"},
		"an option as label": {DataPartition: 3, DataLabel: "--set=root"},
		"env file elsewhere": {DataPartition: 3, EnvFile: "../grubenv"},
		"env file a folder":  {DataPartition: 3, EnvFile: ".."},
		"empty argument":     {DataPartition: 3, Args: []string{""}},
		"end of arguments":   {DataPartition: 3, Args: []string{"--"}},
		"our own argument":   {DataPartition: 3, Args: []string{"slotboot.slot=B"}},
	} {
		if _, err := Config(opts); err == nil {
			t.Errorf("Config accepts %s", name)
		}
	}
}

func FuzzConfigIsAlwaysAScript(f *testing.F) {
	check := need.Tool(f, "grub-script-check", "grub-common")
	f.Add("PARTUUID=1", "slotboot", "grubenv", "panic=10")
	f.Add("LABEL=$x", "a\"b", "../x", "a;reboot")
	f.Fuzz(func(t *testing.T, data, label, file, arg string) {
		script, err := Config(Options{Data: data, Env: data, DataPartition: 3, DataLabel: label, EnvFile: file, Args: []string{arg}})
		if err != nil {
			return
		}
		cmd := exec.Command(check)
		cmd.Stdin = strings.NewReader(string(script))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("grub-script-check: %v\n%s", err, out)
		}
	})
}
