package e2e

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func (r *rig) publishEvents(t testing.TB, n int) {
	t.Helper()
	for range n {
		_, err := r.js.Publish(t.Context(), "conversation.deleted.demo.alice", []byte("{}"))
		must(t, err)
	}
}

func TestAnAppsStreamComesBackWithAllItsEvents(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	r.publishEvents(t, 3)
	parts := func(call string) string { return strings.Join(strings.Fields(call), " ") }
	if got, want := parts(r.setupApp(t, "demo")), "consumer demo created stream CONVERSATION_EVENTS of app demo created"; got != want {
		t.Errorf("setup-app says %q; want %q", got, want)
	}
	app, err := jetstream.New(ownerUser.connect(t, r.nats))
	must(t, err)
	has := func(want uint64) {
		t.Helper()
		eventually(t, timeout, "the app's stream has the events", func() bool {
			s, err := app.Stream(t.Context(), conversation.EventsStream)
			return err == nil && s.CachedInfo().State.Msgs == want // while the server restarts there is no answer
		})
	}
	has(3)
	must(t, app.DeleteStream(t.Context(), conversation.EventsStream))
	r.publishEvents(t, 2)
	if got, want := parts(r.setupApp(t, "demo")), "consumer demo unchanged stream CONVERSATION_EVENTS of app demo created"; got != want {
		t.Errorf("setup-app after the loss of the stream says %q; want %q", got, want)
	}
	has(5)
	if got, want := parts(r.setupApp(t, "demo", "--app-events-max-bytes", "16MiB")), "consumer demo unchanged stream CONVERSATION_EVENTS of app demo updated; max_bytes: 16777216, was 1073741824"; got != want {
		t.Errorf("setup-app with another size says %q; want %q", got, want)
	}
	must(t, r.nats.Stop())
	must(t, r.nats.Start())
	eventually(t, timeout, "the test is connected again", r.nc.IsConnected)
	r.publishEvents(t, 1)
	has(6)
}

// An account without an import is a mistake that would show as silence.
func TestSetupAppSaysWhatAnAccountDoesNotImport(t *testing.T) {
	t.Parallel()
	localtest.NeedsNATS(t, "2.14.10")
	for missing, want := range map[string]string{
		"lethe.events.demo": "reaches its consumer: true; it receives events: false",
		"$JS.API.CONSUMER.RESET.CONVERSATION_EVENTS.demo": "reaches its consumer: false",
	} {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			n := localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
				lockedOptions(t, o, accountEach, func(file, text string) string {
					if file == "app-demo.conf" {
						text = dropLine(t, text, `subject: "`+missing+`"`)
					}
					return text
				})
			}})
			r := newLockedRigOn(t, n)
			call := append(r.setupAppCall("demo"), "setup-app", "--app", "demo")
			refused(t, r.call(t, call...), "setup-app", want, "import lethe.events.demo, $JS.API.CONSUMER.RESET.CONVERSATION_EVENTS.demo as lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.demo, and $JS.FC.CONVERSATION_EVENTS.demo.*")
		})
	}
}

// dropLine removes the line that has part in it.
func dropLine(t testing.TB, text, part string) string {
	t.Helper()
	before, after, found := strings.Cut(text, part)
	if !found {
		t.Fatalf("%q isn't there", part)
	}
	_, rest, _ := strings.Cut(after, "\n")
	return before[:strings.LastIndex(before, "\n")+1] + rest
}
