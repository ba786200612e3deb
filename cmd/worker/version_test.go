package main

import (
	"runtime/debug"
	"testing"
)

func TestTheVersionIsTheReleasesOrTheModules(t *testing.T) {
	t.Parallel()
	clean := []debug.BuildSetting{{Key: "vcs.revision", Value: "3c1f"}, {Key: "vcs.modified", Value: "false"}}
	changed := []debug.BuildSetting{{Key: "vcs.revision", Value: "3c1f"}, {Key: "vcs.modified", Value: "true"}}
	for name, c := range map[string]struct {
		release  string
		module   string
		settings []debug.BuildSetting
		version  string
		revision string
	}{
		"a release":                  {"v1.2.3", "v0.0.0-20261130010203-3c1f", clean, "v1.2.3", "3c1f"},
		"go install …@v1.2.3":        {"", "v1.2.3", nil, "v1.2.3", ""},
		"a checkout":                 {"", "v0.0.0-20261130010203-3c1f", clean, "v0.0.0-20261130010203-3c1f", "3c1f"},
		"a changed checkout":         {"", "(devel)", changed, "(devel)", "3c1f+"},
		"a build without any stamps": {"", "", nil, "(devel)", ""},
	} {
		b := buildFrom(c.release, &debug.BuildInfo{Main: debug.Module{Version: c.module}, Settings: c.settings})
		if b.Version != c.version || b.Revision != c.revision {
			t.Errorf("%s: version %q, revision %q; want %q, %q", name, b.Version, b.Revision, c.version, c.revision)
		}
	}
}

func TestTheVersionIsPrintedByTheCommandAndTheFlag(t *testing.T) {
	t.Parallel()
	want := buildOf().String() + "\n"
	for _, args := range [][]string{{"version"}, {"--version"}, {"run", "--version"}} {
		if o := execute(unset, args...).mustSucceed(t); o.stdout != want || o.stderr != "" {
			t.Errorf("worker %q prints %q and %q; want %q", args, o.stdout, o.stderr, want)
		}
	}
}
