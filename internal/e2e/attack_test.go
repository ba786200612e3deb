package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// The attacks are data: a request, a reply subject, a header or a siege is a line
// in one of these tables, and each is tried with all that it can be joined with.

// request is what an attacker publishes. The server answers it, or another part
// of the system does.
type request struct{ subject, body string }

// requests are all that a user of the app demo may publish, by its permissions or
// once they fall, and what it must never reach.
var requests = []request{
	{"conversation.delete.demo", `{"command_id":"a","app_id":"demo","user_id":"eve","conversations":[{"id":"c"}]}`},
	{"conversation.delete.demo", ""},
	{"conversation.delete.demo", "garbage"},
	{"conversation.delete_everyone.demo", `{"command_id":"e","app_id":"demo","user_id":"eve","scope":"everyone","conversations":[{"id":"group_c"}]}`},
	{"chat.message.demo.alice", "{}"},
	{"lethe.events.demo", "{}"},
	{"$JS.FC.CONVERSATION_EVENTS.demo.x", ""},
	{"lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.demo", ""},
	{"lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.demo", `{"seq":1}`},
	{"$JS.API.INFO", ""},
	{"$JS.API.STREAM.NAMES", ""},
	{"$JS.API.STREAM.LIST", ""},
	{"$JS.API.STREAM.INFO.CONVERSATION_EVENTS", ""},
	{"$JS.API.STREAM.INFO.CONVERSATION_EVENTS", `{"subjects_filter":">"}`},
	{"$JS.API.STREAM.MSG.GET.CONVERSATION_EVENTS", `{"seq":1}`},
	{"$JS.API.DIRECT.GET.CONVERSATION_EVENTS", `{"seq":1}`},
	{"$JS.API.DIRECT.GET.CONVERSATION_EVENTS", `{"seq":99999999}`}, // answered without a body: a valid request to delete
	{"$JS.API.DIRECT.GET.CONVERSATION_EVENTS", `{"batch":100,"seq":1}`},
	{"$JS.API.DIRECT.GET.CONVERSATION_EVENTS.conversation.deleted.demo.nobody", ""},
	{"$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x.conversation.*.demo.*", `{"stream_name":"CONVERSATION_EVENTS","config":{"name":"x","filter_subject":"conversation.*.demo.*","ack_policy":"none","mem_storage":true}}`},
	{"$JS.API.CONSUMER.INFO.CONVERSATION_EVENTS.x", ""},
	{"$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_EVENTS.x", `{"batch":10,"no_wait":true}`},
	{"$JS.API.CONSUMER.DELETE.CONVERSATION_EVENTS.x", ""},
	// The operator's.
	{"$JS.API.STREAM.INFO.CONVERSATION_DEAD_LETTERS", ""},
	{"$JS.API.STREAM.MSG.GET.CONVERSATION_DEAD_LETTERS", `{"seq":99999999}`},
	{"$JS.API.STREAM.MSG.DELETE.CONVERSATION_DEAD_LETTERS", `{"seq":99999999}`},
	{"$JS.API.DIRECT.GET.CONVERSATION_DEAD_LETTERS", `{"seq":99999999}`},
	{"$JS.API.DIRECT.GET.CONVERSATION_DEAD_LETTERS", `{"batch":100,"seq":1}`},
	// What belongs to others.
	{"conversation.delete", `{"command_id":"b","app_id":"other","user_id":"bob","conversations":[{"id":"c"}]}`},
	{"conversation.delete.other", `{"command_id":"b","app_id":"other","user_id":"bob","conversations":[{"id":"c"}]}`},
	{"conversation.delete_everyone.other", `{"command_id":"b","app_id":"other","user_id":"bob","scope":"everyone","conversations":[{"id":"group_c"}]}`},
	{"conversation.deleted.other.bob", "{}"},
	{"conversation.delete_failed.other.bob", "{}"},
	{"conversation.dead_letter.other", "{}"},
	{"chat.message.other.bob", "{}"},
	{"lethe.events.other", "{}"},
	{"lethe.operator.delete.other", "{}"},
	{"lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.other", ""},
	{"$JS.API.CONSUMER.RESET.CONVERSATION_EVENTS.other", ""},
	{"$JS.FC.CONVERSATION_EVENTS.other.x", ""},
	{"$JS.ACK.CONVERSATION_COMMANDS.deletion-worker.1.1.1.1.0", "+TERM"},
	{"$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker", ""},
	{"$JS.API.STREAM.INFO.CONVERSATION_COMMANDS", ""},
	{"$JS.API.CONSUMER.INFO.CONVERSATION_COMMANDS.deletion-worker", ""},
	{"$JS.API.STREAM.DELETE.CONVERSATION_COMMANDS", ""},
	{"$JS.API.STREAM.PURGE.CONVERSATION_COMMANDS", ""},
	{"$JS.API.STREAM.DELETE.CONVERSATION_DEAD_LETTERS", ""},
	{"$SYS.REQ.SERVER.PING", ""},
	{"$SYS.REQ.ACCOUNT.LETHE.CONNZ", ""},
	{"$SYS.REQ.ACCOUNT.LETHE.CLAIMS.UPDATE", "{}"},
}

// replies are subjects where an answer would hurt somebody else. The last one
// deletes the app's own stream too, and with it what could be answered.
var replies = []string{
	"", "_INBOX.x", "_INBOX_worker.x", "_INBOX_operator.x", "_INBOX_presence-other.x", "_R_.x", "$JSC.R.x", "$NRG.V.x", "$GR.x",
	"conversation.delete", "conversation.delete.other", "lethe.operator.delete.other", "conversation.shard.x.delete.other",
	"conversation.delete_everyone.other",
	"conversation.deleted.other.bob", "conversation.delete_failed.other.bob", "conversation.deleting.other.bob",
	"conversation.dead_letter.other", "conversation.dead_letter._", "chat.message.other.bob",
	"lethe.events.other", "lethe.events.demo", "$JS.FC.CONVERSATION_EVENTS.other.x", "$JS.FC.CONVERSATION_EVENTS.demo.x",
	"$JS.ACK.CONVERSATION_COMMANDS.deletion-worker.1.1.1.1.0", "$JS.EVENT.x",
	"$JS.API.CONSUMER.DELETE.CONVERSATION_COMMANDS.deletion-worker", "$JS.API.CONSUMER.PAUSE.CONVERSATION_COMMANDS.deletion-worker",
	"$JS.API.CONSUMER.CREATE.CONVERSATION_COMMANDS", "$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker",
	"$JS.API.CONSUMER.DELETE.CONVERSATION_EVENTS.other", "$JS.API.CONSUMER.RESET.CONVERSATION_EVENTS.other", "lethe.api.CONSUMER.RESET.CONVERSATION_EVENTS.other",
	"$JS.API.STREAM.DELETE.CONVERSATION_COMMANDS", "$JS.API.STREAM.PURGE.CONVERSATION_COMMANDS", "$JS.API.STREAM.UPDATE.CONVERSATION_COMMANDS",
	"$JS.API.STREAM.DELETE.CONVERSATION_DEAD_LETTERS", "$JS.API.STREAM.PURGE.CONVERSATION_DEAD_LETTERS", "$JS.API.STREAM.UPDATE.CONVERSATION_DEAD_LETTERS",
	"$JS.API.STREAM.MSG.DELETE.CONVERSATION_EVENTS", "$JS.API.STREAM.SNAPSHOT.CONVERSATION_EVENTS", "$JS.API.STREAM.RESTORE.CONVERSATION_EVENTS",
	"$JS.API.STREAM.LEADER.STEPDOWN.CONVERSATION_EVENTS", "$JS.API.STREAM.UPDATE.CONVERSATION_EVENTS",
	"$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.LETHE.CLAIMS.UPDATE", "$SYS.ACCOUNT.LETHE.DISCONNECT",
	"$JS.API.STREAM.PURGE.CONVERSATION_EVENTS", "$JS.API.STREAM.DELETE.CONVERSATION_EVENTS",
}

// powers are headers that the server or the workers act on. Each is sent with
// every request.
var powers = []map[string]string{
	{"Nats-Rollup": "all"},
	{"Nats-Rollup": "sub"},
	{"Nats-TTL": "1s"},
	{"Nats-TTL": "never"},
	{"Nats-Marker-Reason": "Purge"},
	{"Nats-Incr": "+1"},
	{"Nats-Msg-Id": "other.victim"}, // what an older producer of the app other sets
	{"Nats-Expected-Stream": "CONVERSATION_EVENTS"},
	{"Nats-Expected-Last-Msg-Id": "x"},
	{"Nats-Expected-Last-Sequence": "0"},
	{"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Expected-Last-Subject-Sequence-Subject": "conversation.delete.other"},
	{"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "conversation.delete.other"},
	{"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "conversation.delete.other", "Nats-Schedule-Source": "conversation.delete.other"},
	{"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"},
	{"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"},
	{"Nats-Required-Api-Level": "99"},
	{"Nats-Stream-Source": "CONVERSATION_COMMANDS 1 > > conversation.delete.other"},
	{"Nats-Trace-Dest": "conversation.delete.other"},
	{"Nats-Trace-Dest": "conversation.delete.other", "Nats-Trace-Only": "true"},
	{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Nats-Trace-Dest": "_INBOX_worker.x"},
	{"Nats-Request-Info": `{"acc":"LETHE","svc":"LETHE","user":"setup"}`}, // how the server tells itself who asks
	{"Nats-Request-Info": `{"acc":"other","svc":"other"}`},
	{"Lethe-Retry": "1", "Lethe-Stored-At": "2020-01-01T00:00:00Z"},
	{"Lethe-Stored-At": "2999-01-01T00:00:00Z"},
	{"Lethe-Subject": "conversation.delete.other", "Lethe-Reason": "x", "ce-type": "conversation.deleted", "ce-source": "lethe/other"},
}

// attackers are the users of deploy/nats that aren't LETHE's own, and one of the
// app demo whom no permission holds, such as whoever signs the app's users. Each
// may cause something in the account LETHE on these subjects, and on no others.
var attackers = []struct {
	lockedUser
	reach []string
}{
	{gatewayUser, reachOfApp},
	{everyoneUser, reachOfApp},
	{presenceUser, reachOfApp},
	{setupApp, reachOfApp},
	{ownerUser, reachOfApp},
	{operatorUser, []string{
		"conversation.delete", "conversation.delete.*", "lethe.operator.delete.*", "conversation.delete_everyone.*", "lethe.operator.delete_everyone.*",
		"lethe.nothing.>", "$JS.API.STREAM.INFO.CONVERSATION_COMMANDS", "$JS.API.CONSUMER.INFO.CONVERSATION_COMMANDS.deletion-worker",
		"$JS.API.STREAM.INFO.CONVERSATION_EVENTS", "$JS.API.DIRECT.GET.CONVERSATION_EVENTS",
		"$JS.API.STREAM.INFO.CONVERSATION_DEAD_LETTERS", "$JS.API.DIRECT.GET.CONVERSATION_DEAD_LETTERS",
		"$JS.API.STREAM.MSG.GET.CONVERSATION_DEAD_LETTERS", "$JS.API.STREAM.MSG.DELETE.CONVERSATION_DEAD_LETTERS",
	}},
}

var reachOfApp = []string{
	"conversation.delete.demo", "conversation.delete_everyone.demo", "lethe.events.demo", "$JS.API.CONSUMER.RESET.CONVERSATION_EVENTS.demo", "$JS.FC.CONVERSATION_EVENTS.demo.*",
}

// battle is the shipped configuration with two apps, and somebody who looks on in
// every account.
type battle struct {
	*rig
	other jetstream.JetStream // in the account of the app other

	mu    sync.Mutex          // guards what follows
	heard map[string]struct{} // subjects, in LETHE
	there map[string]struct{} // subjects, in the account of the app other
}

// newBattle leaves two commands, an event and a letter of the app other: what an
// attack could take. No worker runs.
func newBattle(t *testing.T, accounts string) *battle {
	t.Helper()
	b := &battle{rig: newLockedRigOn(t, lockedNATS(t, accounts)), heard: map[string]struct{}{}, there: map[string]struct{}{}}
	for _, subject := range []string{"conversation.deleted.other.bob", "conversation.dead_letter.other"} {
		_, err := b.js.Publish(t.Context(), subject, []byte("{}"))
		must(t, err)
	}
	b.send(t, chat{"other", "bob", "1"}.ask())
	b.send(t, chat{"other", "bob", "2"}.ask())
	b.other = b.js
	if accounts == accountEach {
		b.setupApp(t, "demo")
		b.setupApp(t, "other")
		var err error
		b.other, err = jetstream.New(observerOther.connect(t, b.nats))
		must(t, err)
		eventually(t, timeout, "the app's stream has its event", func() bool { return b.stored(t, b.other, conversation.EventsStream, ">") == 1 })
	}
	return b
}

// listenEverywhere records what is heard from now on.
func (b *battle) listenEverywhere(t testing.TB) {
	t.Helper()
	for user, to := range map[lockedUser]map[string]struct{}{observer: b.heard, observerOther: b.there} {
		nc := user.connect(t, b.nats)
		_, err := nc.Subscribe(">", func(m *nats.Msg) {
			if m.Header.Get("Status") == "100" {
				return // a heartbeat of the consumer of an app
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			to[m.Subject] = struct{}{}
		})
		must(t, err)
		must(t, nc.Flush())
	}
}

func (b *battle) stored(t testing.TB, js jetstream.JetStream, stream, subject string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		return 0
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	must(t, err)
	n := uint64(0)
	for _, of := range info.State.Subjects {
		n += of
	}
	return n
}

// standing is what the app other and the operator have, as text to compare.
func (b *battle) standing(t testing.TB) string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	look := func(where string, js jetstream.JetStream, name string, subjects ...string) {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			add("%s %s: %v", where, name, err)
			return
		}
		info := s.CachedInfo()
		config, err := json.Marshal(info.Config)
		must(t, err)
		add("%s %s made %v as %s", where, name, info.Created, config)
		for _, subject := range subjects {
			add("%s %s: %d on %s", where, name, b.stored(t, js, name, subject), subject)
		}
	}
	look("LETHE", b.js, conversation.CommandsStream, "conversation.delete", "conversation.delete.other")
	look("LETHE", b.js, conversation.EventsStream, "conversation.*.other.*")
	look("LETHE", b.js, conversation.DeadLettersStream, "conversation.dead_letter.other")
	look("other", b.other, conversation.EventsStream, ">")
	if c, err := b.js.Consumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer); err != nil {
		add("consumer: %v", err)
	} else {
		add("consumer made %v, paused %v, %+v", c.CachedInfo().Created, c.CachedInfo().Paused, c.CachedInfo().Config.Metadata)
	}
	return strings.Join(lines, "\n")
}

// play sends every request with every reply and every power as this user, or as many until it is
// enough, and returns once the server has dealt with all of them.
func (b *battle) play(t testing.TB, attacker lockedUser, enough func() bool) {
	t.Helper()
	nc := attacker.connect(t, b.nats, nats.MaxReconnects(-1))
	send := func(r request, reply string, power map[string]string) {
		m := nats.NewMsg(r.subject)
		m.Reply, m.Data = reply, []byte(r.body)
		for name, value := range power {
			m.Header[name] = []string{value}
		}
		must(t, nc.PublishMsg(m))
	}
	for _, r := range requests {
		for _, power := range powers {
			send(r, "conversation.delete.other", power)
		}
	}
	for _, reply := range replies {
		for _, r := range requests {
			send(r, reply, nil)
		}
		must(t, nc.Flush())
		if enough() {
			return
		}
	}
	// The server answers in the order of the requests, of each kind of them.
	for _, r := range []request{{"$JS.API.STREAM.INFO.CONVERSATION_EVENTS", ""}, {"conversation.delete.demo", ""}, {"$JS.API.DIRECT.GET.CONVERSATION_EVENTS", `{"seq":1}`}} {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, _ = b.js.Conn().RequestWithContext(ctx, r.subject, []byte(r.body)) // LETHE's, which comes after
		cancel()
	}
}

// Everything that a user can send, wherever the answers shall go.
func TestWhatATenantSendsStaysInItsAccount(t *testing.T) {
	t.Parallel()
	for _, a := range attackers {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			b := newBattle(t, accountEach)
			before := b.standing(t)
			b.listenEverywhere(t)
			b.play(t, a.lockedUser, func() bool { return false })
			after := b.standing(t)
			if a.lockedUser == operatorUser { // whose right it is to delete
				after, before = withoutCommands(after), withoutCommands(before)
			}
			if after != before {
				t.Errorf("after the attacks:\n%s\nwant\n%s", after, before)
			}
			b.wantHeard(t, a.reach)
		})
	}
}

func withoutCommands(standing string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(standing, "\n"), func(s string) bool { return strings.Contains(s, " on conversation.delete") }), "\n")
}

// wantHeard fails where something came on subjects that aren't in the attacker's
// reach, nor the server's own or the test's.
func (b *battle) wantHeard(t testing.TB, reach []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var strange []string
	for subject := range b.heard {
		within := slices.ContainsFunc(reach, func(s string) bool { return server.SubjectsCollide(subject, s) })
		if !within && !ofTheTest(subject) {
			strange = append(strange, "LETHE: "+subject)
		}
	}
	for subject := range b.there {
		if !ofTheTest(subject) {
			strange = append(strange, "other: "+subject)
		}
	}
	if len(strange) > 0 {
		t.Errorf("something came on %d subjects out of reach, such as %v", len(strange), strange[:min(5, len(strange))])
	}
}

// The stream drops what has an id that it has seen. So a producer's command has
// none: here another app has used what an older one would set.
func TestOneAppCantMakeTheStreamDropAnothersCommand(t *testing.T) {
	t.Parallel()
	b := newBattle(t, accountEach)
	m := nats.NewMsg("conversation.delete.demo")
	m.Header["Nats-Msg-Id"] = []string{"other.victim"}
	_, err := gatewayUser.connect(t, b.nats).RequestMsg(m, timeout)
	must(t, err)
	client, err := conversation.NewClient(gatewayUser.of("other").connect(t, b.nats))
	must(t, err)
	cmd := chat{"other", "bob", "3"}.ask()
	cmd.CommandID = "victim"
	_, err = client.Delete(t.Context(), cmd)
	must(t, err)
	if n := b.stored(t, b.js, conversation.CommandsStream, "conversation.delete.other"); n != 3 {
		t.Errorf("%d commands of the app are stored; want 3, with the one whose id another app has used", n)
	}
}

// An account imports what is its own, by its name, and nothing else: the server
// doesn't start with a file that says otherwise.
func TestAnAccountImportsNothingOfAnotherApp(t *testing.T) {
	t.Parallel()
	imports := regexp.MustCompile(`(?m)^    (\{(?:service|stream): \{account: LETHE.*\})$`)
	lines := imports.FindAllStringSubmatch(readFile(t, filepath.Join(natsFolder, "app-demo.conf")), -1)
	lines = append(lines, imports.FindAllStringSubmatch(strings.ReplaceAll(readFile(t, filepath.Join(natsFolder, "permissions.conf")), "      {", "    {"), -1)...)
	if len(lines) < 10 {
		t.Fatalf("found %d imports; want those of the app and of the operator", len(lines))
	}
	exports := readFile(t, filepath.Join(natsFolder, "permissions.conf"))
	natsPasswords()
	routes := readFile(t, filepath.Join(natsFolder, "routes.conf"))
	for _, line := range lines {
		folder := t.TempDir()
		must(t, os.WriteFile(filepath.Join(folder, "routes.conf"), []byte(routes), 0o600))
		evil := "evil {imports: [" + line[1] + "]}"
		must(t, os.WriteFile(filepath.Join(folder, "c.conf"), []byte(replaceOnce(t, exports, "include app-demo.conf", evil)), 0o600))
		if _, err := server.ProcessConfigFile(filepath.Join(folder, "c.conf")); err == nil || !strings.Contains(err.Error(), "not authorized") {
			t.Errorf("an account evil with %s: %v; want it refused", line[1], err)
		}
	}
}

// ofTheTest are the answers and the advisories of the server, and the observers'
// own requests.
func ofTheTest(subject string) bool {
	if strings.HasPrefix(subject, "$JS.FC.") && !strings.HasSuffix(subject, ".x") { // the attacks' ends with x
		return true // between an app's stream and its consumer
	}
	for _, s := range []string{"_R_.", "_INBOX.", "_INBOX_observer", "$JS.EVENT.ADVISORY.", "$JS.API.STREAM.INFO.", "$JS.API.CONSUMER.INFO.CONVERSATION_COMMANDS", "$JS.API.DIRECT.GET.CONVERSATION_EVENTS", "$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_EVENTS."} {
		if strings.HasPrefix(subject, s) {
			return true
		}
	}
	return false
}

// The same attacks do harm where all apps share an account: docs/security.md says
// what that gives up. It also shows that the test above can fail.
func TestInOneAccountTheSameAttacksDoHarm(t *testing.T) {
	t.Parallel()
	for _, attacker := range []lockedUser{gatewayUser, presenceUser, operatorUser} {
		t.Run(attacker.name, func(t *testing.T) {
			t.Parallel()
			b := newBattle(t, oneAccount)
			before := b.standing(t)
			b.play(t, attacker, func() bool { return b.standing(t) != before })
			if after := b.standing(t); after == before {
				t.Errorf("after %s's attacks all is as it was:\n%s", attacker.name, after)
			}
		})
	}
}
