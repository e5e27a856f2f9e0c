// Package built says what a program was built from.
package built

import (
	"runtime/debug"
	"strings"
)

// Version is that of all programs of slotboot. Manifests record it: the bytes that mkimage makes of one image may change
// between two versions, never within one.
const Version = "0.1.0"

// Revision returns the version of the source as its version control knows it, twelve digits, with "+dirty" behind it if files
// were changed; or that of the module, if a go install has fetched it. It is "" if the build was not told.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return revision(info)
}

func revision(info *debug.BuildInfo) string {
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	text := set["vcs.revision"]
	if text == "" {
		return strings.TrimSuffix(info.Main.Version, "(devel)")
	}
	text = text[:min(len(text), 12)]
	if set["vcs.modified"] == "true" {
		text += "+dirty"
	}
	return text
}

// Line is what a program prints for --version, without its name: "0.1.0 (935d23746c1a)".
func Line() string {
	if r := Revision(); r != "" {
		return Version + " (" + r + ")"
	}
	return Version
}
