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
	for version, want := range map[string]bool{
		"1.4.1": true, "2.9.25": true, "2.11.17": true, "2.12.0": false, "2.12.0-RC.1": false, "2.15.2": false, "3.0.0": false, "": false, "dev": false,
	} {
		if got := olderThan(version, 12); got != want {
			t.Errorf("%q is older than 2.12: %t; want %t", version, got, want)
		}
	}
}
