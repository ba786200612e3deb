package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/lethe-im/lethe/internal/pages"
)

// runbook is the page that says how commands are called.
const runbook = "runbook.md"

// commandPages are the pages for operators.
var commandPages = []string{
	runbook, "../docs/operations.md", "../docs/restore.md", "../docs/throttling.md", "../docs/security.md", "../README.md", "../docs/local-stack.md", "../docs/start.md",
	"kubernetes/README.md",
}

// producers' commands need no more than the user of an app.
var producers = regexp.MustCompile(`^nats (pub|sub) `)

// asks are commands of NATS's own tool that ask a question, unless they have -f.
var asks = regexp.MustCompile(`^nats (stream|consumer) (edit|rm|rmm|purge) `)

func commandsOf(t *testing.T) []pages.Command {
	t.Helper()
	var all []pages.Command
	for _, page := range commandPages {
		found, err := pages.Commands(page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 100 {
		t.Fatalf("found %d commands on the pages; they are no longer found", len(all))
	}
	return all
}

func TestThePagesCommandsNameServicesThatAreThere(t *testing.T) {
	t.Parallel()
	p := project(t)
	found := 0
	for _, c := range commandsOf(t) {
		for part := range strings.SplitSeq(c.Text, " && ") {
			words := strings.Fields(part)
			if len(words) < 3 || words[0] != "docker" || words[1] != "compose" {
				continue
			}
			found++
			for _, service := range servicesOf(words[2:]) {
				if _, ok := p.Services[service]; !ok {
					t.Errorf("%s: %s: there is no service %s", c.Where, part, service)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d calls of docker compose; want the drills' at least", found)
	}
}

// servicesOf returns the services that the words of a call name.
func servicesOf(words []string) (services []string) {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool {
		return strings.HasPrefix(w, "-") && w != "--profile" && w != "-s" && w != "--scale" && w != "--env-file"
	})
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "--profile", w == "--env-file", w == "-s", w == "--filter":
			i++
		case w == "--scale":
			i++
			name, _, _ := strings.Cut(words[i], "=")
			services = append(services, name)
		case slices.Contains([]string{"run", "exec"}, w):
			return append(services, words[i+1])
		case !slices.Contains([]string{"up", "down", "stop", "start", "kill", "rm", "ps", "logs", "restart"}, w):
			services = append(services, w)
		}
	}
	return services
}

// Nobody but an administrator of NATS has its own tool and the rights for it.
func TestThePagesSayThatNATSOwnToolIsForAnAdministrator(t *testing.T) {
	t.Parallel()
	text, found := map[string]string{}, 0
	for _, c := range commandsOf(t) {
		if !strings.HasPrefix(c.Text, "nats ") || producers.MatchString(c.Text) {
			continue
		}
		found++
		page, _, _ := strings.Cut(c.Where, ":")
		if text[page] == "" {
			text[page] = read(t, page)
		}
		if !strings.Contains(c.Line+before(text[page], c), "administrator") {
			t.Errorf("%s: %s: only an administrator of NATS may do that; want the sentence to say so", c.Where, c.Text)
		}
		if asks.MatchString(c.Text) && !slices.Contains(strings.Fields(c.Text), "-f") {
			t.Errorf("%s: %s: it asks a question; want -f", c.Where, c.Text)
		}
	}
	if found < 10 {
		t.Errorf("found %d calls of nats; they are no longer found", found)
	}
}

// before is what stands close in front of a command in a block.
func before(page string, c pages.Command) string {
	at := strings.Index(page, c.Text)
	if !c.Block || at < 0 {
		return ""
	}
	return page[max(0, at-400):at]
}

// The short names of the runbook are services, with the rights that its table says.
func TestTheRunbookCallsEachCommandWithTheRightsOfItsTable(t *testing.T) {
	t.Parallel()
	p := project(t)
	text := read(t, runbook)
	want := map[string][2]string{"setup": {"lethe_setup", "setup"}, "replay": {"lethe_worker", "operator"}, "erase": {"lethe_worker", "operator"}, "*": {"lethe_operator", "operator"}}
	found := map[string][2]string{}
	for _, m := range regexp.MustCompile(`(?m)^  (\S+)\) docker compose run --rm (\S+) "\$@" ;;$`).FindAllStringSubmatch(text, -1) {
		s, ok := p.Services[m[2]]
		if !ok {
			t.Errorf("%s calls the service %s, which there is not", runbook, m[2])
			continue
		}
		found[m[1]] = [2]string{userOf(s, "DATABASE_URL"), userOf(s, "NATS_URL")}
	}
	for name, w := range want {
		if found[name] != w {
			t.Errorf("worker %s is called as %v; want %v", name, found[name], w)
		}
		for _, who := range w {
			if !strings.Contains(text, "`"+who+"`") {
				t.Errorf("the runbook's table doesn't name %s", who)
			}
		}
	}
	for _, m := range regexp.MustCompile(`docker compose (?:run --rm|exec|ps -q|logs) ([a-z-]+)`).FindAllStringSubmatch(text, -1) {
		if _, ok := p.Services[m[1]]; !ok {
			t.Errorf("%s calls the service %s, which there is not", runbook, m[1])
		}
	}
}

// The script for Kubernetes calls each command with the same rights, by the secret
// that it names.
func TestTheOperatorsScriptNamesTheSecretOfEachCommand(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	kubectl := "#!/bin/sh\nfor word; do case $word in get) echo lethe/worker:1; exit ;; --overrides=*) echo \"${word#--overrides=}\" ;; esac; done\n"
	if err := os.WriteFile(bin+"/kubectl", []byte(kubectl), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	for command, secret := range map[string]string{"replay": "lethe-worker", "erase": "lethe-worker", "dead-letters": "lethe-operator", "pause": "lethe-operator"} {
		script := exec.CommandContext(t.Context(), "sh", "kubernetes/operator", command, "list")
		script.Env = []string{"PATH=" + bin + ":/usr/bin:/bin"}
		out, err := script.Output()
		if err != nil {
			t.Fatalf("operator %s: %v", command, err)
		}
		var pod struct {
			Spec struct {
				Containers []struct {
					Env []struct {
						Name      string
						ValueFrom struct{ SecretKeyRef struct{ Name, Key string } }
					}
				}
			}
		}
		if err := json.Unmarshal(out, &pod); err != nil {
			t.Fatalf("operator %s: %v: %s", command, err, out)
		}
		want := map[string]string{"DATABASE_URL": secret, "NATS_URL": "lethe-operator"}
		for _, e := range pod.Spec.Containers[0].Env {
			if got := e.ValueFrom.SecretKeyRef; got.Name != want[e.Name] || got.Name != "" && got.Key != e.Name {
				t.Errorf("operator %s: %s comes from %s of the secret %q; want that of %q", command, e.Name, got.Key, got.Name, want[e.Name])
			}
		}
	}
}

// userOf is the user in an address of a service.
func userOf(s types.ServiceConfig, variable string) string {
	if s.Environment[variable] == nil {
		return ""
	}
	m := regexp.MustCompile(`^\w+://([^:]+):`).FindStringSubmatch(*s.Environment[variable])
	if m == nil {
		return ""
	}
	return m[1]
}
