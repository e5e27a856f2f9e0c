package screen

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestNumbersAreAsPeopleSayThem(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1.0 kB", 75_300_000: "75.3 MB", 2_340_000_000: "2.34 GB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 files", 1: "1 file", 2: "2 files"} {
		if got := Count(n, "file"); got != want {
			t.Errorf("Count(%d, file) = %q, want %q", n, got, want)
		}
	}
}

func TestWhatIsNoTerminalIsShownNoBar(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var buf bytes.Buffer
	for _, m := range []*Meter{NewMeter(f, "write", 10), NewMeter(&buf, "write", 0), {}} {
		m.Set(1, 20)
		m.Add(3)
		m.Write(make([]byte, 16))
		m.Done()
		if m.Shown() {
			t.Error("a bar is shown where no terminal is")
		}
	}
	if data, err := os.ReadFile(path); err != nil || len(data) > 0 || buf.Len() > 0 {
		t.Errorf("written: %q, %q, %v", data, buf.String(), err)
	}
}

func TestJSONIsWrittenAsItIs(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, map[string]string{"a": "<&>"}); err != nil || b.String() != "{\n  \"a\": \"<&>\"\n}\n" {
		t.Errorf("WriteJSON = %q, %v", b.String(), err)
	}
}
