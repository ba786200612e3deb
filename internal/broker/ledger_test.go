package broker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// ofLedger is a running worker of the database with the ledger.
func ofLedger(t *testing.T, n *localstack.NATS, ledger string) (*worker, *fakeGate) {
	t.Helper()
	gate := newGate()
	b := connect(t, Config{URL: n.URL(), Gate: gate})
	b.seen.every = 100 * time.Millisecond
	b.ForLedger(ledger)
	return start(t, b), gate
}

func TestTwoDatabasesDoNotShareAStreamOfCommands(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	js := admin(t, n)
	operator := connect(t, Config{URL: n.URL()})
	setup(t, operator, SetupOptions{Ledger: "production", TakeOver: true})
	production, _ := ofLedger(t, n, "production")
	staging, gate := ofLedger(t, n, "staging")
	gate.closedFor(t, causeStreams, "stream CONVERSATION_COMMANDS: metadata is lethe_ledger production", "was set up for another database",
		"set --subject-prefix for this installation, or run `worker setup` with this database to take the streams over")
	send(t, js, 100)
	for _, d := range production.take(100) {
		d.Settle(done())
	}

	take := SetupOptions{Ledger: "staging", TakeOver: true, EventsMaxAge: time.Hour}
	report, err := operator.Setup(t.Context(), take)
	want := "it was set up for another database, with the ledger production: set --subject-prefix for this installation, or stop the workers that pull from it"
	if !errors.Is(err, errOthers) || !strings.Contains(err.Error(), want) || actions(report) != "failed" {
		t.Errorf("setup beside the worker: %s, %v; want %q", actions(report), err, want)
	}
	if got := streamOf(t, js, conversation.EventsStream).MaxAge; got != defaultEventsAge {
		t.Errorf("events are kept for %v; want nothing changed", got)
	}
	lines, err := operator.Check(t.Context(), take)
	if err != nil || len(lines) == 0 {
		t.Fatal(err)
	}
	for _, l := range lines {
		if (l.Property == "metadata" && l.Of == conversation.CommandsStream || l.Property == "max_age" && l.Of == conversation.EventsStream) == l.Right {
			t.Errorf("the check says %+v", l)
		}
	}
	send(t, js, 100)
	for _, d := range production.take(100) {
		d.Settle(done())
	}
	if len(staging.in) != 0 {
		t.Fatal("the other database's worker was given a command")
	}

	production.end()
	report = setup(t, operator, take)
	if got := strings.Join(report.Parts[0].Changes, "; "); got != "metadata: lethe_ledger staging, was lethe_ledger production" {
		t.Errorf("setup without a worker: %+v; want the stream taken over, and said so", report)
	}
	gate.opened(t)
	_, gate = ofLedger(t, n, "production")
	gate.closedFor(t, causeStreams, "lethe_ledger staging")
	send(t, js, 100)
	for _, d := range staging.take(100) {
		d.Settle(done())
	}
}

// What older setups have made, and older programs that set up or work on it.
func TestAStreamWithoutALedgerIsAnybodys(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	js := admin(t, n)
	operator := connect(t, Config{URL: n.URL()})
	setup(t, operator, SetupOptions{})
	config := streamOf(t, js, conversation.CommandsStream)
	config.Metadata["team"] = "chat"
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w, gate := ofLedger(t, n, "mine")
	send(t, js, 1)
	w.next().Settle(done())
	if notice := w.b.Notice(); notice != "" {
		t.Errorf("a worker says %q; want nothing", notice)
	}
	for _, c := range []struct{ ledger, want string }{
		{"mine", "metadata: lethe_ledger mine, team chat, was team chat"}, // beside a worker
		{"mine", ""},
		{"", ""}, // an older setup, or one whose role may not read the id
	} {
		if got := strings.Join(setup(t, operator, SetupOptions{Ledger: c.ledger}).Parts[0].Changes, "; "); got != c.want {
			t.Errorf("setup for %q changes %q; want %q", c.ledger, got, c.want)
		}
	}
	if got := streamOf(t, js, conversation.CommandsStream).Metadata; got[ledgerKey] != "mine" || got["team"] != "chat" {
		t.Errorf("metadata = %v", got)
	}
	w.b.inspect(t.Context())
	gate.opened(t)
	w.end()
	older, gate := ofLedger(t, n, "") // whose role may not read the id
	send(t, js, 1)
	older.next().Settle(done())
	gate.opened(t)
}

// `worker run --setup` is nobody's decision to take a stream over. And a worker that was killed has its
// request in the server for a second.
func TestAStreamIsTakenOverOnceNobodyPulls(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	b := connect(t, Config{URL: n.URL()})
	setup(t, b, SetupOptions{Ledger: "old"})
	began := time.Now()
	_, err := b.Setup(t.Context(), SetupOptions{Ledger: "new"})
	if !errors.Is(err, errOthers) || !strings.Contains(err.Error(), "or run `worker setup` with this database to take the streams over") || time.Since(began) > takeOverQuiet {
		t.Errorf("setup that may not take over = %v after %v; want it refused at once", err, time.Since(began))
	}
	killed, err := nats.Connect(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.PublishRequest(b.names.next, killed.NewInbox(), pullRequest(1, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := killed.Flush(); err != nil {
		t.Fatal(err)
	}
	killed.Close()
	if got := actions(setup(t, b, SetupOptions{Ledger: "new", TakeOver: true})); got != "updated unchanged unchanged unchanged" {
		t.Errorf("setup: %s; want the stream taken over", got)
	}
}

// A worker that has asked for nothing for a while, as in an outage of its database, learns that before it asks again.
func TestAWorkerThatHasNotPulledSeesThatItsStreamWasTakenOver(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	js := admin(t, n)
	operator := connect(t, Config{URL: n.URL()})
	setup(t, operator, SetupOptions{Ledger: "old"})
	gate := newGate()
	b := connect(t, Config{URL: n.URL(), Gate: gate})
	b.seen.every = time.Hour
	b.ForLedger("old")
	w := start(t, b)
	send(t, js, 1)
	w.next().Settle(done())
	gate.Close("database", "unavailable")
	setup(t, operator, SetupOptions{Ledger: "new", TakeOver: true})
	send(t, js, 10)
	gate.Open("database")
	gate.closedFor(t, causeStreams, "lethe_ledger new")
	if len(w.in) != 0 {
		t.Error("the old database's worker was given a command")
	}
}
