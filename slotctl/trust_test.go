package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/slotboot/slotboot/bundle"
)

// signer is a key pair: the private key and the .pub file.
type signer struct {
	key minisign.PrivateKey
	pub []byte
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return signer{private, text}
}

// sign signs the slot set in dir.
func (s signer) sign(t *testing.T, dir string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, bundle.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, bundle.SignatureName), minisign.Sign(s.key, raw))
}

// policy gives the guest an /etc/slotboot with these files.
func (g *guest) policy(files map[string]string) {
	g.t.Helper()
	g.effects.etc = filepath.Join(g.t.TempDir(), "etc")
	for name, text := range files {
		put(g.t, filepath.Join(g.effects.etc, name), []byte(text))
	}
}

// content is everything on the guest's data partition but the records, and the state of its block.
func (g *guest) content() string {
	g.t.Helper()
	slotsThere, err := snapshot(g.base + "/data/slots")
	if err != nil {
		g.t.Fatal(err)
	}
	return slotsThere + g.must("simulate", "--json")
}

// boots makes slot the one that runs.
func (g *guest) boots(slot string) {
	g.t.Helper()
	report, err := os.ReadFile(g.base + "/boot.json")
	if err != nil {
		g.t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(report, &fields); err != nil {
		g.t.Fatal(err)
	}
	fields["slot"] = slot
	report, _ = json.Marshal(fields)
	put(g.t, g.base+"/boot.json", report)
}

func set(t *testing.T, version string, edits ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "v"+version)
	if err := writeSlotSet(dir, version, edits); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOnADeviceWithKeysOnlyWhatIsSignedIsInstalled(t *testing.T) {
	mine, other := newSigner(t), newSigner(t)
	g := newGuest(t, false)
	g.policy(map[string]string{"keys/mine.pub": string(mine.pub), "keys/other.pub": string(other.pub), "keys/revoked/other.pub": string(other.pub)})
	v2 := set(t, "2")
	before := g.content()
	refuse := func(want int, text string, args ...string) {
		t.Helper()
		code, _, stderr := g.run(append([]string{"install"}, args...)...)
		if code != want || !strings.Contains(stderr, text) || !strings.Contains(stderr, "(nothing changed)") {
			t.Errorf("install %v: exit status %d, %q, want %d and %q, nothing changed", args, code, stderr, want, text)
		}
		if after := g.content(); after != before {
			t.Errorf("install %v, refused, left\n%s\nwant\n%s", args, after, before)
		}
		g.tidy()
	}
	refuse(4, "not signed", v2)
	refuse(4, "not signed", "--force", v2)
	refuse(3, "--insecure is not allowed", "--insecure", v2)
	refuse(2, "--keys is for off the device", "--keys", g.effects.etc+"/keys", v2)
	newSigner(t).sign(t, v2)
	refuse(4, "not trusted here", v2)
	other.sign(t, v2)
	refuse(4, "revoked", v2)
	put(t, v2+"/"+bundle.SignatureName, nil)
	refuse(4, "not signed", v2)
	mine.sign(t, v2)
	if out := g.must("install", v2); !strings.Contains(out, "signed by key ") {
		t.Errorf("install says %s", out)
	}
	if code, _, stderr := g.run("verify"); code != 4 || !strings.Contains(stderr, "slot A: not signed") {
		t.Errorf("verify of an unsigned slot A: exit status %d, %s, want 4", code, stderr)
	}
	if out := g.must("verify", "B"); !strings.Contains(out, "is intact, signed by key ") {
		t.Errorf("verify of a signed slot says %s", out)
	}
	g.tidy()
}

func TestInsecureWorksWhereTheImageAllowsIt(t *testing.T) {
	g := newGuest(t, false)
	g.policy(map[string]string{"keys/mine.pub": string(newSigner(t).pub), "allow-insecure": ""})
	v2 := set(t, "2")
	if code, _, _ := g.run("install", v2); code != 4 {
		t.Errorf("install of an unsigned slot set: exit status %d, want 4 without --insecure", code)
	}
	if code, _, stderr := g.run("install", "--insecure", v2); code != 0 || !strings.Contains(stderr, "warning: --insecure") {
		t.Errorf("install --insecure: exit status %d, %s, want 0 and a warning", code, stderr)
	}
}

func TestOffTheDeviceTheKeysAreNamed(t *testing.T) {
	f := newFixture(t)
	mine := newSigner(t)
	keys := t.TempDir()
	if code, stderr := f.run(t.Context(), machine().files, "install", "--keys", keys, f.set); code != 4 || !strings.Contains(stderr, "there is no .pub file") {
		t.Errorf("install --keys of an empty folder: exit status %d, %s, want 4", code, stderr)
	}
	put(t, keys+"/mine.pub", mine.pub)
	if code, stderr := f.run(t.Context(), machine().files, "install", "--keys", keys, f.set); code != 4 {
		t.Errorf("install of an unsigned slot set: exit status %d, %s, want 4", code, stderr)
	}
	if code, stderr := f.run(t.Context(), machine().files, "install", "--keys", keys, "--insecure", f.set); code != 3 {
		t.Errorf("install --insecure off the device: exit status %d, %s, want 3", code, stderr)
	}
	mine.sign(t, f.set)
	if code, stderr := f.run(t.Context(), machine().files, "install", "--keys", keys, f.set); code != 0 {
		t.Errorf("install of a signed slot set: exit status %d, %s", code, stderr)
	}
	if out := f.output("verify", "--json", "--keys", keys, "B"); !strings.Contains(out, `"signed_by": "`) {
		t.Errorf("verify --json of a signed slot says %s", out)
	}
	if code, stderr := f.run(t.Context(), machine().files, "verify", "--keys", keys, "A"); code != 4 || !strings.Contains(stderr, "not signed") {
		t.Errorf("verify --keys of an unsigned slot: exit status %d, %s, want 4", code, stderr)
	}
}

func TestProductOfTheImageDecides(t *testing.T) {
	g := newGuest(t, false)
	g.policy(map[string]string{"compatible": "kiosk-2\n"})
	for product, want := range map[string]int{"": 3, "kiosk-1": 3, "kiosk-2": 0} {
		dir := set(t, "2")
		if product != "" {
			dir = set(t, "2", "compatible="+product)
		}
		if code, _, stderr := g.run("install", dir); code != want {
			t.Errorf("install of a slot set for product %q on a kiosk-2: exit status %d, %s, want %d", product, code, stderr, want)
		}
	}
}

func TestCommitRaisesTheFloorAndInstallKeepsToIt(t *testing.T) {
	g := newGuest(t, false)
	g.policy(nil)
	g.must("install", set(t, "2", "sequence=7"))
	g.boots("B")
	g.must("commit")
	if floor, _ := os.ReadFile(g.base + "/data/state/floor"); string(floor) != "7\n" {
		t.Errorf("after commit of sequence 7 the floor is %q", floor)
	}
	g.must("commit") // again: nothing to do
	g.tidy()
	before := g.content()
	refuse := func(text string, args ...string) {
		t.Helper()
		code, _, stderr := g.run(append([]string{"install"}, args...)...)
		if code != 3 || !strings.Contains(stderr, text) {
			t.Errorf("install %v: exit status %d, %s, want 3 and %q", args, code, stderr, text)
		}
		if after := g.content(); after != before {
			t.Errorf("install %v, refused, changed the device", args)
		}
	}
	old, willing := set(t, "1.9", "sequence=6"), set(t, "1.8", "sequence=6", "downgrade")
	refuse("it has sequence 6, this device has committed 7", old)
	refuse("it has sequence 6", "--force", old)
	refuse("it has sequence 6", willing)
	refuse("does not consent", "--allow-downgrade", old)
	refuse("it has sequence 0", set(t, "0"))
	g.must("install", "--allow-downgrade", willing)
	g.boots("A")
	g.must("commit")
	if floor, _ := os.ReadFile(g.base + "/data/state/floor"); string(floor) != "7\n" {
		t.Errorf("after commit of sequence 6 the floor is %q, want 7 still", floor)
	}
	g.must("rollback") // to sequence 7, but also to any other: a fallback asks no floor
	g.must("install", set(t, "3", "sequence=8"), "--force")
	if err := g.effects.mounts.Remount(g.base+"/data", false); err != nil {
		t.Fatal(err)
	}
	put(t, g.base+"/data/state/floor", []byte("x\n"))
	if err := g.effects.mounts.Remount(g.base+"/data", true); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := g.run("install", "--force", set(t, "4", "sequence=9")); code != 1 || !strings.Contains(stderr, "is no sequence") {
		t.Errorf("install with a damaged floor: exit status %d, %s, want 1", code, stderr)
	}
	if code, _, stderr := g.run("commit"); code != 0 {
		t.Errorf("commit: exit status %d: %s", code, stderr)
	}
	if floor, _ := os.ReadFile(g.base + "/data/state/floor"); string(floor) != "6\n" {
		t.Errorf("commit of sequence 6 left the damaged floor as %q", floor)
	}
	g.tidy()
}
