package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// call is one call of the worker's program that a file of deploy/ or the compose file makes.
type call struct {
	where   string
	args    []string
	env     map[string]string
	user    string        // "uid:gid"; "" for the image's
	timeout time.Duration // between SIGTERM and SIGKILL; 0 where it isn't said
	asks    []ask
}

// ask is who asks the worker by HTTP.
type ask struct {
	who, path string
	port      int
}

// deployed are the calls of the image, of the compose file and of each variant of the manifests.
func deployed(t *testing.T) []call {
	t.Helper()
	image := ofImage(t)
	all := append(image, ofCompose(t, image[0].args)...)
	for file, objects := range manifests(t) {
		all = append(all, ofManifests(t, file, objects, image[0].args)...)
	}
	return all
}

// secret stands for an address that a Secret holds.
var secret = map[string]string{"DATABASE_URL": "postgres://user:password@postgres/app", "NATS_URL": "nats://user:password@nats:4222"}

// ofImage is what the Dockerfile's last stage calls: first what it runs, then its health check.
func ofImage(t *testing.T) []call {
	t.Helper()
	stage := regexp.MustCompile(`(?s)AS worker\n(.*)`).FindStringSubmatch(readFile(t, "../../deploy/Dockerfile"))
	exposed := regexp.MustCompile(`(?m)^EXPOSE (\d+)$`).FindStringSubmatch(readFile(t, "../../deploy/Dockerfile"))
	if stage == nil || exposed == nil {
		t.Fatal("the Dockerfile has no stage worker or exposes nothing")
	}
	words := func(instruction string) (list []string) {
		m := regexp.MustCompile(`(?m)^` + instruction + ` (\[.*\])$`).FindStringSubmatch(stage[1])
		if m == nil || json.Unmarshal([]byte(m[1]), &list) != nil {
			t.Fatalf("the Dockerfile's stage worker has no %s in JSON", instruction)
		}
		return list
	}
	if entry := words("ENTRYPOINT"); len(entry) != 1 || entry[0] != "/worker" {
		t.Fatalf("the image's entry point is %v; want the program alone", entry)
	}
	port, _ := strconv.Atoi(exposed[1])
	return []call{
		{where: "Dockerfile", args: words("CMD"), env: secret, asks: []ask{{"EXPOSE", "/readyz", port}}},
		{where: "Dockerfile, HEALTHCHECK", args: words(`HEALTHCHECK .* CMD`)[1:]},
	}
}

// ofCompose are the services with the worker's image, under the test's overrides and without any variable set. standard is what the image runs.
// It reads what these services use of the format; that the file is valid is tested in deploy.
func ofCompose(t *testing.T, standard []string) []call {
	t.Helper()
	services := map[string]composeService{}
	for _, file := range []string{"../../docker-compose.yml", "../../deploy/compose-test.yml"} {
		for name, s := range composeServices(t, file) {
			merged := services[name]
			merged.Image = cmp.Or(s.Image, merged.Image)
			merged.User = cmp.Or(s.User, merged.User)
			merged.StopGracePeriod = cmp.Or(s.StopGracePeriod, merged.StopGracePeriod)
			if len(s.Command) > 0 {
				merged.Command = s.Command
			}
			environment := maps.Clone(merged.Environment)
			if environment == nil {
				environment = map[string]string{}
			}
			maps.Copy(environment, s.Environment)
			merged.Environment = environment
			services[name] = merged
		}
	}
	scraped := regexp.MustCompile(`(?m)^\s*port: (\d+)$`).FindStringSubmatch(readFile(t, "../../deploy/prometheus/prometheus.yml"))
	if scraped == nil {
		t.Fatal("prometheus.yml names no port")
	}
	var all []call
	for name, s := range services {
		if !strings.HasPrefix(s.Image, "lethe/worker:") {
			continue
		}
		c := call{where: "docker-compose.yml, " + name, args: s.Command, user: s.User, env: s.Environment, timeout: s.StopGracePeriod}
		if len(c.args) == 0 {
			port, _ := strconv.Atoi(scraped[1])
			c.args, c.asks = standard, []ask{{"Prometheus", "/metrics", port}}
		}
		all = append(all, c)
	}
	if len(all) < 5 {
		t.Fatalf("found %d services with the worker's image; want setup, setup-app, worker, operator and replay", len(all))
	}
	return all
}

// composeService is what these tests read of a service.
type composeService struct {
	Image           string
	Command         []string
	User            string
	Environment     map[string]string
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
}

// composeVariable is a variable with its default, composeMore what one adds if it is set, and composeMerge what a service shares with
// others: nothing of a composeService.
var (
	composeVariable = regexp.MustCompile(`\$\{\w+:-([^}]*)\}`)
	composeMore     = regexp.MustCompile(`\$\{\w+:\+[^}]*\}\}?`)
	composeMerge    = regexp.MustCompile(`(?m)^ *<<: .*\n`)
)

func composeServices(t *testing.T, file string) map[string]composeService {
	t.Helper()
	var project struct{ Services map[string]composeService }
	text := composeMerge.ReplaceAllString(composeVariable.ReplaceAllString(composeMore.ReplaceAllString(readFile(t, file), ""), "$1"), "")
	if strings.Contains(text, "${") {
		t.Fatalf("%s: a variable has no default", file)
	}
	if err := yaml.Unmarshal([]byte(text), &project); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return project.Services
}
