package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

func TestSetupMayBeRepeatedAndRaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, withoutSetup())
	var racers sync.WaitGroup
	results := make([]result, 4)
	for i := range results {
		racers.Go(func() { results[i] = r.call(t, "setup", "--sample-schema") })
	}
	racers.Wait()
	for _, res := range results {
		if res.code != 0 {
			t.Errorf("a racing setup: exit status %d: %s", res.code, res.err)
		}
	}
	r.must(t, "setup")
	r.must(t, "setup", "--sample-schema")
	r.record(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 10)
	cmd := c.ask()
	r.send(t, cmd)
	w := r.start(t)
	r.deleted(t, cmd.CommandID, "g")
	r.must(t, "setup", "--sample-schema") // while a worker runs
	next := c.ask()
	r.send(t, next)
	r.deleted(t, next.CommandID, "g")
	w.term(t)
}

func TestTheStreamsAreAsTheContractSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, want := range map[string]struct {
		retention, subjects string
		age                 time.Duration
		perSubject          int64
	}{
		conversation.CommandsStream: {"WorkQueue", "conversation.delete conversation.delete.* conversation.delete_everyone.*", 0, 50_000},
		conversation.EventsStream: {
			"Limits", "conversation.deleted.*.* conversation.delete_failed.*.* conversation.erased.*.* conversation.all_deleted.*.*", 30 * 24 * time.Hour, 100_000,
		},
		conversation.DeadLettersStream: {"Limits", "conversation.dead_letter.*", 0, -1},
	} {
		stream, err := r.js.Stream(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := stream.CachedInfo().Config
		if c.Retention.String() != want.retention || c.Discard.String() != "DiscardNew" || c.Storage.String() != "File" || c.MaxAge != want.age || c.MaxMsgsPerSubject != want.perSubject {
			t.Errorf("%s is %+v; want %+v, a file, discarding new", name, c, want)
		}
		if got := strings.Join(c.Subjects, " "); !sameWords(got, want.subjects) {
			t.Errorf("%s has the subjects %s; want %s", name, got, want.subjects)
		}
	}
	consumer, err := r.js.Consumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer)
	if err != nil {
		t.Fatal(err)
	}
	if c := consumer.CachedInfo().Config; c.Durable != "deletion-worker" || c.DeliverSubject != "" || c.AckPolicy.String() != "AckExplicit" {
		t.Errorf("the consumer is %+v; want a durable pull consumer", c)
	}
}

func TestRunDoesTheSetupAndServesItsState(t *testing.T) {
	t.Parallel()
	chatSchema, err := os.ReadFile("../repo/migrations/chat.sql")
	must(t, err)
	r := newRig(t, withoutSetup(), withSchema(string(chatSchema)))
	w := r.start(t, "--setup", "LOG_FORMAT=json", "LOG_LEVEL=info")
	r.record(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 10)
	cmd := c.ask()
	r.send(t, cmd)
	r.deleted(t, cmd.CommandID, "g")
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if code, text := w.get(t, path); code != http.StatusOK || text == "" {
			t.Errorf("%s: %d %.100q", path, code, text)
		}
	}
	if code, _ := w.get(t, "/"); code != http.StatusNotFound {
		t.Errorf("/: %d; want not found", code)
	}
	w.term(t)
	told := false
	for line := range strings.Lines(w.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == nil || entry["level"] == "DEBUG" {
			t.Errorf("not a line of JSON above debug: %q", line)
		}
		told = told || entry["command"] == cmd.CommandID
	}
	if !told {
		t.Error("the log has no line of the deletion")
	}
	second := r.start(t)
	second.signal(t, syscall.SIGINT)
	second.awaitEnd(t, stopLimit)
	if second.err != nil {
		t.Errorf("after SIGINT: %v; want exit status 0", second.err)
	}
}

// A worker without its infrastructure stays, isn't ready, and says why.
func TestAWorkerWaitsForItsInfrastructure(t *testing.T) {
	t.Parallel()
	r := newRig(t, withoutSetup())
	w := r.launch(t)
	reason := func() string {
		code, text := w.get(t, "/readyz")
		if code == http.StatusOK {
			t.Fatal("ready without a setup")
		}
		return text
	}
	eventually(t, timeout, "it says what is missing", func() bool { return strings.Contains(reason(), "setup") })
	if code, _ := w.get(t, "/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d; want alive while it waits", code)
	}
	r.must(t, "setup", "--sample-schema")
	r.record(t)
	w.awaitReady(t, timeout)
	cmd := chat{"demo", "alice", "g"}.ask()
	r.send(t, cmd)
	r.deleted(t, cmd.CommandID, "g")
	w.term(t)

	alone := r.launch(t, "NATS_URL=nats://127.0.0.1:9", "DATABASE_URL=postgres://127.0.0.1:9/x")
	eventually(t, timeout, "it is alive", func() bool { code, _ := alone.get(t, "/livez"); return code == http.StatusOK })
	alone.term(t)
}

func TestAWrongSettingIsToldOnOneLine(t *testing.T) {
	t.Parallel()
	r := newRig(t, withoutSetup())
	for what, words := range map[string][]string{
		"a flag":             {"run", "--nonsense"},
		"a command":          {"purge"},
		"a word":             {"run", "now"},
		"no database":        {"run", "DATABASE_URL="},
		"a log level":        {"run", "LOG_LEVEL=loud"},
		"a log format":       {"run", "LOG_FORMAT=xml"},
		"an address":         {"run", "HTTP_ADDR=nowhere"},
		"a NATS URL":         {"run", "NATS_URL=http://x"},
		"a number":           {"run", "LETHE_MAX_ATTEMPTS=many"},
		"attempts":           {"run", "--max-attempts=0"},
		"a target":           {"run", "--target=50"},
		"a plan that is not": {"run", "--plan=/nonexistent.yaml"},
	} {
		refused(t, r.call(t, words...), what)
	}
	if res := r.call(t, "run", "DATABASE_URL=postgres://user:s3cret@[bad/x", "NATS_URL=nats://user:s3cret@[bad"); res.code == 0 || strings.Contains(res.err+res.out, "s3cret") {
		t.Errorf("a wrong URL: exit status %d, and perhaps its password: %s", res.code, res.err)
	}
	taken := r.launch(t)
	eventually(t, timeout, "it serves", func() bool { code, _ := taken.get(t, "/livez"); return code == http.StatusOK })
	refused(t, r.call(t, "run", "HTTP_ADDR="+taken.addr, "LOG_LEVEL=error"), "a port that is taken", taken.addr)
}

func TestHelpNamesEverySetting(t *testing.T) {
	t.Parallel()
	r := newRig(t, withoutSetup())
	help := r.must(t, "run", "--help")
	for _, want := range []string{
		"NATS_URL", "DATABASE_URL", "HTTP_ADDR", ":8080", "LOG_LEVEL", "LOG_FORMAT", "LETHE_MAX_ATTEMPTS", "--max-attempts", "LETHE_LEDGER_RETENTION", "--ledger-retention",
		"LETHE_PLAN", "--plan", "LETHE_ALLOW_UNINDEXED", "--setup", "LETHE_SETUP",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("run --help doesn't name %s", want)
		}
	}
	for _, words := range [][]string{{"--help"}, {"setup", "--help"}, {"send", "--help"}, {"status", "--help"}, {"settings", "set", "--help"}, {"dead-letters", "retry", "--help"}} {
		if out := r.must(t, words...); !strings.Contains(out, "Usage") {
			t.Errorf("%v prints %q", words, out)
		}
	}
}

func TestMetricsCountTheWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t, "--express-rows=100")
	small, large := chat{"demo", "alice", "small"}, chat{"demo", "alice", "large"}
	r.fill(t, small, 40)
	r.fill(t, large, 3000)
	for _, c := range []chat{small, large} {
		cmd := c.ask()
		r.send(t, cmd)
		r.deleted(t, cmd.CommandID, c.id)
		r.again(t, cmd)
	}
	r.publish(t, "conversation.delete.demo", []byte("x"))
	r.settled(t)
	for _, m := range []struct {
		name, labels string
		want         float64
	}{
		{"lethe_commands_total", `"done"`, 4},
		{"lethe_commands_total", `"reject"`, 1},
		{"lethe_deletions_total", `"done"`, 2},
		{"lethe_deletions_total", `lane="long"`, 1},
		{"lethe_messages_purged_total", "", 3040},
		{"lethe_dead_letters_total", `reason="invalid_command"`, 1},
		{"lethe_commands_in_flight", "", 0},
		{"lethe_oldest_in_flight_seconds", "", 0},
		{"lethe_not_pulling", "", 0},
		{"lethe_settle_errors_total", "", 0},
	} {
		got := 0.0
		if !poll(time.Second, func() bool { got = metric(t, m.name, m.labels, w); return got == m.want }) {
			t.Errorf("%s{%s} = %v; want %v", m.name, m.labels, got, m.want)
		}
	}
	for _, name := range []string{"lethe_batch_seconds_count", "lethe_batch_rows_sum", "lethe_publish_seconds_count"} {
		if metric(t, name, "", w) == 0 {
			t.Errorf("%s = 0", name)
		}
	}
}
