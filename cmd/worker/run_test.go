package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

func TestSetupSaysWhatItDidAndIsSafeToRepeat(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	first := s.command("setup", "--sample-schema", "--json").mustSucceed(t).objects(t)
	if len(first) != 6 {
		t.Fatalf("setup printed %d objects, %v; want both schemas, three streams and a consumer", len(first), first)
	}
	for _, part := range first {
		wantField(t, part, "action", "created")
	}
	for _, part := range s.command("setup", "--sample-schema", "--json").mustSucceed(t).objects(t) {
		wantField(t, part, "action", "unchanged")
	}
	o := s.command("setup", "--events-max-age", "24h").mustSucceed(t)
	if !strings.Contains(o.stdout, conversation.EventsStream) || !strings.Contains(o.stdout, "updated; max_age: 24h0m0s, was 720h0m0s") {
		t.Errorf("setup printed %q; want that it has updated the events' max age", o.stdout)
	}
}

func TestSetupTellsOfBothWhenBothAreAway(t *testing.T) {
	t.Parallel()
	env := vars(map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/db", "NATS_URL": "nats://127.0.0.1:1"})
	execute(env, "setup", "--timeout", "1s").mustFail(t, exitError, "Postgres: ", "no connection to NATS at nats://127.0.0.1:1")
}

func TestReadyzSaysWhatAWorkerWaitsForAndItGoesOnByItself(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	if err := s.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	w := s.start(t)
	if status, body := w.get(t, "/livez"); status != http.StatusOK || body != "ok" {
		t.Errorf("/livez = %d %q; want 200 ok", status, body)
	}
	w.wantReady(t, http.StatusServiceUnavailable, "no connection to NATS at "+s.nats.URL())
	w.wantReady(t, http.StatusServiceUnavailable, "run: worker setup")
	if err := s.nats.Start(); err != nil {
		t.Fatal(err)
	}
	s.command("setup", "--sample-schema").mustSucceed(t)
	w.wantReady(t, http.StatusOK, "ready")
	status, body := w.get(t, "/metrics")
	if status != http.StatusOK || !strings.Contains(body, "lethe_commands_in_flight 0") || !strings.Contains(body, `lethe_not_pulling{reason="nats"} 0`) {
		t.Errorf("/metrics = %d; want lethe_commands_in_flight and lethe_not_pulling in:\n%s", status, body)
	}
	if err := s.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, http.StatusServiceUnavailable, "nats: ")
	if err := s.nats.Start(); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, http.StatusOK, "ready")
}

func TestWorkingIsLoggedOnceThereIsNATS(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	if err := s.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	w := s.start(t)
	w.log.await(t, `"msg":"no connection to NATS`)
	w.wantReady(t, http.StatusServiceUnavailable, "nats: no connection to NATS")
	if err := s.nats.Start(); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, http.StatusOK, "ready")
	w.log.await(t, `"msg":"working"`)
	if log := w.log.String(); strings.Index(log, `"msg":"working"`) < strings.Index(log, `"msg":"connected to NATS"`) {
		t.Errorf("it says that it works before it is connected:\n%s", log)
	}
}

func TestAMissingStreamIsSaidAndHealedBySetup(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	nc, err := s.nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), conversation.CommandsStream); err != nil {
		t.Fatal(err)
	}
	w := s.start(t)
	w.wantReady(t, http.StatusServiceUnavailable, "run `worker setup`")
	s.command("setup").mustSucceed(t)
	w.wantReady(t, http.StatusOK, "ready")
}

func TestRunWithSetupNeedsNoSetup(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.exec(t, readFile(t, "../../internal/repo/migrations/chat.sql")) // that is for `worker setup` alone
	w := s.startWorking(t, "--setup")
	w.wantReady(t, http.StatusOK, "ready")
	s.addConversation(t, "c2c_bob", 3)
	s.send("--conversation", "c2c_bob", "--wait").mustSucceed(t)
	if n := s.messages(t, "c2c_bob"); n != 0 {
		t.Errorf("%d messages left; want 0", n)
	}
}

// A migration may hold the tables when a worker starts, or starts anew since they have
// changed.
func TestAWorkerThatFindsATableLockedWaitsForIt(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	conn, err := pgx.Connect(t.Context(), s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `begin; lock table chat.messages`); err != nil {
		t.Fatal(err)
	}
	w := s.start(t)
	w.wantReady(t, http.StatusServiceUnavailable, "lock timeout")
	if _, err := conn.Exec(t.Context(), `commit`); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, http.StatusOK, "ready")
}

func TestAPlanThatDoesNotFitEndsTheWorkerWithALineForEachProblem(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	plan := planFile(t, `
messages: {table: chat.messages, app: app_id, user: owner, conversation: conversation_id, seq: number, sent_at: sent_at}
conversations: {table: chat.conversations, app: app_id, user: user_id, conversation: conversation_id}
`)
	for _, c := range []struct {
		format, first, second string
		code                  int
		args                  []string
	}{
		{"json", `"error":"plan: line 2: messages.user: table `, `"error":"plan: line 2: messages.seq: table `, exitError, []string{"--plan", plan}},
		{"text", `worker: plan: line 2: messages.user: table `, `worker: plan: line 2: messages.seq: table `, exitError, []string{"--plan", plan}},
		{"json", `"error":"--plan (LETHE_PLAN): plan: line 1: messages.user is missing`, `"error":"--plan (LETHE_PLAN): plan: line 1: messages.seq is missing`, exitUsage, []string{"--plan", planFile(t, "messages: {table: m}")}},
		{"json", `"error":"unknown flag --nonsense; see ` + "`worker run --help`", `"level":"ERROR","msg":"failed"`, exitUsage, []string{"--nonsense"}},
	} {
		o := s.command(append([]string{"run", "--log-format", c.format}, c.args...)...).mustFail(t, c.code)
		if n := strings.Count(o.stderr, c.first); n != 1 {
			t.Errorf("%v printed %s\nwant %s once", o.args, o.stderr, c.first)
		}
		if n := strings.Count(o.stderr, c.second); n != 1 {
			t.Errorf("%v printed %s\nwant %s once", o.args, o.stderr, c.second)
		}
		for line := range strings.Lines(o.stderr) {
			if c.format == "json" && !json.Valid([]byte(line)) {
				t.Errorf("%v printed the line %q; want JSON alone", o.args, line)
			}
		}
	}
}

func TestWithoutAPlanAndWithoutTheSampleSchemaItSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, args := range [][]string{
		{"run", "--setup"},
		{"run"},
		{"erase", "--app", "demo", "--conversation", "group_1"},
		{"replay", "--since", "2026-01-01T00:00:00Z"},
		{"plan", "check"},
		{"plan", "try", "--app", "demo", "--user", "alice", "--conversation", "c2c_bob"},
	} {
		o := s.command(args...).mustFail(t, exitError, "no plan is named", "`worker setup --sample-schema`", "`worker plan draft > plan.yaml`", "--plan (LETHE_PLAN)")
		if strings.Contains(o.stderr, "there is no table") {
			t.Errorf("%v printed %s\nwant nothing about tables that nobody has named", args, o.stderr)
		}
	}
	o := s.command("setup").mustSucceed(t) // what run --setup has done
	if n := strings.Count(o.stdout, " unchanged\n"); n != 5 {
		t.Errorf("setup printed %s\nwant all unchanged", o.stdout)
	}
	s.command("run", "--plan", planFile(t, "tenant: demo\nmessages: {table: mine, user: u, conversation: c, seq: n}")).mustFail(t, exitError, "there is no table", "mine")
}

func TestAnAddressInUseIsAClearError(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	env := vars(map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/db", "HTTP_ADDR": addr, "LOG_LEVEL": "error"})
	o := execute(env, "run").mustFail(t, exitError, "worker: http: listen tcp "+addr, "address already in use", "choose another --http-addr")
	if strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("stderr is %q; want one line", o.stderr)
	}
}

func TestLogsAreJSONAndHoldNoBody(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	s.addConversation(t, "c2c_bob", 2)
	if _, err := s.connect(t).Exec(t.Context(), `update chat.messages set body = '{"text": "my secret"}'`); err != nil {
		t.Fatal(err)
	}
	s.send("--conversation", "c2c_bob", "--wait").mustSucceed(t)
	w.log.await(t, `"msg":"deletion finished"`, `"command"`, `"conversation":"c2c_bob"`, `"messages_deleted":2`)
	w.stop(t)
	for line := range strings.Lines(w.log.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil || strings.Contains(line, "my secret") {
			t.Errorf("log line %q (%v); want JSON without a body", line, err)
		}
	}
}

func TestTheWorkerSurvivesAnOutageOfTheDatabase(t *testing.T) {
	t.Parallel()
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	s := newStack(t)
	s.database = server.URL()
	s.command("setup", "--sample-schema").mustSucceed(t)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := s.start(t)
	w.wantReady(t, http.StatusServiceUnavailable, "database: ")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, http.StatusOK, "ready")
	s.addConversation(t, "c2c_bob", 2)
	s.send("--conversation", "c2c_bob", "--wait").mustSucceed(t)
}

// planFile writes a plan and returns its path.
func planFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
