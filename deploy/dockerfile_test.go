package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile's, continued lines joined.
type instruction struct{ name, args string }

func instructions(t *testing.T, file string) []instruction {
	t.Helper()
	var all []instruction
	text := strings.ReplaceAll(read(t, file), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		all = append(all, instruction{name, strings.TrimSpace(args)})
	}
	return all
}

// What only BuildKit reads, an engine without it would refuse.
func TestTheDockerfileNeedsNoBuildKit(t *testing.T) {
	t.Parallel()
	if strings.Contains(strings.ToLower(read(t, "Dockerfile")), "# syntax") {
		t.Error("it asks for a syntax of its own")
	}
	flags := regexp.MustCompile(`^--(\w+)`)
	for _, i := range instructions(t, "Dockerfile") {
		m := flags.FindStringSubmatch(i.args)
		switch {
		case strings.Contains(i.args, "<<"):
			t.Errorf("%s %s: a here-document", i.name, i.args)
		case m != nil && (i.name != "COPY" || m[1] != "from") && i.name != "HEALTHCHECK":
			t.Errorf("%s %s: the flag is BuildKit's", i.name, i.args)
		}
	}
}

func TestTheImagesAreSmallSafeAndReproducible(t *testing.T) {
	t.Parallel()
	stages := map[string][]instruction{}
	last := ""
	for _, i := range instructions(t, "Dockerfile") {
		if i.name == "FROM" {
			last = i.args[strings.LastIndex(i.args, " ")+1:]
		}
		stages[last] = append(stages[last], i)
		if secret := regexp.MustCompile(`(?i)(password|secret|token|creds|database_url)`).FindString(i.args); secret != "" {
			t.Errorf("%s %s: a %s has no place in an image", i.name, i.args, secret)
		}
	}
	if last != "worker" {
		t.Errorf("without a target %s is built; want the worker", last)
	}
	want(t, stages["build"], "ENV", "CGO_ENABLED=0")
	want(t, stages["build"], "RUN", "-trimpath -buildvcs=false")
	want(t, stages["base"], "FROM", "gcr.io/distroless/static")
	want(t, stages["base"], "USER", "65532:65532")
	for _, program := range []string{"worker", "chat"} {
		want(t, stages[program], "FROM", "base AS")
		want(t, stages[program], "HEALTHCHECK", `CMD ["/`+program+`", "health"]`)
		want(t, stages[program], "ENTRYPOINT", `["/`+program+`"]`)
		for _, i := range stages[program] {
			if i.name == "RUN" || i.name == "USER" || i.name == "ADD" {
				t.Errorf("%s: %s %s: the last stage only takes the program", program, i.name, i.args)
			}
		}
	}
}

func want(t *testing.T, stage []instruction, name, part string) {
	t.Helper()
	for _, i := range stage {
		if i.name == name && strings.Contains(i.args, part) {
			return
		}
	}
	t.Errorf("no %s with %s", name, part)
}

// The build's folder is all that it is given; what the programs are made from
// must be in it.
func TestTheBuildSeesTheSources(t *testing.T) {
	t.Parallel()
	ignore := read(t, "../.dockerignore")
	for _, part := range []string{"go.mod", "go.sum", "cmd", "conversation", "examples", "internal"} {
		if !strings.Contains(ignore, "\n!"+part+"\n") {
			t.Errorf(".dockerignore keeps %s out", part)
		}
		if _, err := os.Stat(filepath.Join("..", part)); err != nil {
			t.Error(err)
		}
	}
}
