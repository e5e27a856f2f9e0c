package bundle

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestDeviceTakesTheSmallestBundleThatFits(t *testing.T) {
	sum := func(c string) string { return strings.Repeat(c, 64) }
	x := &Index{Format: Format, Choices: []Choice{
		{"full.bundle", 900, "", nil},
		{"from-1.bundle", 100, "", map[string]string{RootfsName: sum("1")}},
		{"from-2.bundle", 50, "", map[string]string{RootfsName: sum("2"), KernelName: sum("a")}},
		{"from-3.bundle", 1000, "", map[string]string{RootfsName: sum("3")}},
	}}
	have := func(rootfs, kernel string) *Manifest {
		return &Manifest{Payloads: []Payload{{Name: KernelName, SHA256: sum(kernel)}, {Name: RootfsName, SHA256: sum(rootfs)}}}
	}
	for _, c := range []struct {
		have *Manifest
		want string
	}{
		{nil, "full.bundle"},
		{have("1", "a"), "from-1.bundle full.bundle"},
		{have("2", "a"), "from-2.bundle full.bundle"},
		{have("2", "b"), "full.bundle"},
		{have("3", "a"), "full.bundle from-3.bundle"},
		{&Manifest{}, "full.bundle"},
	} {
		var got []string
		for _, one := range x.For(c.have) {
			got = append(got, one.File)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("For(%+v) = %v, want %s", c.have, got, c.want)
		}
	}
}

func TestIndexIsReadAsItWasWritten(t *testing.T) {
	x := &Index{Format: Format, Version: "2", Build: "b", Choices: []Choice{{"full.bundle", 900, "full.pieces", nil}, {"a.bundle", 1, "", map[string]string{"initrd": "x"}}}}
	data, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseIndex(data)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(x) {
		t.Errorf("ParseIndex = %v, %v, want %v", again, err, x)
	}
}

func TestHostileIndexIsRefused(t *testing.T) {
	one := func(file string) string {
		return fmt.Sprintf(`{"format":1,"version":"","build":"","choices":[{"file":%q,"size":1}]}`, file)
	}
	for _, text := range []string{
		"", "{}", "[]", `{"format":2,"choices":[]}`, `{"format":1,"choices":[]}`, `{"format":1,"more":1}`,
		one("../../etc/passwd"), one("/etc/passwd"), one("http://evil"), one(""), one(".."), one("a/b"), one(".hidden"), one("a?b"), one("a%2fb"),
		one("a") + "{}", `{"format":1,"choices":[{"file":"a","size":1,"pieces":"../b"}]}`, `{"format":1,"choices":[{"file":"a","size":-1}]}`, strings.Repeat(" ", MaxIndex+1),
	} {
		if x, err := ParseIndex([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseIndex(%.60q) = %v, %v, want ErrInvalid", text, x, err)
		}
	}
}
