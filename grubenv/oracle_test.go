package grubenv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// editenv runs the installed grub-editenv, the second opinion on every rule of this package.
type editenv struct {
	t          *testing.T
	tool, file string
}

func newEditenv(t *testing.T) editenv {
	return editenv{t, need.Tool(t, "grub-editenv", "grub-common"), filepath.Join(t.TempDir(), "grubenv")}
}

func (e editenv) put(data []byte) {
	if err := os.WriteFile(e.file, data, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

func (e editenv) run(args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(e.tool, append([]string{e.file}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("grub-editenv %q: %w: %s", args, err, &stderr)
	}
	return stdout.String(), nil
}

func listing(b *Block) string {
	var s strings.Builder
	for _, v := range b.Vars() {
		s.WriteString(v.Name + "=" + v.Value + "\n")
	}
	return s.String()
}

// same holds our reading of data against grub-editenv's.
func (e editenv) same(data []byte) {
	e.t.Helper()
	e.put(data)
	want, wantErr := e.run("list")
	b, err := Parse(data)
	if (err == nil) != (wantErr == nil) {
		e.t.Fatalf("Parse(%q): %v, but %v", data, err, wantErr)
	}
	if err != nil {
		return
	}
	if got := listing(b); got != want {
		e.t.Fatalf("Parse(%q) lists\n%q, grub-editenv lists\n%q", data, got, want)
	}
	out, err := b.BytesN(len(data) + 1)
	if err != nil {
		e.t.Fatal(err)
	}
	e.put(out)
	if got, err := e.run("list"); err != nil || got != want {
		e.t.Fatalf("of %q we wrote %q; grub-editenv lists\n%q, %v, want\n%q", data, out, got, err, want)
	}
}

func TestWeReadWhatGrubEditenvReads(t *testing.T) {
	e := newEditenv(t)
	for _, data := range []string{
		"", header, header[:len(header)-1], header + "#", header + "A=1\n", header + "A=1", header + "\n\nA=1\n", header + "=1\n",
		header + "A=\n#", header + "A==\n", header + "A\\=1\n", header + "#\\\nA=1\nB=2\n", header + "#\\\\\nA=1\nB=2\n",
		header + "#\\\\\\\nA=1\nB=2\n", header + "A=\\\\\\\n\nB=2\n", header + " #A=1\n", strings.Repeat("\x00", 1024),
	} {
		e.same([]byte(data))
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		data := header + randomText(rng, 40)
		if rng.IntN(2) == 0 {
			data += strings.Repeat(string("#\x00 "[rng.IntN(3)]), rng.IntN(50))
		}
		e.same([]byte(data))
	}
	for range 200 { // no structure at all behind the header
		data := []byte(header)
		for range rng.IntN(600) {
			data = append(data, byte(rng.IntN(256)))
		}
		e.same(data)
	}
}

func TestTheSameEditsGiveTheSameBlockAsGrubEditenv(t *testing.T) {
	e := newEditenv(t)
	rng := rand.New(rand.NewPCG(5, 6))
	for range 25 {
		if _, err := e.run("create"); err != nil {
			t.Fatal(err)
		}
		created, err := os.ReadFile(e.file)
		if err != nil {
			t.Fatal(err)
		}
		b := parse(t, string(created))
		for range 12 {
			name, value := []string{"A", "BOOT_COUNT", "B", "saved_entry"}[rng.IntN(4)], randomValue(rng)
			args := []string{"set", name + "=" + value}
			if rng.IntN(4) == 0 {
				args = []string{"unset", name}
				b.Unset(name)
			} else if err := b.Set(name, value); err != nil {
				t.Fatal(err)
			}
			if _, err := e.run(args...); err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(e.file)
			got, err := b.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("after %q we have\n%q, grub-editenv\n%q", args, got, want)
			}
		}
	}
}

func TestGrubEditenvChangesWhatWeWroteOverABlockItCouldNotChange(t *testing.T) {
	e := newEditenv(t)
	damaged := []byte(header + "BOOT_COUNT=1\nX=y\nBOOT_COUNT=2\n")
	damaged = append(damaged, make([]byte, Size-len(damaged))...)
	e.put(damaged)
	if out, err := e.run("set", "NEW=1"); err == nil {
		t.Fatalf("grub-editenv can change a block padded with zeros (%q): this test shows nothing", out)
	}
	b := parse(t, string(damaged))
	if err := b.Set("BOOT_COUNT", "3"); err != nil {
		t.Fatal(err)
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	e.put(out)
	if _, err := e.run("set", "BOOT_COUNT=4", "NEW=1"); err != nil {
		t.Fatal(err)
	}
	if got, err := e.run("list"); err != nil || got != "BOOT_COUNT=4\nX=y\nNEW=1\n" {
		t.Errorf("grub-editenv lists %q, %v", got, err)
	}
}
