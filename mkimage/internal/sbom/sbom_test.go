package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slotboot/slotboot/internal/need"
)

func tree(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

const dpkgStatus = `Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
Description: add and remove users
 Package: not-one
 .

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 1:12.2.0-14+deb12u1
`

func TestEachPackageManagersDatabaseIsRead(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []Package
	}{
		"dpkg": {map[string]string{"var/lib/dpkg/status": dpkgStatus}, []Package{
			{Kind: "deb", Name: "adduser", Version: "3.134", Arch: "all"}, {Kind: "deb", Name: "libstdc++6", Version: "1:12.2.0-14+deb12u1", Arch: "amd64"}}},
		"distroless": {map[string]string{"var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\nArchitecture: amd64\n", "var/lib/dpkg/status.d/base.md5sums": "0  x: y\n"}, []Package{
			{Kind: "deb", Name: "base-files", Version: "12", Arch: "amd64"}}},
		"apk": {map[string]string{"lib/apk/db/installed": "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:ld-musl.so\n\nP:busybox\nV:1.36-r2\nA:x86_64\nL:GPL-2.0-only\n"}, []Package{
			{Kind: "apk", Name: "busybox", Version: "1.36-r2", Arch: "x86_64", License: "GPL-2.0-only"}, {Kind: "apk", Name: "musl", Version: "1.2.5-r0", Arch: "x86_64", License: "MIT"}}},
		"pacman": {map[string]string{"var/lib/pacman/local/glibc-2.40-1/desc": "%NAME%\nglibc\n\n%VERSION%\n2.40-1\n\n%ARCH%\nx86_64\n\n%LICENSE%\nGPL-2.0-or-later\n"}, []Package{
			{Kind: "alpm", Name: "glibc", Version: "2.40-1", Arch: "x86_64", License: "GPL-2.0-or-later"}}},
		"none": {map[string]string{"etc/motd": ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Packages(tree(test.files))
			if err != nil {
				t.Fatalf("Packages() = %v", err)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("Packages(), -want +got:\n%s", d)
			}
		})
	}
}

func TestOlderRPMDatabasesAreNamedNotIgnored(t *testing.T) {
	got, err := Packages(tree(map[string]string{"var/lib/rpm/Packages.db": "RpmP", "lib/apk/db/installed": "P:musl\nV:1\n"}))
	if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "Packages.db") || len(got) != 1 {
		t.Errorf("Packages(ndb and apk) = %v, %v, want the one of apk and ErrUnreadable", got, err)
	}
}

// rpm itself makes the database: 60 packages, so that the table has more than one level, one of them with a header that
// does not fit a page.
func TestRPMsDatabaseIsReadAsRPMDoes(t *testing.T) {
	rpm, rpmbuild := need.Tool(t, "rpm", "rpm"), need.Tool(t, "rpmbuild", "rpm")
	dir := t.TempDir()
	var spec strings.Builder
	spec.WriteString("Name: base\nVersion: 1.2\nRelease: 3\nEpoch: 4\nSummary: s\nLicense: MIT\nBuildArch: noarch\n%description\n" + strings.Repeat("long ", 3000) + "\n%files\n")
	for i := range 59 {
		fmt.Fprintf(&spec, "%%package n%d\nSummary: s\nLicense: GPL-2.0-only\n%%description n%d\nd\n%%files n%d\n", i, i, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.spec"), []byte(spec.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "root/usr/lib/sysimage/rpm")
	script := `cd "$1" && "$2" -bb --quiet --define "_topdir $1/build" x.spec && "$3" --dbpath "$4" --initdb && "$3" --dbpath "$4" --justdb --nodeps -i build/RPMS/noarch/*.rpm &&
"$3" --dbpath "$4" -qa --qf '%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH} %{LICENSE}\n' | sort >want`
	if out, err := exec.Command("sh", "-ec", script, "sh", dir, rpmbuild, rpm, db).CombinedOutput(); err != nil {
		t.Fatalf("rpm: %v: %s", err, out)
	}
	if _, err := os.Stat(db + "/rpmdb.sqlite"); err != nil {
		need.Absent(t, "rpm keeps another database here: %v", err)
	}
	got, err := Packages(os.DirFS(filepath.Join(dir, "root")))
	if err != nil {
		t.Fatalf("Packages() = %v", err)
	}
	var lines []string
	for _, p := range got {
		lines = append(lines, fmt.Sprintf("%s %s %s %s\n", p.Name, p.Version, p.Arch, p.License))
	}
	want, err := os.ReadFile(filepath.Join(dir, "want"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), strings.Split(strings.TrimSpace(strings.Join(lines, "")), "\n")); d != "" || len(got) != 60 {
		t.Errorf("Packages() of 60, -rpm +ours:\n%s", d)
	}
	if got[0].url(OS{ID: "fedora", Version: "41"}) != "pkg:rpm/fedora/base@1.2-3?arch=noarch&distro=fedora-41&epoch=4" {
		t.Errorf("url = %s", got[0].url(OS{ID: "fedora", Version: "41"}))
	}
	// Damage is an error, or other text; never a crash, never for ever.
	data, err := os.ReadFile(db + "/rpmdb.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(data); i += 97 {
		bad := bytes.Clone(data)
		bad[i] ^= 0xff
		rpmPackages(bad)
		rpmPackages(data[:i])
	}
}

func TestDocumentIsCycloneDXAndTheSameEachTime(t *testing.T) {
	root := tree(map[string]string{"var/lib/dpkg/status": dpkgStatus, "usr/lib/os-release": "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n"})
	packages, err := Packages(root)
	if err != nil {
		t.Fatal(err)
	}
	doc := Document{OS: ReadOS(root), Packages: packages, Created: time.Unix(1_700_000_000, 0), Build: "abc", Tool: "0.1.0"}
	text, err := doc.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var b bom
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.SpecVersion != "1.6" || !strings.HasPrefix(b.SerialNumber, "urn:uuid:") || b.Metadata.Timestamp != "2023-11-14T22:13:20Z" || b.Metadata.Component.Name != "debian" {
		t.Errorf("Encode() = %s, want CycloneDX 1.6 about debian", text)
	}
	var urls []string
	for _, c := range b.Components {
		urls = append(urls, c.PURL)
	}
	want := []string{"pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12", "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"}
	if d := cmp.Diff(want, urls); d != "" {
		t.Errorf("package URLs, -want +got:\n%s", d)
	}
	if again, err := doc.Encode(); err != nil || !bytes.Equal(text, again) {
		t.Errorf("Encode() again gives other bytes, %v", err)
	}
}
