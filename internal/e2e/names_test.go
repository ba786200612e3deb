package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// The same app, users, conversations and command ids in each: only the prefix differs.
func TestInstallationsOfOneAccountDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	all := []*rig{newRig(t, onServer(n)), newRig(t, onServer(n), withPrefix("acme.chat")), newRig(t, onServer(n), withPrefix("acme-eu"), inShard("a"))}
	c := chat{"demo", "alice", "c2c_bob"}
	for _, r := range all {
		r.fill(t, c, 20)
		r.start(t)
	}
	for i, r := range all {
		r.must(t, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--command-id=one", "--wait")
		r.wantLeft(t, c, nothing)
		for _, other := range all[i+1:] {
			if got := other.left(t, c).Messages; got != 20 {
				t.Errorf("a command for %s has left %d messages of %s; want all 20", r.names.CommandsStream(), got, other.names.CommandsStream())
			}
		}
		letter := r.letter(t, r.publish(t, r.names.CommandSubject("demo"), []byte("malformed")))
		if got, want := letter.header.Get("Lethe-Subject"), r.names.CommandSubject("demo"); got != want || letter.subject != r.names.Subject("conversation.dead_letter.demo") {
			t.Errorf("letter on %s with Lethe-Subject %s; want %s", letter.subject, got, want)
		}
		r.must(t, "dead-letters", "drop", "--all", "--yes")
	}
	for i, r := range all {
		r.settled(t)
		stored, heard, _ := r.seen()
		if len(stored) != 1 || stored[0].command() != "one" || stored[0].header.Get("ce-source") != "lethe/demo" || len(heard) < 1 {
			t.Errorf("installation %d has the events %v, and heard %v; want its own deletion's", i, stored, heard)
		}
		if stored[0].id() != conversation.DeletedID("demo", "one", "c2c_bob") {
			t.Errorf("the prefix changes the event's id: %s", stored[0].id())
		}
		if out := r.must(t, "setup", "--check"); strings.Contains(out, "WRONG") || !strings.Contains(out, r.names.WorkerConsumer()) {
			t.Errorf("setup --check prints\n%s", out)
		}
	}
	other := all[1].prefixed(t, "acme-chat")
	refused(t, other.call(t, "setup"), "setup with a prefix that makes the same names", "ACME_CHAT_CONVERSATION_COMMANDS", "with the prefix acme.chat", "--subject-prefix")
	if res := other.call(t, "setup", "LETHE_SUBJECT_PREFIX=acme.*"); res.code != 2 || !strings.Contains(res.err, "--subject-prefix (LETHE_SUBJECT_PREFIX)") {
		t.Errorf("setup with a wildcard: exit status %d, %s", res.code, res.err)
	}
}

// prefixed is the same rig with another prefix.
func (r *rig) prefixed(t testing.TB, prefix string) *rig {
	t.Helper()
	other := *r
	var err error
	other.names, err = conversation.NewNames(prefix)
	must(t, err)
	other.env = append(append([]string{}, r.env...), "LETHE_SUBJECT_PREFIX="+prefix)
	return &other
}

func TestAPrefixLeavesTheCompanysStream(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	nc, err := n.Connect()
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CHAT", Subjects: []string{"conversation.>"}})
	must(t, err)
	r := newRig(t, onServer(n), withPrefix("acme"))
	res := r.call(t, "setup", "LETHE_SUBJECT_PREFIX=")
	if res.code != 1 || !strings.Contains(res.err, "stream CONVERSATION_COMMANDS: stream CHAT has some of its subjects: remove them there, or set --subject-prefix") {
		t.Errorf("setup without the prefix: exit status %d, %s", res.code, res.err)
	}
	since := r.moment(t)
	w := r.start(t, "--max-attempts=1")
	small, group := chat{"demo", "alice", "c2c_bob"}, chat{"demo", "alice", "group_1"}
	for _, c := range []chat{small, group, {"demo", "bob", "group_1"}} {
		r.fill(t, c, 20)
	}
	mend := r.breakDeletes(t, small)
	res = r.call(t, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--command-id=broken", "--wait")
	if res.code == 0 || !strings.Contains(res.out+res.err, "attempts_exhausted") {
		t.Errorf("a deletion that fails: exit status %d, %s%s", res.code, res.out, res.err)
	}
	r.settled(t)
	mend()
	r.must(t, "dead-letters", "retry", "--all")
	r.awaitStored(t, 1, typed(conversation.TypeDeleted), of("broken"))
	r.wantLeft(t, small, nothing)
	if out := r.must(t, "send", "--app=demo", "--user=alice", "--conversation=group_1", "--everyone", "--wait"); strings.Count(out, "deleted") < 2 {
		t.Errorf("send --everyone --wait prints\n%s", out)
	}
	r.wantLeft(t, group, nothing)
	r.publish(t, "acme.conversation.delete.other", encode(t, small.ask()))
	r.publish(t, "acme.conversation.delete_everyone.demo", encode(t, small.ask()))
	r.settled(t)
	var texts []string
	for _, l := range r.letters(t) {
		texts = append(texts, l.header.Get("Lethe-Error"))
	}
	if got := strings.Join(texts, "\n"); strings.Count(got, "publish on acme.conversation.delete.demo") != 2 {
		t.Errorf("letters say\n%s\nwant the right subject twice", got)
	}
	r.fill(t, small, 5) // as a restore would
	r.exec(t, `update chat.messages set sent_at = sent_at - interval '1 day'; truncate lethe.commands cascade; truncate lethe.deletions`)
	if s, _ := r.replay(t, 0, since); s.Events == 0 || s.Replayed == 0 || s.Malformed > 0 {
		t.Errorf("replay: %+v; want the events read", s)
	}
	if _, metrics := w.get(t, "/metrics"); !strings.Contains(metrics, `lethe_stream_messages{stream="ACME_CONVERSATION_EVENTS"}`) ||
		!strings.Contains(metrics, `lethe_altered_properties{name="acme_deletion-worker"} 0`) {
		t.Error("want the names with the prefix in the metrics")
	}
	s, err := js.Stream(t.Context(), "CHAT")
	must(t, err)
	if info := s.CachedInfo(); info.State.LastSeq != 0 || fmt.Sprint(info.Config.Subjects) != "[conversation.>]" {
		t.Errorf("the company's stream has %+v and %d messages; want it as it was", info.Config.Subjects, info.State.LastSeq)
	}
	r.prefixed(t, "other").launch(t).awaitNotReady(t, "stream OTHER_CONVERSATION_COMMANDS is missing: run `worker setup`")
}

// recipe runs the commands of docs/security.md that begin with the line, in a copy of a
// folder of configuration.
func recipe(t testing.TB, folder, begins, instead string) {
	t.Helper()
	_, rest, found := strings.Cut(readFile(t, "../../docs/security.md"), "```\n"+begins+"\n")
	block, _, ends := strings.Cut(rest, "```\n")
	if !found || !ends {
		t.Fatalf("docs/security.md has no commands that begin with %s", begins)
	}
	sh := exec.CommandContext(t.Context(), "sh", "-eu", "-c", instead+"\n"+block)
	sh.Dir = folder
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%s%s: %v\n%s", instead, block, err, out)
	}
}

// byRecipe changes each file of deploy/nats as a recipe does.
func byRecipe(t testing.TB, begins, instead string) func(file, text string) string {
	t.Helper()
	folder := t.TempDir()
	files, err := filepath.Glob(filepath.Join(natsFolder, "*"))
	must(t, err)
	for _, f := range files {
		must(t, os.WriteFile(filepath.Join(folder, filepath.Base(f)), []byte(readFile(t, f)), 0o600))
	}
	recipe(t, folder, begins, instead)
	return func(file, _ string) string { return readFile(t, filepath.Join(folder, file)) }
}

const (
	prefixRecipe = "p=acme.chat n=2 # the prefix, and how many words it has"
	domainRecipe = "d=hub # the domain"
)

// newAckFormat lets acknowledgements have the form that newer servers offer. Older ones, of which a test may be built, have no such flag.
func newAckFormat(o *server.Options) {
	if flags := reflect.ValueOf(o).Elem().FieldByName("FeatureFlags"); flags.IsValid() {
		flags.Set(reflect.ValueOf(map[string]bool{"js_ack_fc_v2": true}))
	}
}

// lockedPrefix is lockedNATS with the names of an installation with a prefix, and a domain.
func lockedPrefix(t testing.TB, accounts, prefix, domain string) *localstack.NATS {
	t.Helper()
	change := byRecipe(t, prefixRecipe, fmt.Sprintf("p=%s n=%d", prefix, 1+strings.Count(prefix, ".")))
	return localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		lockedOptions(t, o, accounts, change)
		o.JetStreamDomain = domain
		if accounts == oneAccount { // an account for each app exports $JS.FC in the older form
			newAckFormat(o)
		}
	}})
}

func TestPermissionsWithAPrefix(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ accounts, prefix, domain string }{{accountEach, "acme.chat", "hub"}, {oneAccount, "Acme-1", ""}} {
		t.Run(row.accounts, func(t *testing.T) {
			t.Parallel()
			n := lockedPrefix(t, row.accounts, row.prefix, row.domain)
			_, address := ownPostgres(t)
			r := lockedRigOn(t, n, address, withPrefix(row.prefix), inDomain(row.domain))
			if row.accounts == accountEach {
				r.setupApp(t, "demo")
			}
			w := r.start(t)
			of := []conversation.ClientOption{conversation.WithPrefix(row.prefix), conversation.WithDomain(row.domain)}
			client, err := conversation.NewClient(gatewayUser.connect(t, n), of...)
			must(t, err)
			follower, err := conversation.NewClient(presenceUser.connect(t, n), of...)
			must(t, err)
			feed, err := follower.Follow(t.Context(), "demo", "alice")
			must(t, err)
			defer feed.Close()
			c := chat{"demo", "alice", "c2c_bob"}
			r.fill(t, c, 20)
			receipt, err := client.Delete(t.Context(), c.ask())
			must(t, err)
			if e, err := feed.Next(t.Context()); err != nil || e.CommandID() != receipt.CommandID || e.Sequence == 0 {
				t.Errorf("event = %+v, %v; want that of %s, as it is stored", e, err, receipt.CommandID)
			}
			r.wantLeft(t, c, nothing)
			operator := append(r.as(t, operatorUser, "lethe_operator"), "LETHE_NATS_DOMAIN=") // whose account has no JetStream, and so no domain
			r.fill(t, c, 20)
			r.must(t, append(operator, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--wait")...)
			group := chat{"demo", "alice", "group_1"}
			r.fill(t, group, 20)
			r.must(t, append(operator, "send", "--app=demo", "--user=alice", "--conversation=group_1", "--everyone", "--wait")...)
			r.letter(t, r.publish(t, r.names.CommandSubject("demo"), []byte("malformed")))
			r.must(t, append(operator, "dead-letters", "retry", "1")...)
			if out := r.must(t, append(operator, "top", "--once", "--json")...); strings.Contains(out, "notices") {
				t.Errorf("top lacks something: %s", out)
			}
			refused(t, r.call(t, append(operator, "send", "--app=demo", "--user=alice", "--conversation=c", "LETHE_SUBJECT_PREFIX=")...),
				"a command without the prefix", "conversation.delete.demo")
			w.term(t)
			if log := w.log.String(); strings.Contains(log, "not allowed") || strings.Contains(log, "refuses an operation") {
				t.Errorf("the worker lacks a permission:\n%s", log)
			}
		})
	}
}

// hubAndLeaf are a server with JetStream in the domain hub, and a leaf node with one of its
// own, in the account LETHE of one-account.conf.
func hubAndLeaf(t testing.TB) (hub, leaf *localstack.NATS) {
	t.Helper()
	asIs := func(_, text string) string { return text }
	hub = localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		lockedOptions(t, o, oneAccount, asIs)
		o.JetStreamDomain, o.ServerName = "hub", "hub"
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	}})
	varz, err := hub.Server().Varz(nil)
	must(t, err)
	at, err := url.Parse(fmt.Sprintf("nats-leaf://%s:%s@%s", observer.name, observer.password, net.JoinHostPort(varz.LeafNode.Host, fmt.Sprint(varz.LeafNode.Port))))
	must(t, err)
	change := byRecipe(t, domainRecipe, "d=hub")
	leaf = localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		lockedOptions(t, o, oneAccount, change)
		o.JetStreamDomain, o.ServerName = "edge", "edge"
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{at}, LocalAccount: "LETHE"}}
	}})
	nc := observer.connect(t, leaf)
	eventually(t, timeout, "the leaf node has joined the hub", func() bool {
		_, err := nc.Request("$JS.hub.API.INFO", nil, time.Second)
		return err == nil
	})
	return hub, leaf
}

// The worker and all who talk to it are on the leaf's side, the streams in the hub's domain.
func TestAWorkerOnALeafNode(t *testing.T) {
	t.Parallel()
	hub, leaf := hubAndLeaf(t)
	_, address := ownPostgres(t)
	r := lockedRigOn(t, leaf, address, inDomain("hub"))
	w := r.start(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 20)
	client, err := conversation.NewClient(gatewayUser.connect(t, leaf), conversation.WithDomain("hub"))
	must(t, err)
	follower, err := conversation.NewClient(presenceUser.connect(t, leaf), conversation.WithDomain("hub"))
	must(t, err)
	feed, err := follower.Follow(t.Context(), "demo", "alice")
	must(t, err)
	defer feed.Close()
	receipt, err := client.Delete(t.Context(), c.ask())
	must(t, err)
	if e, err := feed.Next(t.Context()); err != nil || e.CommandID() != receipt.CommandID || e.Sequence == 0 {
		t.Errorf("event = %+v, %v; want that of %s, as it is stored", e, err, receipt.CommandID)
	}
	r.wantLeft(t, c, nothing)
	operator := r.as(t, operatorUser, "lethe_operator")
	r.publish(t, r.names.CommandSubject("demo"), []byte("malformed"))
	eventually(t, timeout, "the operator sees the dead letter", func() bool {
		return strings.Contains(r.must(t, append(operator, "dead-letters", "list")...), "invalid_command")
	})
	r.must(t, append(operator, "dead-letters", "drop", "--all", "--yes")...)
	w.term(t)
	if log := w.log.String(); strings.Contains(log, "not allowed") || strings.Contains(log, "refuses an operation") {
		t.Errorf("the worker lacks a permission:\n%s", log)
	}

	// On the hub the permissions are those without a domain, whether a client names it or not.
	onHub := *r
	onHub.nats, onHub.url = hub, hub.URL()
	for _, domain := range []string{"hub", ""} {
		settings := append(workerUser.env(hub), "LETHE_NATS_DOMAIN="+domain)
		w := onHub.start(t, settings...)
		r.fill(t, c, 20)
		r.must(t, append(operator, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--wait")...)
		r.wantLeft(t, c, nothing)
		w.term(t)
	}

	// What is missing is named with the subject as the user's own server has it.
	r.launch(t, gatewayUser.env(leaf)...).awaitNotReady(t, "not allowed to publish on $JS.hub.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker")
	onHub.launch(t, append(gatewayUser.env(hub), "LETHE_NATS_DOMAIN=hub")...).awaitNotReady(t, "not allowed to publish on $JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker")
	refused(t, r.call(t, append(gatewayUser.env(leaf), "dead-letters", "list")...), "a gateway's list of letters", "not allowed to publish on $JS.hub.API.STREAM.INFO.CONVERSATION_DEAD_LETTERS")
	// Without the setting, the leaf node's own JetStream answers, which has no streams.
	r.launch(t, append(observer.env(leaf), "LETHE_NATS_DOMAIN=")...).awaitNotReady(t, "run `worker setup`")
}

// Both sets of workers have one ledger: what one has done, the other repeats.
func TestAnInstallationGetsAPrefixWhileItIsUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	prefixed := newRig(t, onServer(r.nats), onDatabase(r.dbURL), withPrefix("acme"))
	r.start(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 20)
	cmd := c.ask()
	r.onlyDeletedOf(t, cmd, 20)
	before := r.deleted(t, cmd.CommandID, c.id)
	prefixed.start(t)
	prefixed.onlyDeletedOf(t, cmd, 20)
	if again := prefixed.deleted(t, cmd.CommandID, c.id); again.id() != before.id() || string(again.data) != string(before.data) || again.subject != "acme."+before.subject {
		t.Errorf("the same command with the prefix has the event\n%s\nwant as without\n%s", again, before)
	}
	for i, by := range []*rig{prefixed, r} {
		r.fill(t, c, 10+i)
		by.onlyDeletedOf(t, c.ask(), 10+i)
	}
}

// The front stream and the sources of docs/sharding.md, by the same recipe. The boundary's
// time is that of the front stream.
func TestAFrontStreamWithAPrefix(t *testing.T) {
	t.Parallel()
	file := byRecipe(t, prefixRecipe, "p=acme.chat n=2")
	r := newRig(t, withPrefix("acme.chat"), inShard("a"))
	var front jetstream.StreamConfig
	must(t, json.Unmarshal([]byte(file("front.json", "")), &front))
	_, err := r.js.CreateStream(t.Context(), front)
	must(t, err)
	var all []*jetstream.StreamSource
	for _, name := range []string{"sources-a.json", "sources-b.json"} { // every bucket goes to the one shard that there is
		var sources []*jetstream.StreamSource
		must(t, json.Unmarshal([]byte(strings.ReplaceAll(file(name, ""), "shard.b.", "shard.a.")), &sources))
		all = append(all, sources...)
	}
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 20)
	cmd := c.ask()
	ack, err := r.js.Publish(t.Context(), "acme.chat.conversation.delete.demo", encode(t, cmd))
	must(t, err)
	if ack.Stream != "ACME_CHAT_CONVERSATION_COMMANDS_FRONT" {
		t.Errorf("stored in %s; want the front stream", ack.Stream)
	}
	r.sayN(t, c, 2)
	editStream(t, r.js, r.names.CommandsStream(), func(c *jetstream.StreamConfig) { c.Sources = all })
	r.start(t)
	wantFields(t, r.deleted(t, cmd.CommandID, c.id), "messages_deleted", 20)
	if out := r.must(t, "setup", "--check"); strings.Contains(out, "WRONG") {
		t.Errorf("setup --check prints\n%s", out)
	}
}
