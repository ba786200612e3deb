package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// The schema is goreleaser's own (make release-schema); make release-check asks
// goreleaser itself, which takes minutes to build.
func TestTheReleaseIsAsGoreleaserReadsIt(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile("goreleaser.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "../.goreleaser.yaml")
	if err := schema.Validate(plain(t, text)); err != nil {
		t.Error(err)
	}
	if wrong := strings.Replace(text, "mod_timestamp:", "mod_time:", 1); wrong == text || schema.Validate(plain(t, wrong)) == nil {
		t.Error("a field that goreleaser doesn't know is accepted")
	}
	sources := found(`src: ([^,}\s]+)`, text)
	made := found(`>(bin/\S+)"`, text) // by a hook
	for _, path := range append(sources, found(`(?m)dockerfile: (\S+)$`, text)...) {
		if files, err := filepath.Glob("../" + path); !slices.Contains(made, path) && (err != nil || len(files) == 0) {
			t.Errorf(".goreleaser.yaml: there is no %s", path)
		}
	}
	if len(sources) < 10 {
		t.Errorf("%d files in archives and packages; they are no longer found", len(sources))
	}
}

// plain is YAML as JSON has it.
func plain(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// A release has the program and the image that the Dockerfile makes from the source.
func TestTheReleasesImageIsThatOfTheDockerfile(t *testing.T) {
	t.Parallel()
	var want []instruction
	stage, base := "", ""
	for _, i := range instructions(t, "Dockerfile") {
		if i.name == "FROM" {
			base, stage, _ = strings.Cut(i.args, " AS ")
		}
		switch {
		case stage == "base" && i.name == "FROM":
			want = append(want, instruction{"FROM", base})
		case (stage == "base" || stage == "worker") && i.name != "FROM":
			want = append(want, i)
		}
	}
	var got []instruction
	for _, i := range instructions(t, "release.Dockerfile") {
		switch i.args {
		case "TARGETPLATFORM": // of the argument, to name the program of a platform
			continue
		case "$TARGETPLATFORM/lethe-worker /worker":
			i.args = "--from=build /out/worker /worker"
		}
		got = append(got, i)
	}
	if !slices.Equal(got, want) {
		t.Errorf("release.Dockerfile:\n%q\nwant\n%q", got, want)
	}
	flags := found(`-ldflags="(.*?) *-X main.version=`, read(t, "Dockerfile"))
	if released := found(`ldflags: \["(.*?) *-X main.version=`, read(t, "../.goreleaser.yaml")); len(released) != 1 || released[0] != flags[0] {
		t.Errorf("a release is linked with %q; want the Dockerfile's %q", released, flags[0])
	}
}

// The chart of a release has all of the chart's files, and the release's version, once as Helm and once as the image has it.
func TestTheReleasesChartIsWhole(t *testing.T) {
	t.Parallel()
	sources := found(`src: ([^,}\s]+)`, read(t, "../.goreleaser.yaml"))
	files := 0
	err := filepath.WalkDir("helm/lethe", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(path) == "helm/lethe/ci" || d.Name() == ".helmignore" || d.Name() == "Chart.yaml" {
			return err
		}
		files++
		if !slices.ContainsFunc(sources, func(s string) bool { ok, _ := filepath.Match(s, "deploy/"+path); return ok }) {
			t.Errorf(".goreleaser.yaml leaves %s out of the chart", path)
		}
		return nil
	})
	if err != nil || files < 12 {
		t.Errorf("%d files of the chart, %v; they are no longer found", files, err)
	}
	dir := copied(t, "deploy/helm/lethe/Chart.yaml")
	hooks := found(`(?m)^    - sh -c "(.*)"$`, strings.ReplaceAll(read(t, "../.goreleaser.yaml"), "{{ .Version }}", "1.2.3"))
	if len(hooks) != 1 {
		t.Fatalf("%d hooks write the chart's version; want one", len(hooks))
	}
	if status, out := called(t, dir, nil, "sh", "-c", "mkdir bin && "+hooks[0]); status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	if made := read(t, dir+"/bin/Chart.yaml"); !strings.Contains(made, "\nversion: 1.2.3\nappVersion: v1.2.3\n") {
		t.Errorf("the release's chart is\n%s", made)
	}
}

// The unit's file of settings names what the worker reads.
func TestTheUnitsSettingsAreTheWorkers(t *testing.T) {
	t.Parallel()
	settings := found("(?m)^`([A-Z_]+)`", read(t, "../docs/settings.md"))
	variables := found(`(?m)^#?([A-Z_]+)=`, read(t, "systemd/worker.env"))
	for _, v := range variables {
		if !slices.Contains(settings, v) {
			t.Errorf("worker.env: nothing reads %s", v)
		}
	}
	unit := read(t, "systemd/lethe-worker.service")
	if len(variables) < 3 || !strings.Contains(unit, "\nEnvironmentFile=/etc/lethe/worker.env\n") || !strings.Contains(unit, "\nExecStart=/usr/bin/lethe-worker run\n") {
		t.Errorf("the unit doesn't call what the package installs, with %v", variables)
	}
}

// copied puts files of the repository into a folder, in their places.
func copied(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(read(t, "../"+file)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// executable makes a script.
func executable(t *testing.T, path, script string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// called runs a command in a folder, and returns its exit status and all that it prints.
func called(t *testing.T, dir string, env []string, name string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin", "HOME=" + dir}, env...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// A release is of a tag that the changelog describes; a snapshot without Docker says by
// its status what it lacks.
func TestAReleaseIsCompleteOrSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	dir := copied(t, "scripts/release")
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	executable(t, dir+"/goreleaser", `echo "goreleaser $*"; for last; do :; done; [ ! -f "$last" ] || cat "$last"`)
	env := []string{"GORELEASER=" + dir + "/goreleaser", "GITHUB_TOKEN=secret", "GITHUB_ACTOR=me", "GIT_CONFIG_GLOBAL=/dev/null"}
	git := func(args ...string) {
		t.Helper()
		if status, out := called(t, dir, nil, "git", append([]string{"-c", "user.name=me", "-c", "user.email=me@example.com"}, args...)...); status != 0 {
			t.Fatalf("git %q: %s", args, out)
		}
	}
	expect := func(status int, words string, args ...string) {
		t.Helper()
		got, out := called(t, dir, env, "scripts/release", args...)
		if got != status || !strings.Contains(out, words) || strings.Contains(out, "secret") {
			t.Errorf("release %q: status %d, %q; want %d with %q", args, got, out, status, words)
		}
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")

	executable(t, dir+"/bin/docker", "exit 1")
	expect(3, "NOT BUILT: the container images", "--snapshot")
	expect(3, "goreleaser release --snapshot --clean --skip=docker\n", "--snapshot")
	executable(t, dir+"/bin/docker", "exit 0")
	expect(0, "goreleaser release --snapshot --clean\n", "--snapshot")

	expect(1, "has no tag")
	git("tag", "v1.2.3")
	if err := os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte("# Changelog\n\n## Unreleased\n\nnext\n\n## v1.2.2\n\nolder\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(1, `no section "## v1.2.3"`)
	if err := os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte("# Changelog\n\n## v1.2.3\n\nnew\n\n## v1.2.2\n\nolder\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(0, "\n\nnew\n\n")
}
