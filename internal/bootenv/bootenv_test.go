package bootenv

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/slots"
)

const header = "# GRUB Environment Block\n"

// seed is a block as the scripts write it from which the policy comes: other variables around its own.
const seed = "saved_entry=evo4k\nBOOT_VERSION=A\nBOOT_VERIFIED=false\nBOOT_COUNT=4\n# of the owner\nBOOT_LIMIT=10\n"

func file(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grubenv")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func pad(text string, size int) string {
	text = header + text
	return text + strings.Repeat("#", size-len(text))
}

func commit(s slots.State) (slots.State, error) { return slots.Commit(s, slots.A) }
func keep(s slots.State) (slots.State, error)   { return s, nil }

func TestASeedBlockWorksUnchangedAndKeepsWhatIsNotOurs(t *testing.T) {
	path := file(t, pad(seed, grubenv.Size))
	before, err := Read(path, 3)
	want := slots.State{Default: slots.A, Count: 4, Limit: 10}
	if err != nil || before.State != want || before.Damage != nil {
		t.Fatalf("Read = %+v, %v, want %+v", before, err, want)
	}
	if _, err := Update(path, 3, commit); err != nil {
		t.Fatal(err)
	}
	ours := "BOOT_VERSION=A\nBOOT_VERIFIED=true\nBOOT_COUNT=0\nBOOT_FELL_BACK=false\nBOOT_BAD=\nBOOT_ONCE=\nBOOT_LIMIT=10\n"
	if got, want := read(t, path), pad(ours+"saved_entry=evo4k\n# of the owner\n", grubenv.Size); got != want {
		t.Errorf("the block is\n%q, want\n%q", got, want)
	}
}

func TestAStateThatDoesNotChangeWritesNothingToASoundBlock(t *testing.T) {
	path := file(t, pad(seed, grubenv.Size))
	if _, err := Update(path, 3, keep); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != pad(seed, grubenv.Size) {
		t.Errorf("the block changed to %q", got)
	}
}

func TestARefusedTransitionWritesNothing(t *testing.T) {
	path := file(t, strings.Repeat("\x00", 1024))
	refusal := &slots.Refused{Reason: "no"}
	if _, err := Update(path, 3, func(s slots.State) (slots.State, error) { return s, refusal }); !errors.Is(err, refusal) {
		t.Errorf("Update = %v, want the refusal", err)
	}
	if got := read(t, path); got != strings.Repeat("\x00", 1024) {
		t.Errorf("the block changed to %q", got)
	}
}

func TestADamagedBlockIsSlotACommittedAndIsRepairedByTheNextWrite(t *testing.T) {
	fresh := "BOOT_VERSION=A\nBOOT_VERIFIED=true\nBOOT_COUNT=0\nBOOT_FELL_BACK=false\nBOOT_BAD=\nBOOT_ONCE=\n"
	for _, tc := range []struct {
		name, data string
		size       int
	}{
		{"zeroed", strings.Repeat("\x00", 1024), 1024},
		{"empty", "", 1024},
		{"header only", header, 1024},
		{"cut at 100 bytes", pad("", 1024)[:100], 1024},
		{"CRLF", strings.ReplaceAll(pad("BOOT_VERSION=B\n", 1024), "\n", "\r\n"), 1026},
		{"512 bytes", pad("", 512), 512},
		{"4096 zeros", strings.Repeat("\x00", 4096), 4096},
		{"zero padding", header + strings.Repeat("\x00", 1000), 1025},
	} {
		path := file(t, tc.data)
		content, err := Read(path, 3)
		if want := (slots.State{Default: slots.A, Verified: true, Limit: 3}); err != nil || content.State != want {
			t.Errorf("%s: Read = %+v, %v, want %+v", tc.name, content.State, err, want)
		}
		if _, err := Update(path, 3, func(s slots.State) (slots.State, error) { s.Once = slots.B; return s, nil }); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if _, err := Update(path, 3, func(s slots.State) (slots.State, error) { return s.WithoutOnce(), nil }); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got, want := read(t, path), pad(fresh, tc.size); got != want {
			t.Errorf("%s: repaired to\n%q, want\n%q", tc.name, got, want)
		}
	}
}

func TestWhatGRUBCouldNotSaveIsRepairedEvenWithoutAChange(t *testing.T) {
	for name, data := range map[string]string{
		"zeroed":             strings.Repeat("\x00", 1024),
		"padded with zeros":  header + "BOOT_VERSION=A\n" + strings.Repeat("\x00", 900),
		"padded by newlines": header + "BOOT_VERSION=A\n" + strings.Repeat("\n", 900),
		"duplicates":         pad("BOOT_COUNT=1\nX=1\nBOOT_COUNT=0\n", 1024),
		"short":              pad("BOOT_VERSION=A\n", 300),
	} {
		path := file(t, data)
		if _, err := Update(path, 3, keep); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := read(t, path)
		if got == data || !strings.HasSuffix(got, "#") || strings.Count(got, "BOOT_COUNT") != 1 || len(got) < 900 {
			t.Errorf("%s: %q stays %q", name, data, got)
		}
		if content, _ := Read(path, 3); !content.sound([]byte(got)) {
			t.Errorf("%s: still not sound: %q", name, got)
		}
	}
}

func TestDuplicatesOfOthersAreTheirBusiness(t *testing.T) {
	data := pad("X=1\nX=2\n", 1024)
	path := file(t, data)
	if _, err := Update(path, 3, keep); err != nil || read(t, path) != data {
		t.Errorf("Update = %v, block %q", err, read(t, path))
	}
}

func TestNoOldRecordSurvivesBehindByte1024(t *testing.T) {
	long := pad(seed+strings.Repeat("# a long comment\n", 70)+"BOOT_COUNT=9\nBOOT_VERSION=B\n", 2048)
	path := file(t, long)
	if _, err := Update(path, 3, commit); err != nil {
		t.Fatal(err)
	}
	got := read(t, path)
	if len(got) != 2048 || strings.Count(got, "BOOT_COUNT") != 1 || strings.Count(got, "BOOT_VERSION") != 1 {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestABlockFullOfOthersVariablesIsTooLongAndUntouched(t *testing.T) {
	data := pad("X="+strings.Repeat("x", 950)+"\n", 1024)
	path := file(t, data)
	if _, err := Update(path, 3, func(s slots.State) (slots.State, error) { return slots.BootOnce(s, slots.B, false) }); !errors.Is(err, grubenv.ErrTooLong) {
		t.Errorf("Update = %v, want ErrTooLong", err)
	}
	if got := read(t, path); got != data {
		t.Errorf("the block changed to %q", got)
	}
}

func TestAMissingFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grubenv")
	if _, err := Read(path, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read = %v, want fs.ErrNotExist", err)
	}
	if _, err := Update(path, 3, commit); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Update = %v, want fs.ErrNotExist", err)
	}
}

func TestEveryStateIsOneSectorAndReadsBack(t *testing.T) {
	others := "saved_entry=" + strings.Repeat("x", 600) + "\n"
	n := 0
	for _, def := range []slots.Slot{slots.A, slots.B} {
		for count := 0; count <= slots.MaxLimit; count++ {
			for mask := range 4 {
				for bad := slots.None; bad <= slots.B; bad++ {
					for once := slots.None; once <= slots.B; once++ {
						s := slots.State{Default: def, Count: count, Verified: mask&1 != 0, FellBack: mask&2 != 0, Bad: bad, Once: once, Limit: 10}
						out, err := Parse([]byte(pad(others+"BOOT_LIMIT=10\n", 1024)), 3).encode(s, 1024)
						if err != nil {
							t.Fatal(err)
						}
						if got := Parse(out, 3).State; got != s {
							t.Fatalf("%+v reads back as %+v", s, got)
						}
						if end := bytes.LastIndex(out, []byte("BOOT_")); end > 512-16 {
							t.Fatalf("%+v: a variable of ours stands at byte %d", s, end)
						}
						n++
					}
				}
			}
		}
	}
	if n != 792 {
		t.Errorf("%d states, want 792", n)
	}
}

func TestVarsListTheWholeBlock(t *testing.T) {
	content := Parse([]byte(pad(seed, 1024)), 3)
	next, _, _ := slots.Boot(content.State)
	var got []string
	for _, v := range content.Vars(next) {
		got = append(got, v.Name+"="+v.Value)
	}
	want := "BOOT_VERSION=A BOOT_VERIFIED=false BOOT_COUNT=5 BOOT_FELL_BACK=false BOOT_BAD= BOOT_ONCE= BOOT_LIMIT=10 saved_entry=evo4k"
	if strings.Join(got, " ") != want {
		t.Errorf("Vars = %s, want %s", got, want)
	}
	if v, _ := content.block.Get(slots.VarCount); v != "4" {
		t.Errorf("Vars changed the content it was asked about: count %s", v)
	}
}

func TestGrubEditenvReadsANewBlock(t *testing.T) {
	tool := need.Tool(t, "grub-editenv", "grub-common")
	out, err := New(slots.Fresh())
	if err != nil {
		t.Fatal(err)
	}
	listed, err := exec.Command(tool, file(t, string(out)), "list").Output()
	want := "BOOT_VERSION=A\nBOOT_VERIFIED=true\nBOOT_COUNT=0\nBOOT_FELL_BACK=false\nBOOT_BAD=B\nBOOT_ONCE=\n"
	if err != nil || string(listed) != want {
		t.Errorf("grub-editenv lists %q, %v, want %q", listed, err, want)
	}
}
