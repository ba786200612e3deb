package main

import (
	"context"
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

func (c *versionCommand) check() problems { return nil }

func (c *versionCommand) run(_ context.Context, t terminal) error {
	b := buildOf()
	if c.JSON {
		return t.printJSON(b)
	}
	return t.printf("worker %s %s\n", b.Version, b.Go+" "+b.Platform)
}

// buildOf reads what the linker and the go command have left in the binary.
func buildOf() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
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
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}
