package grubenv

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, data string) *Block {
	t.Helper()
	b, err := Parse([]byte(data))
	if err != nil {
		t.Fatalf("Parse(%.60q): %v", data, err)
	}
	return b
}

func text(t *testing.T, b *Block) string {
	t.Helper()
	out, err := b.Bytes()
	if err != nil {
		t.Fatalf("Bytes: %v", err)
	}
	if len(out) != Size {
		t.Fatalf("Bytes gives %d bytes, want %d", len(out), Size)
	}
	return strings.TrimRight(strings.TrimPrefix(string(out), header), "#")
}

func TestOnlyWhatGRUBLoadsIsABlock(t *testing.T) {
	long := header + strings.Repeat("#", MaxSize)
	for _, tc := range []struct {
		name, data string
		want       error
	}{
		{"nothing", "", ErrTooSmall},
		{"one byte short of a header", header[:len(header)-1], ErrTooSmall},
		{"a header and nothing behind it", header, ErrTooSmall},
		{"a header and one byte", header + "#", nil},
		{"a header and a NUL", header + "\x00", nil},
		{"1024 zeros", strings.Repeat("\x00", Size), ErrNoHeader},
		{"CRLF line ends", strings.ReplaceAll(header, "\n", "\r\n") + "A=1\r\n####", ErrNoHeader},
		{"header in capitals", strings.ToUpper(header) + "####", ErrNoHeader},
		{"a byte order mark", "\xef\xbb\xbf" + header + "####", ErrNoHeader},
		{"1 MiB", long[:MaxSize], nil},
		{"1 MiB and a byte", long[:MaxSize+1], ErrTooLarge},
		{"cut at 512", (header + strings.Repeat("#", Size))[:512], nil},
	} {
		if _, err := Parse([]byte(tc.data)); !errors.Is(err, tc.want) {
			t.Errorf("%s: Parse gives %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestDamagedTextIsReadAsGRUBReadsItAndRepairedOnWrite(t *testing.T) {
	pad := strings.Repeat("#", 40)
	for _, tc := range []struct{ name, data, want string }{
		{"zero padding", "A=1\nB=2\n" + strings.Repeat("\x00", 60), "A=1\nB=2\n"},
		{"space padding", "A=1\n" + strings.Repeat(" ", 60), "A=1\n"},
		{"padding closed by a newline", "A=1\n" + pad + "\n", "A=1\n"},
		{"padding closed by CRLF", "A=1\n" + pad + "\r\n", "A=1\n"},
		{"several lines of padding", "A=1\n" + pad + "\n" + pad + "\n" + pad, "A=1\n"},
		{"newline padding", "A=1\n\n\n\n\n", "A=1\n"},
		{"a value that nothing closes", "A=1\nB=2" + pad, "A=1\n"},
		{"a value closed by an escaped newline", "A=1\nB=2\\\n" + pad, "A=1\n"},
		{"a value cut behind a backslash", "A=1\nB=2\\", "A=1\n"},
		{"a name without a value", "A=1\nnonsense\n" + pad, "A=1\n"},
		{"a comment between", "A=1\n# hello\nB=2\n" + pad, "A=1\n# hello\nB=2\n"},
		{"a comment with an escaped newline", "# hello\\\nA=1\nB=2\n" + pad, "# hello\\\nA=1\nB=2\n"},
		{"a line of # between", "A=1\n##\nB=2\n" + pad, "A=1\n##\nB=2\n"},
		{"a last comment without newline", "A=1\n# hello" + pad, "A=1\n# hello\n"},
		{"a last comment that ends in a backslash", "A=1\n# hello\\", "A=1\n# hello\n"},
		{"a last comment of zeros", "A=1\n#\x00\x00\x00", "A=1\n"},
		{"a carriage return", "A=1\r\nB=2\r\n" + pad, "A=1\r\nB=2\r\n"},
		{"a name across lines", "nonsense\nA=1\n" + pad, "nonsense\nA=1\n"},
		{"a NUL in name and value", "A\x00B=1\x002\n" + pad, "A\x00B=1\x002\n"},
		{"duplicates", "A=1\nB=2\nA=3\n" + pad, "A=1\nB=2\nA=3\n"},
	} {
		b := parse(t, header+tc.data)
		got := text(t, b)
		if got != tc.want {
			t.Errorf("%s: Parse(%q).Bytes gives %q, want %q", tc.name, tc.data, got, tc.want)
		}
		if diff := cmp.Diff(b.Vars(), parse(t, header+got+"#").Vars()); diff != "" {
			t.Errorf("%s: writing changes the variables (-read +written):\n%s", tc.name, diff)
		}
	}
}

func TestTheLastDuplicateCountsAndSetLeavesOne(t *testing.T) {
	b := parse(t, header+"A=1\nX=x\nA=2\n# note\nA=3\n####")
	if v, ok := b.Get("A"); v != "3" || !ok {
		t.Errorf(`Get("A") = %q, %v, want "3"`, v, ok)
	}
	if err := b.Set("A", "4"); err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, b), "A=4\nX=x\n# note\n"; got != want {
		t.Errorf("after Set: %q, want %q", got, want)
	}
	b.Unset("X")
	b.Unset("absent")
	if got, want := text(t, b), "A=4\n# note\n"; got != want {
		t.Errorf("after Unset: %q, want %q", got, want)
	}
	if _, ok := b.Get("X"); ok {
		t.Error("X is still there after Unset")
	}
}

func TestWhatABlockCannotHoldIsRefusedAndChangesNothing(t *testing.T) {
	b := parse(t, header+"A=1\n#")
	for _, tc := range []struct {
		name, value string
		want        error
	}{
		{"", "1", ErrName}, {"#A", "1", ErrName}, {"A=B", "1", ErrName}, {"A\x00", "1", ErrName}, {"A\nB", "1", ErrName},
		{"A", "1\x002", ErrValue},
	} {
		if err := b.Set(tc.name, tc.value); !errors.Is(err, tc.want) {
			t.Errorf("Set(%q, %q) = %v, want %v", tc.name, tc.value, err, tc.want)
		}
	}
	if got := text(t, b); got != "A=1\n" {
		t.Errorf("the refused Set left %q", got)
	}
}

func TestAFullBlockIsExactlyFullAndOneByteMoreIsTooLong(t *testing.T) {
	room := Size - len(header) - len("A=\n")
	b := New()
	b.Set("A", strings.Repeat("v", room))
	out, err := b.Bytes()
	if err != nil || len(out) != Size || out[Size-1] != '\n' {
		t.Fatalf("Bytes of a block that just fits: %d bytes, %v", len(out), err)
	}
	b.Set("A", strings.Repeat("v", room+1))
	if _, err := b.Bytes(); !errors.Is(err, ErrTooLong) {
		t.Errorf("Bytes of a block one byte too long: %v, want ErrTooLong", err)
	}
	if out, err := b.BytesN(2 * Size); err != nil || len(out) != 2*Size {
		t.Errorf("BytesN(2048) = %d bytes, %v", len(out), err)
	}
	for _, n := range []int{-1, 0, MinSize - 1, MaxSize + 1} {
		if _, err := New().BytesN(n); !errors.Is(err, ErrTooLong) {
			t.Errorf("BytesN(%d) = %v, want ErrTooLong", n, err)
		}
	}
}

func TestPromotedVariablesStandInFrontAndTheRestKeepsItsOrder(t *testing.T) {
	b := parse(t, header+"# first\nX=1\nB=2\nA=3\nY=4\nB=5\n# last\n###")
	b.Promote("A", "absent", "B")
	if got, want := text(t, b), "A=3\nB=2\nB=5\n# first\nX=1\nY=4\n# last\n"; got != want {
		t.Errorf("after Promote: %q, want %q", got, want)
	}
}

// TestAnyEditsOfAnyBlockAreReadBackAndLeaveTheOthersAlone edits random blocks and compares with a plain list.
func TestAnyEditsOfAnyBlockAreReadBackAndLeaveTheOthersAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		b := parse(t, header+randomText(rng, 60)+"#")
		names := []string{"A", "B", "longer_name", "é", `back\slash`, " "}
		name := names[rng.IntN(len(names))]
		value := randomValue(rng)
		before := b.Vars()
		unset := rng.IntN(4) == 0
		if unset {
			b.Unset(name)
		} else if err := b.Set(name, value); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(3) == 0 {
			b.Promote(name)
		}
		out, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		back := parse(t, string(out))
		if got, ok := back.Get(name); ok == unset || !unset && got != value {
			t.Fatalf("Set(%q, %q) reads back as %q, %v from %q", name, value, got, ok, out)
		}
		if diff := cmp.Diff(without(before, name), without(back.Vars(), name)); diff != "" {
			t.Fatalf("editing %q changes others (-before +after):\n%s", name, diff)
		}
	}
}

func without(vars []Var, name string) []Var {
	var kept []Var
	for _, v := range vars {
		if v.Name != name {
			kept = append(kept, v)
		}
	}
	return kept
}

func randomText(rng *rand.Rand, n int) string {
	pieces := []string{"A", "B", "=", "=", "\n", "\n", "\\", "#", "\x00", "\r", " ", "A=1\n", "B=2\n", "longer_name=v\n", "# c\n", "A=x\\\ny\n", "####"}
	var s strings.Builder
	for range rng.IntN(n) {
		s.WriteString(pieces[rng.IntN(len(pieces))])
	}
	return s.String()
}

func randomValue(rng *rand.Rand) string {
	pieces := []string{"a", "1", "=", "\n", "\\", "#", "\r", " ", "é", "\xff"}
	var s strings.Builder
	for range rng.IntN(12) {
		s.WriteString(pieces[rng.IntN(len(pieces))])
	}
	return s.String()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header + "BOOT_VERSION=A\nBOOT_COUNT=0\n" + strings.Repeat("#", 200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			if b != nil || !errors.Is(err, ErrTooSmall) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrNoHeader) {
				t.Fatalf("Parse = %v, %v", b, err)
			}
			return
		}
		out, err := b.BytesN(len(data))
		if err != nil {
			// Only a comment that had to be closed can take one byte more than there was.
			if out, err = b.BytesN(len(data) + 1); err != nil {
				t.Fatalf("a block of %d bytes does not fit its own length: %v", len(data), err)
			}
		}
		back, err := Parse(out)
		if err != nil {
			t.Fatalf("Parse of what BytesN wrote: %v", err)
		}
		if diff := cmp.Diff(b.Vars(), back.Vars()); diff != "" {
			t.Fatalf("variables change (-read +written):\n%s", diff)
		}
		if again, err := back.BytesN(len(out)); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("the second write differs from the first: %v", err)
		}
		for _, v := range b.Vars() {
			if _, ok := b.Get(v.Name); !ok {
				t.Fatalf("Get(%q) does not find a variable of Vars", v.Name)
			}
		}
		if err := b.Set("BOOT_COUNT", "7"); err != nil {
			t.Fatal(err)
		}
		if v, ok := b.Get("BOOT_COUNT"); v != "7" || !ok {
			t.Fatalf("Get after Set = %q, %v", v, ok)
		}
	})
}
