package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the release's, set by the build: -ldflags "-X main.version=v1.2.3".
var version string

// versionCommand is `worker version`.
type versionCommand struct {
	jsonConfig
}

// build is what `worker version` prints.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source; with "+" if it had been changed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// String is the build in one line, for people.
func (b build) String() string {
	return fmt.Sprintf("worker %s %s %s", b.Version, b.Go, b.Platform)
}

func (c *versionCommand) check() problems { return nil }

func (c *versionCommand) run(_ context.Context, t terminal) error {
	b := buildOf()
	if c.JSON {
		return t.printJSON(b)
	}
	return t.printf("%s\n", b)
}

// buildOf reads what the linker and the go command have left in the binary.
func buildOf() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildFrom(version, info)
}

// buildFrom prefers the release's version to the module's, which `go install …@v1.2.3`
// and a build in a checkout have.
func buildFrom(release string, info *debug.BuildInfo) build {
	b := build{Version: cmp.Or(release, info.Main.Version, "(devel)"), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	changed := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+"
		}
	}
	if b.Revision != "" {
		b.Revision += changed
	}
	return b
}
