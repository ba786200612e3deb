// Package deploy_test checks what needs an engine to run, without one: that the
// compose file is valid, hardened, and speaks of variables, users and roles that
// exist. scripts/test-compose runs it for real.
package deploy_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// project is the compose file as an engine would see it without any variable set.
func project(t *testing.T) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: "..", ConfigFiles: []types.ConfigFile{{Filename: "../docker-compose.yml"}}, Environment: types.Mapping{},
	}, loader.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// found are the first groups of all matches.
func found(expression, text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestTheStackHasItsServices(t *testing.T) {
	t.Parallel()
	p := project(t)
	if got, want := strings.Join(p.ServiceNames(), " "), "gateway grafana grants grants-b grants-groups nats operator postgres postgres-b presence prometheus replay setup setup-app setup-b setup-groups worker worker-b worker-groups"; got != want {
		t.Errorf("services: %s; want %s", got, want)
	}
	for _, name := range []string{"prometheus", "grafana"} {
		if got := p.Services[name].Profiles; !slices.Equal(got, []string{"observability"}) {
			t.Errorf("%s has the profiles %v; want observability alone", name, got)
		}
	}
	for _, name := range []string{"operator", "replay"} {
		if got := p.Services[name]; !slices.Equal(got.Profiles, []string{"operator"}) || len(got.DependsOn) > 0 {
			t.Errorf("%s has the profiles %v and begins %v; want operator alone, and nothing, so that it serves in an outage", name, got.Profiles, got.DependsOn)
		}
	}
	for _, name := range []string{"postgres", "setup", "grants", "worker"} {
		if got := p.Services[name+"-b"]; !slices.Equal(got.Profiles, []string{"shards"}) || got.Build != nil || got.Image != p.Services[name].Image {
			t.Errorf("%s-b has the profiles %v and the image %s; want shards alone, and %s's", name, got.Profiles, got.Image, name)
		}
	}
	ports := map[string]string{"gateway": "127.0.0.1:8080", "presence": "127.0.0.1:8081", "prometheus": "127.0.0.1:9090", "grafana": "127.0.0.1:3000"}
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if got := port.HostIP + ":" + port.Published; got != ports[name] {
				t.Errorf("%s is published on %s; want %q, for this machine alone", name, got, ports[name])
			}
		}
		if len(s.Ports) == 0 && ports[name] != "" {
			t.Errorf("%s is not published; want %s", name, ports[name])
		}
	}
	if w := p.Services["worker"]; w.ContainerName != "" || len(w.Ports) > 0 {
		t.Error("worker has a name or a port of its own; want neither, so that it can be scaled")
	}
}

func TestEveryServiceIsHeldShort(t *testing.T) {
	t.Parallel()
	p := project(t)
	dockerfile := read(t, "Dockerfile")
	for name, s := range p.Services {
		once := slices.Contains([]string{"setup", "setup-app", "grants", "operator", "replay", "setup-b", "grants-b", "setup-groups", "grants-groups"}, name)
		switch {
		case !s.ReadOnly:
			t.Errorf("%s: its root is writable", name)
		case !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 && !strings.HasPrefix(name, "postgres"):
			t.Errorf("%s: drops capabilities %v, adds %v", name, s.CapDrop, s.CapAdd)
		case !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged:
			t.Errorf("%s: may gain privileges", name)
		case s.Deploy == nil || s.Deploy.Resources.Limits == nil || s.Deploy.Resources.Limits.MemoryBytes == 0 || s.Deploy.Resources.Limits.Pids == 0:
			t.Errorf("%s: memory or processes have no limit", name)
		case s.Restart != map[bool]string{true: "no", false: "unless-stopped"}[once]:
			t.Errorf("%s: restart is %q", name, s.Restart)
		case len(s.Networks) == 0 || s.NetworkMode != "":
			t.Errorf("%s: is on the default network", name)
		case !once && s.HealthCheck == nil && !strings.HasPrefix(s.Image, "lethe/"):
			t.Errorf("%s: no health check", name)
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if !v.ReadOnly {
				t.Errorf("%s: may write to %s", name, v.Source)
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v; an engine would make a folder of that name", name, err)
			}
		}
	}
	if n := strings.Count(dockerfile, "\nHEALTHCHECK "); n != 2 {
		t.Errorf("the Dockerfile has %d health checks; want one for each program", n)
	}
	for _, v := range []string{"postgres", "nats"} {
		if _, ok := p.Volumes[v]; !ok {
			t.Errorf("no volume %s", v)
		}
	}
	if g := p.Services["worker"].StopGracePeriod; g == nil || g.String() < "12s" {
		t.Errorf("worker has %v to stop; want more than the 10s that it may take", g)
	}
}

func TestImagesHaveOneVersion(t *testing.T) {
	t.Parallel()
	text := read(t, "../docker-compose.yml") + read(t, "Dockerfile") + read(t, "release.Dockerfile") +
		read(t, "kubernetes/overlays/quickstart/nats.yaml") + read(t, "kubernetes/overlays/quickstart/postgres.yaml")
	stages := found(`(?m)^FROM \S+ AS (\S+)`, text)
	seen, digests := map[string]string{}, 0
	for _, ref := range append(found(`(?m)^\s*image: (\S+)`, text), found(`(?m)^FROM (\S+)`, text)...) {
		name, tag, _ := strings.Cut(ref, ":")
		switch {
		case slices.Contains(stages, ref), strings.HasPrefix(ref, "lethe/"):
			continue
		case tag == "" || strings.HasPrefix(tag, "latest"):
			t.Errorf("%s has no version", ref)
		case seen[name] != "" && seen[name] != ref:
			t.Errorf("%s is also %s; want one version", ref, seen[name])
		case seen[name] == "" && regexp.MustCompile(`@sha256:[0-9a-f]{64}$`).MatchString(tag):
			digests++
		}
		seen[name] = ref
	}
	if len(seen) != 6 || digests != 0 && digests != len(seen) {
		t.Errorf("%d images of others, %d of them by digest, %v; want 6, and all of them (make pin-images) or none", len(seen), digests, seen)
	}
}

func TestEveryVariableIsKnownToItsProgram(t *testing.T) {
	t.Parallel()
	settings := append(found("(?m)^`([A-Z_]+)`", read(t, "../docs/settings.md")), "LETHE_TEST_LIMITS") // which a test of cmd/worker compares
	chat := found(`variable:"([A-Z_]+)"`, read(t, "../examples/chat/options.go"))
	if len(settings) < 20 || len(chat) < 10 {
		t.Fatalf("%d settings of the worker, %d of the chat; they are no longer found", len(settings), len(chat))
	}
	p := project(t)
	for name, known := range map[string][]string{"setup": settings, "worker": settings, "setup-b": settings, "worker-b": settings, "setup-groups": settings, "worker-groups": settings, "operator": settings, "replay": settings, "gateway": chat, "presence": chat} {
		for v := range p.Services[name].Environment {
			if !slices.Contains(known, v) {
				t.Errorf("%s: nothing reads %s", name, v)
			}
		}
	}
	var set []string
	for v := range p.Services["nats"].Environment {
		set = append(set, v)
	}
	for _, v := range found(`password: \$(\w+)`, natsAccounts(t)) {
		if !slices.Contains(set, v) {
			t.Errorf("nats: %s is not set, and permissions.conf or app-demo.conf asks for it", v)
		}
	}
	for _, v := range found(`\$(\w+_PASSWORD)`, read(t, "postgres/passwords.sh")) {
		if _, ok := p.Services["postgres"].Environment[v]; !ok {
			t.Errorf("postgres: %s is not set, and passwords.sh asks for it", v)
		}
	}
}

// natsAccounts are the files that nats.conf includes.
func natsAccounts(t *testing.T) string {
	t.Helper()
	return read(t, "nats/permissions.conf") + read(t, "nats/app-demo.conf")
}

// The shared groups are a shard in any case, beside those that are added.
func TestTheGatewayKnowsTheDatabasesOfItsShards(t *testing.T) {
	t.Parallel()
	const groups = "groups=postgres://chat_gateway:local-only-gateway@postgres:5432/groups?sslmode=disable"
	for added, want := range map[string]string{"": groups, "b=postgres://b": groups + ",b=postgres://b"} {
		p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
			WorkingDir: "..", ConfigFiles: []types.ConfigFile{{Filename: "../docker-compose.yml"}}, Environment: types.Mapping{"CHAT_SHARD_DATABASES": added},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := *p.Services["gateway"].Environment["CHAT_SHARD_DATABASES"]; got != want {
			t.Errorf("with %q: %s; want %s", added, got, want)
		}
		for name, of := range map[string]string{"setup-groups": "setup", "grants-groups": "grants", "worker-groups": "worker"} {
			if s := p.Services[name]; s.Build != nil || s.Image != p.Services[of].Image || len(s.Profiles) > 0 {
				t.Errorf("%s has the image %s and the profiles %v; want %s's, in any profile", name, s.Image, s.Profiles, of)
			}
		}
	}
}

func TestEachServiceIsAUserOfItsOwn(t *testing.T) {
	t.Parallel()
	p := project(t)
	users, roles := found(`(?m)^\s*user: "?([\w-]+)`, natsAccounts(t)), read(t, "postgres/roles.sql")
	taken := map[string]string{}
	for _, name := range []string{"setup", "worker", "operator", "gateway", "presence"} {
		env := p.Services[name].Environment
		user := found(`^nats://([^:]+):local-only-`, *env["NATS_URL"])
		if len(user) != 1 || !slices.Contains(users, user[0]) || taken[user[0]] != "" {
			t.Errorf("%s: NATS user %v; want one of %v for itself, with a password that says it is local", name, user, users)
			continue
		}
		taken[user[0]] = name
		inbox := env["LETHE_NATS_INBOX_PREFIX"]
		if inbox == nil {
			inbox = env["NATS_INBOX_PREFIX"]
		}
		if inbox == nil || *inbox != "_INBOX_"+user[0] {
			t.Errorf("%s: inbox prefix %v; want _INBOX_%s", name, inbox, user[0])
		}
		if env["DATABASE_URL"] == nil {
			continue
		}
		role := found(`^postgres://([^:]+):local-only-`, *env["DATABASE_URL"])
		if len(role) != 1 || !strings.Contains(roles, "'"+role[0]+"'") || taken[role[0]] != "" {
			t.Errorf("%s: role %v; want one of roles.sql for itself", name, role)
			continue
		}
		taken[role[0]] = name
	}
	if len(taken) != 9 {
		t.Errorf("%d users and roles, %v; want 5 and 4", len(taken), taken)
	}
}

// A summary is shown from an alert's first second on, and for any number: it says
// neither how long something has lasted nor "1 commands".
func TestSummariesOfAlertsAreTrueForAnyNumberAndFromTheFirstSecond(t *testing.T) {
	t.Parallel()
	summaries := found(`(?m)^\s*summary: '(.*)'$`, read(t, "prometheus/alerts.yml"))
	if len(summaries) < 20 {
		t.Fatalf("found %d summaries", len(summaries))
	}
	counted := regexp.MustCompile(`\{\{ \$value( \| (humanize|printf "[^"]*"))? \}\} [a-z]`)
	lasting := regexp.MustCompile(`(has|have) [a-z ]*(waited|lasted|been) [a-z ]*for |for (an hour|days|hours|minutes)`)
	for _, s := range summaries {
		if counted.MatchString(s) || lasting.MatchString(s) {
			t.Errorf("summary %q counts a noun or says how long", s)
		}
	}
}
