package broker

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// make test-matrix runs this against an older server.
func TestAServerThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	gate := newGate()
	log, text := newLog()
	b := connect(t, Config{URL: n.URL(), Gate: gate, Log: log})
	_, err := b.Setup(t.Context(), SetupOptions{})
	if localtest.NATSHas("2.12.0") {
		if err != nil {
			t.Errorf("Setup = %v; want this server taken", err)
		}
		gate.opened(t)
		return
	}
	_, eventsErr := b.EventsState(t.Context())
	for what, err := range map[string]error{"Setup": err, "EventsState": eventsErr} {
		if err == nil || !strings.Contains(err.Error(), "is too old: Lethe needs 2.12 or newer") {
			t.Errorf("%s = %v; want the server refused", what, err)
		}
	}
	gate.closedFor(t, causeLink, "is too old")
	eventually(t, "it is logged", func() bool { return strings.Contains(text.String(), "nats-server is too old; not pulling commands") })
}

func TestOlderThan(t *testing.T) {
	t.Parallel()
	for version, want := range map[string][2]bool{
		"1.4.1": {true, true}, "2.9.25": {true, true}, "2.11.17": {true, true}, "2.12": {false, true}, "2.12.0": {false, true}, "2.12.0-RC.1": {false, true},
		"2.14.9": {false, true}, "2.14.10": {}, "2.14.10-RC.1": {}, "2.15.0": {}, "2.15.2": {}, "3.0.0": {}, "": {}, "dev": {},
	} {
		if got := [2]bool{olderThan(version, oldestServer), olderThan(version, oldestAppServer)}; got != want {
			t.Errorf("%q is older than %v and %v: %t; want %t", version, oldestServer, oldestAppServer, got, want)
		}
	}
}
