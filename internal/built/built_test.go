package built

import (
	"runtime/debug"
	"testing"
)

func TestTheRevisionIsWhatTheBuildKnew(t *testing.T) {
	settings := func(pairs ...string) (all []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return all
	}
	const commit = "935d23746c1a0000000000000000000000000000"
	for want, info := range map[string]*debug.BuildInfo{
		"":                   {Main: debug.Module{Version: "(devel)"}},
		"v1.2.3":             {Main: debug.Module{Version: "v1.2.3"}},
		"935d23746c1a":       {Main: debug.Module{Version: "v0.0.0-2026"}, Settings: settings("vcs.revision", commit, "vcs.modified", "false")},
		"935d23746c1a+dirty": {Settings: settings("vcs.revision", commit, "vcs.modified", "true")},
	} {
		if got := revision(info); got != want {
			t.Errorf("revision(%+v) = %q, want %q", info, got, want)
		}
	}
}
