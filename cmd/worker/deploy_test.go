package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/conversation"
)

// What deploy/ and docker-compose.yml say of the worker, compared with what it knows. That the manifests are valid is
// checked in deploy/kubernetes/check; here they are read as that renders them.

func TestEveryDeploymentCallsTheWorkerAsItIs(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, c := range deployed(t) {
		if _, err := parse(c.args, vars(c.env), &bytes.Buffer{}); err != nil {
			t.Errorf("%s: worker %s: %v", c.where, strings.Join(c.args, " "), err)
			continue
		}
		known := variablesOf(t, c.args)
		for name := range c.env {
			if !slices.Contains(known, name) {
				t.Errorf("%s: worker %s doesn't read %s", c.where, strings.Join(c.args, " "), name)
			}
		}
		seen[c.args[0]]++
	}
	if seen["run"] < 6 || seen["setup"] < 5 || seen["health"] < 1 {
		t.Errorf("found %v; want the image, the compose file and each overlay", seen)
	}
}

// variablesOf returns what the subcommand of args reads; of help alone, what any
// command that is for people does.
func variablesOf(t *testing.T, args []string) []string {
	t.Helper()
	if args[0] == "--help" {
		return append(variablesOf(t, []string{"status"}), variablesOf(t, []string{"dead-letters", "list"})...)
	}
	p, err := newParser(unset, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	trace, err := kong.Trace(p.kong, args)
	if err != nil || trace.Selected() == nil {
		t.Fatalf("worker %v: %v", args, err)
	}
	var all []string
	for _, f := range trace.Selected().Flags {
		all = append(all, f.Envs...)
	}
	if args[0] == "run" {
		all = append(append(all, testLimits), tracingVariables(t)...)
	}
	return all
}

func TestProbesAndScrapesFindWhatTheWorkerServes(t *testing.T) {
	t.Parallel()
	nothing := func() string { return "" }
	ready := routes(prometheus.NewRegistry(), readiness{nothing, nothing, nothing})
	waiting := routes(prometheus.NewRegistry(), readiness{func() string { return "no connection" }, nothing, nothing})
	// A restart doesn't bring a database back: an outage mustn't look like a process that hangs.
	inOutage := map[string]int{"livenessProbe": http.StatusOK, "readinessProbe": http.StatusServiceUnavailable}
	asked := 0
	for _, c := range deployed(t) {
		if c.args[0] != "run" {
			continue
		}
		port := portOf(t, parseRun(t, vars(c.env)).HTTPAddr)
		for _, ask := range c.asks {
			asked++
			if ask.port != port {
				t.Errorf("%s: %s asks port %d; the worker listens on %d", c.where, ask.who, ask.port, port)
			}
			if got := answerTo(t, ready, ask.path); got != http.StatusOK {
				t.Errorf("%s: %s asks for %q, and gets %d from a worker that is ready", c.where, ask.who, ask.path, got)
			}
			if want, probes := inOutage[ask.who]; probes && answerTo(t, waiting, ask.path) != want {
				t.Errorf("%s: %s asks for %q, which an outage answers with %d; want %d", c.where, ask.who, ask.path, answerTo(t, waiting, ask.path), want)
			}
		}
	}
	if asked < 4*4 {
		t.Errorf("found %d that ask a worker; want the probes, the port, the service and the policy of each overlay at least", asked)
	}
}

// Alerts and dashboards ask for the job by name.
func TestTheJobHasOneName(t *testing.T) {
	t.Parallel()
	job := regexp.MustCompile(`(?m)^\s*- job_name: (\S+)$`).FindStringSubmatch(readFile(t, "../../deploy/prometheus/prometheus.yml"))
	if job == nil {
		t.Fatal("prometheus.yml names no job")
	}
	found := 0
	for file, all := range manifests(t) {
		for _, m := range all {
			for _, p := range m.Spec.PodMetricsEndpoints {
				found++
				if r := p.Relabelings; len(r) != 1 || r[0].TargetLabel != "job" || r[0].Replacement != job[1] {
					t.Errorf("%s: the monitor relabels %v; want the job named %s, as in prometheus.yml", file, r, job[1])
				}
			}
		}
	}
	if found == 0 {
		t.Error("found no PodMonitor")
	}
}

// answerTo is the status with which a path is answered.
func answerTo(t *testing.T, served http.Handler, path string) int {
	t.Helper()
	answer := httptest.NewRecorder()
	served.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+strings.TrimPrefix(path, "/"), nil))
	return answer.Code
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestEveryDeploymentRunsAsTheImagesUser(t *testing.T) {
	t.Parallel()
	user := regexp.MustCompile(`(?m)^USER (\d+:\d+)$`).FindStringSubmatch(readFile(t, "../../deploy/Dockerfile"))
	if user == nil || strings.HasPrefix(user[1], "0:") {
		t.Fatalf("the image's user is %v; want one by number, and not root", user)
	}
	for _, c := range deployed(t) {
		want := user[1]
		if strings.HasPrefix(c.where, "rendered/single-openshift.yaml") {
			want = "0:0" // none: the namespace has a range of its own
		}
		if c.user != "" && c.user != want {
			t.Errorf("%s runs as %s; want %s, the image's user", c.where, c.user, want)
		}
	}
	for _, other := range regexp.MustCompile(`(?m)^\s*user: "?([^"\n]*)`).FindAllStringSubmatch(readFile(t, "../../docker-compose.yml"), -1) {
		if other[1] != user[1] {
			t.Errorf("docker-compose.yml: something runs as %s; want %s, as the rest", other[1], user[1])
		}
	}
}

func TestEveryDeploymentWaitsForTheStop(t *testing.T) {
	t.Parallel()
	const most = 10 * time.Second // of the contract; stopLimit is within it
	if stopLimit >= most {
		t.Fatalf("a stop may take %v; want less than %v", stopLimit, most)
	}
	for _, c := range deployed(t) {
		if c.args[0] == "run" && c.timeout != 0 && c.timeout <= most {
			t.Errorf("%s: SIGKILL comes after %v; the worker may take %v", c.where, c.timeout, most)
		}
		if c.args[0] == "run" && c.timeout == 0 && strings.HasPrefix(c.where, "rendered/") {
			t.Errorf("%s: it isn't said how long a stop may take", c.where)
		}
	}
}

func TestWorkersAreScaledByTheirOwnBacklog(t *testing.T) {
	t.Parallel()
	accounts := readFile(t, "../../deploy/nats/permissions.conf")
	found := 0
	for file, all := range manifests(t) {
		shards := map[string]conversation.Shard{} // of each namespace's workers
		for _, m := range all {
			if m.Kind == "ConfigMap" && m.Data["LETHE_SHARD"] != "" {
				shards[m.Metadata.Namespace] = conversation.Shard(m.Data["LETHE_SHARD"])
			}
		}
		for _, m := range all {
			if m.Kind != "ScaledObject" {
				continue
			}
			found++
			tr, stream := m.Spec.Triggers[0].Metadata, shards[m.Metadata.Namespace].CommandsStream()
			if tr.Stream != stream || tr.Consumer != conversation.WorkerConsumer {
				t.Errorf("%s: it looks at %s of %s; the workers share %s of %s", file, tr.Consumer, tr.Stream, conversation.WorkerConsumer, stream)
			}
			if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(tr.Account) + ` \{\n\s*jetstream: enabled`).MatchString(accounts) {
				t.Errorf("%s: it looks into account %q, which deploy/nats doesn't have", file, tr.Account)
			}
			// Postgres has 100 connections unless it is told otherwise, 3 of them for superusers; a rollout has a worker more.
			if n := (m.Spec.MaxReplicaCount + 1) * parseRun(t, vars(minimal)).MaxConns; n > 97 {
				t.Errorf("%s: %d workers and one of a rollout may have %d connections; want at most 97", file, m.Spec.MaxReplicaCount, n)
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d ScaledObjects; want one in each variant but the single one without components", found)
	}
}

// deploy/kubernetes/operator calls any command that is for people.
func TestTheOperatorsPodSetsWhatCommandsRead(t *testing.T) {
	t.Parallel()
	known := variablesOf(t, []string{"--help"})
	set := regexp.MustCompile(`"name": "([A-Z_]+)", "value`).FindAllStringSubmatch(readFile(t, "../../deploy/kubernetes/operator.json"), -1)
	for _, m := range set {
		if !slices.Contains(known, m[1]) {
			t.Errorf("operator.json: nothing reads %s", m[1])
		}
	}
	if len(set) < 3 {
		t.Errorf("operator.json sets %v; want both addresses and the inbox", set)
	}
}

func TestTheManifestsPlanIsTheBundledOne(t *testing.T) {
	t.Parallel()
	if readFile(t, "../../deploy/kubernetes/components/plan/plan.yaml") != readFile(t, "../../internal/plan/plan.yaml") {
		t.Error("deploy/kubernetes/components/plan/plan.yaml begins as a copy of internal/plan/plan.yaml, and no longer is one")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
