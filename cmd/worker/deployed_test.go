package main

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// call is one call of the worker's program that a file of deploy/ or the compose file makes.
type call struct {
	where    string
	args     []string
	env      map[string]string
	user     string        // "uid:gid"; "" for the image's
	patience time.Duration // between SIGTERM and SIGKILL; 0 where it isn't said
	asks     []ask
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

// ofCompose are the services with the worker's image, as an engine would see them. standard is what the image runs.
func ofCompose(t *testing.T, standard []string) []call {
	t.Helper()
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "../..",
		ConfigFiles: []types.ConfigFile{{Filename: "../../docker-compose.yml"}, {Filename: "../../deploy/compose-test.yml"}},
		Environment: types.Mapping{},
	}, loader.WithProfiles([]string{"*"}), func(o *loader.Options) { o.SetProjectName("lethe", true) })
	if err != nil {
		t.Fatal(err)
	}
	scraped := regexp.MustCompile(`(?m)^\s*port: (\d+)$`).FindStringSubmatch(readFile(t, "../../deploy/prometheus/prometheus.yml"))
	if scraped == nil {
		t.Fatal("prometheus.yml names no port")
	}
	var all []call
	for name, s := range p.Services {
		c := call{where: "docker-compose.yml, " + name, args: s.Command, user: s.User, env: map[string]string{}}
		if !strings.HasPrefix(s.Image, "lethe/worker:") {
			continue
		}
		for v, value := range s.Environment {
			c.env[v] = *value
		}
		if len(c.args) == 0 {
			port, _ := strconv.Atoi(scraped[1])
			c.args, c.asks = standard, []ask{{"Prometheus", "/metrics", port}}
		}
		if s.StopGracePeriod != nil {
			c.patience = time.Duration(*s.StopGracePeriod)
		}
		all = append(all, c)
	}
	return all
}
