package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// routedNATS is lockedNATS with one of the examples of routes.
func routedNATS(t testing.TB, accounts, routes string) *localstack.NATS {
	t.Helper()
	return localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		lockedOptions(t, o, accounts, func(file, text string) string {
			if file == "routes.conf" {
				return readFile(t, filepath.Join(natsFolder, routes))
			}
			return text
		})
	}})
}

// streamsFor makes a stream of commands for each shard, as setup names it; "" is the one
// without shards.
func streamsFor(t testing.TB, n *localstack.NATS, shards ...string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(observer.connect(t, n))
	must(t, err)
	for _, shard := range shards {
		name, root := "CONVERSATION_COMMANDS", "conversation."
		if shard != "" {
			name, root = name+"_"+strings.ToUpper(shard), "conversation.shard."+shard+"."
		}
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: name, Subjects: []string{root + "delete.*", root + "delete_everyone.*"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Duplicates: 1e8,
		})
		must(t, err)
	}
	return js
}

// storedIn publishes a command and returns the stream that took it, and its subject there.
func storedIn(t testing.TB, js jetstream.JetStream, nc *nats.Conn, subject string) string {
	t.Helper()
	m, err := nc.Request(subject, []byte("{}"), timeout)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	var ack jetstream.PubAck
	must(t, json.Unmarshal(m.Data, &ack))
	if ack.Stream == "" {
		t.Fatalf("%s: %s", subject, m.Data)
	}
	s, err := js.Stream(t.Context(), ack.Stream)
	must(t, err)
	stored, err := s.GetMsg(t.Context(), ack.Sequence)
	must(t, err)
	return strings.TrimPrefix(ack.Stream, "CONVERSATION_COMMANDS") + " " + strings.TrimPrefix(stored.Subject, "conversation.")
}

// Each producer publishes on the subject that it has always published on, and the server
// brings the command to a shard: always the same for an app, whoever publishes.
func TestRoutesOfTheServerBringCommandsToShards(t *testing.T) {
	t.Parallel()
	for _, accounts := range []string{accountEach, oneAccount} {
		t.Run("partition/"+accounts, func(t *testing.T) {
			t.Parallel()
			n := routedNATS(t, accounts, "routes-partition.conf")
			js, all := streamsFor(t, n, "0", "1"), observer.connect(t, n)
			where := map[string]int{}
			for i := range 40 {
				app := fmt.Sprint("app", i)
				at := storedIn(t, js, all, "conversation.delete."+app)
				if at != "_0 shard.0.delete."+app && at != "_1 shard.1.delete."+app {
					t.Errorf("%s is stored in %s", app, at)
				}
				where[at[:2]]++
			}
			if where["_0"] < 10 || where["_1"] < 10 {
				t.Errorf("40 apps are spread as %v; want about half and half", where)
			}
			want := storedIn(t, js, all, "conversation.delete.demo")
			if at := storedIn(t, js, all, "conversation.delete_everyone.demo"); at != strings.Replace(want, ".delete.", ".delete_everyone.", 1) {
				t.Errorf("a command for everyone is stored in %s; want the shard of %s", at, want)
			}
			for _, u := range []lockedUser{gatewayUser, operatorUser} {
				if at := storedIn(t, js, u.connect(t, n), "conversation.delete.demo"); at != want {
					t.Errorf("%s's is stored in %s; want %s, as of everybody", u.name, at, want)
				}
			}
		})
		t.Run("apps/"+accounts, func(t *testing.T) {
			t.Parallel()
			n := routedNATS(t, accounts, "routes-apps.conf")
			js, all := streamsFor(t, n, "", "a", "b"), observer.connect(t, n)
			for _, row := range []struct {
				by             *nats.Conn
				subject, where string
			}{
				{all, "delete.acme", "_B shard.b.delete.acme"},
				{all, "shard.a.delete.acme", "_B shard.b.delete.acme"}, // from a producer that doesn't know of the move
				{all, "shard.a.delete.demo", "_A shard.a.delete.demo"},
				{all, "delete.demo", " delete.demo"},
				{gatewayUser.connect(t, n), "delete.demo", " delete.demo"},
				{gatewayUser.connect(t, n), "shard.a.delete.demo", "_A shard.a.delete.demo"},
				{all, "shard.a.delete_everyone.acme", "_B shard.b.delete_everyone.acme"},
				{everyoneUser.connect(t, n), "delete_everyone.demo", " delete_everyone.demo"},
				{everyoneUser.connect(t, n), "shard.a.delete_everyone.demo", "_A shard.a.delete_everyone.demo"},
				{operatorUser.connect(t, n), "delete_everyone.acme", "_B shard.b.delete_everyone.acme"},
				{operatorUser.connect(t, n), "delete.acme", "_B shard.b.delete.acme"},
				{operatorUser.connect(t, n), "shard.a.delete.acme", "_B shard.b.delete.acme"},
				{operatorUser.connect(t, n), "delete.demo", " delete.demo"},
			} {
				if at := storedIn(t, js, row.by, "conversation."+row.subject); at != row.where {
					t.Errorf("conversation.%s is stored in %q; want %q", row.subject, at, row.where)
				}
			}
		})
	}
}

// Lines that match the same subject: the server takes any, at each start another one.
// docs/sharding.md warns of that; when this fails, the examples may become simpler.
func TestOverlappingRoutesAreTakenAtRandom(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{}
	for range 60 {
		n := localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
			lockedOptions(t, o, oneAccount, func(file, text string) string {
				if file == "routes.conf" {
					return readFile(t, filepath.Join(natsFolder, "routes-partition.conf")) + readFile(t, filepath.Join(natsFolder, "routes-apps.conf"))
				}
				return text
			})
		}})
		nc := observer.connect(t, n)
		sub, err := nc.SubscribeSync("conversation.>")
		must(t, err)
		must(t, nc.Publish("conversation.delete.acme", nil))
		m, err := sub.NextMsg(timeout)
		must(t, err)
		nc.Close()
		must(t, n.Stop())
		if taken[m.Subject] = true; len(taken) == 2 {
			return
		}
	}
	t.Errorf("always %v; want one line or the other", taken)
}

// stateOf is a stream as the server sees it.
func stateOf(t testing.TB, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	must(t, err)
	return s.CachedInfo()
}

// fromFile makes a stream of deploy/nats.
func fromFile(t testing.TB, js jetstream.JetStream, file string) jetstream.StreamConfig {
	t.Helper()
	var c jetstream.StreamConfig
	must(t, json.Unmarshal([]byte(readFile(t, filepath.Join(natsFolder, file))), &c))
	s, err := js.CreateStream(t.Context(), c)
	must(t, err)
	return s.CachedInfo().Config
}

// sourcesOf reads the sources of a shard's stream in deploy/nats.
func sourcesOf(t testing.TB, file string) (sources []*jetstream.StreamSource) {
	t.Helper()
	must(t, json.Unmarshal([]byte(readFile(t, filepath.Join(natsFolder, file))), &sources))
	return sources
}

// editStream changes a stream as `nats stream edit` does.
func editStream(t testing.TB, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := stateOf(t, js, name).Config
	change(&c)
	_, err := js.UpdateStream(t.Context(), c)
	must(t, err)
}

// A front stream stores commands of every app, also while the shards' streams don't source
// it, and each goes to one shard once. A bucket that moves to another shard takes its later
// commands along and repeats none before the given one.
func TestAFrontStreamBringsEachCommandToOneShard(t *testing.T) {
	t.Parallel()
	n := lockedNATS(t, oneAccount)
	js, err := jetstream.New(observer.connect(t, n))
	must(t, err)
	gateway := everyoneUser.connect(t, n)
	fromFile(t, js, "front.json")
	const apps = 60
	for i := range apps {
		_, err := js.Publish(t.Context(), fmt.Sprint("conversation.delete.app", i), []byte("{}"))
		must(t, err)
	}
	at := storedIn(t, js, gateway, "conversation.delete.demo")
	bucket, _, _ := strings.Cut(strings.TrimPrefix(at, "_FRONT bucket."), ".")
	streamsFor(t, n, "a", "b")
	names := map[string]string{"a": "CONVERSATION_COMMANDS_A", "b": "CONVERSATION_COMMANDS_B"}
	for shard, name := range names {
		_, err := js.Publish(t.Context(), "conversation.shard."+shard+".delete.app", []byte("{}"))
		must(t, err)
		s, err := js.Stream(t.Context(), name)
		must(t, err)
		must(t, s.Purge(t.Context())) // as one that has worked
		editStream(t, js, name, func(c *jetstream.StreamConfig) { c.Sources = sourcesOf(t, "sources-"+shard+".json") })
	}
	in := func(shard string) uint64 { return stateOf(t, js, names[shard]).State.Msgs }
	eventually(t, timeout, "all are in a shard", func() bool { return in("a")+in("b") == apps+1 })
	if in("a") < 15 || in("b") < 15 {
		t.Errorf("%d and %d; want about half and half", in("a"), in("b"))
	}
	from, to := "a", "b"
	if !slices.ContainsFunc(sourcesOf(t, "sources-a.json"), func(s *jetstream.StreamSource) bool { return isBucket(s, bucket) }) {
		from, to = to, from
	}
	before, last := in(to), stateOf(t, js, "CONVERSATION_COMMANDS_FRONT").State.LastSeq
	var moved *jetstream.StreamSource
	editStream(t, js, names[from], func(c *jetstream.StreamConfig) {
		c.Sources = slices.DeleteFunc(c.Sources, func(s *jetstream.StreamSource) bool {
			if isBucket(s, bucket) {
				moved = s
			}
			return s == moved
		})
	})
	if at := storedIn(t, js, gateway, "conversation.delete_everyone.demo"); at != "_FRONT bucket."+bucket+".delete_everyone.demo" {
		t.Errorf("a command for everyone is stored in %s; want the bucket of the app's others, %s", at, bucket)
	}
	moved.OptStartSeq = last + 1
	moved.SubjectTransforms[0].Destination = "conversation.shard." + to + ".{{wildcard(1)}}.{{wildcard(2)}}"
	editStream(t, js, names[to], func(c *jetstream.StreamConfig) { c.Sources = append(c.Sources, moved) })
	eventually(t, timeout, "the later command is in the other shard", func() bool { return in(to) == before+1 })
	if in("a")+in("b") != apps+2 {
		t.Errorf("%d commands; want %d", in("a")+in("b"), apps+2)
	}
}

func isBucket(s *jetstream.StreamSource, bucket string) bool {
	return len(s.SubjectTransforms) == 1 && s.SubjectTransforms[0].Source == "conversation.bucket."+bucket+".*.*"
}
