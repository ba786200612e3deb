package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// denied reports whether the server refuses what do sends: a refusal comes
// before the answer to a flush.
func denied(t testing.TB, nc *nats.Conn, subject string, do func() error) bool {
	t.Helper()
	must(t, do())
	must(t, nc.Flush())
	err := nc.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`)
}

func mayPublish(t testing.TB, nc *nats.Conn, subject string) bool {
	t.Helper()
	return !denied(t, nc, subject, func() error { return nc.Publish(subject, nil) })
}

func maySubscribe(t testing.TB, nc *nats.Conn, subject string) bool {
	t.Helper()
	var sub *nats.Subscription
	may := !denied(t, nc, subject, func() (err error) { sub, err = nc.SubscribeSync(subject); return err })
	_ = sub.Unsubscribe() // one that was refused has gone already
	return may
}

// Subjects that everybody would like to have. Each user has those that its own
// line names, and no others.
var wanted = struct{ publish, subscribe []string }{
	publish: []string{
		"conversation.delete", "conversation.delete.demo", "conversation.delete.other", "conversation.shard.a.delete.demo", "conversation.shard.a.delete.other",
		"conversation.delete_everyone", "conversation.delete_everyone.demo", "conversation.delete_everyone.other",
		"conversation.shard.a.delete_everyone.demo", "conversation.shard.a.delete_everyone.other",
		"conversation.deleted.demo.alice", "conversation.deleted.other.alice", "conversation.delete_failed.demo.alice", "conversation.deleting.demo.alice",
		"conversation.erased.demo.alice", "conversation.all_deleted.demo.alice", "conversation.dead_letter.demo", "chat.message.demo.alice", "chat.message.other.alice",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.CREATE.CONVERSATION_COMMANDS_A", "$JS.API.STREAM.INFO.CONVERSATION_COMMANDS",
		"$JS.API.STREAM.PURGE.CONVERSATION_COMMANDS", "$JS.API.STREAM.PURGE.CONVERSATION_EVENTS", "$JS.API.STREAM.DELETE.CONVERSATION_EVENTS",
		"$JS.API.STREAM.MSG.GET.CONVERSATION_COMMANDS", "$JS.API.STREAM.MSG.GET.CONVERSATION_EVENTS", "$JS.API.STREAM.MSG.DELETE.CONVERSATION_EVENTS",
		"$JS.API.STREAM.MSG.GET.CONVERSATION_DEAD_LETTERS", "$JS.API.DIRECT.GET.CONVERSATION_EVENTS", "$JS.API.DIRECT.GET.FRONT",
		"$JS.API.DIRECT.GET.CONVERSATION_EVENTS.conversation.deleted.other.alice",
		"$JS.API.CONSUMER.CREATE.CONVERSATION_COMMANDS", "$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS", "$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x",
		"$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x.conversation.deleted.other.>", "$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x.conversation.*.demo.*",
		"$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker", "$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS_A.deletion-worker",
		"$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.other", "$JS.API.CONSUMER.DELETE.CONVERSATION_COMMANDS.deletion-worker",
		"$JS.ACK.CONVERSATION_COMMANDS.deletion-worker.1.1.1.1.0", "$SYS.REQ.SERVER.PING", "anything",
	},
	subscribe: []string{
		">", "*.>", "conversation.>", "conversation.delete.demo", "conversation.delete.other", "conversation.deleted.*.*", "conversation.deleted.demo.*",
		"conversation.deleted.other.*", "conversation.erased.demo.*", "conversation.all_deleted.demo.*", "conversation.all_deleted.other.*",
		"conversation.deleting.demo.*", "conversation.dead_letter.*", "chat.message.demo.*", "chat.message.other.*",
		"_INBOX.>", "_INBOX_setup.>", "_INBOX_worker.>", "_INBOX_gateway-demo.>", "_INBOX_gateway-everyone-demo.>",
		"_INBOX_presence-demo.>", "_INBOX_operator.>",
		"$JS.ACK.>", "$JS.API.>", "$JS.EVENT.>", "$SYS.>",
	},
}

func TestNATSUsersMayDoTheirOwnWorkAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, accounts := range []string{accountEach, oneAccount} {
		t.Run(accounts, func(t *testing.T) {
			t.Parallel()
			mayDoTheirOwnWorkAndNothingElse(t, accounts)
		})
	}
}

func mayDoTheirOwnWorkAndNothingElse(t *testing.T, accounts string) {
	t.Helper()
	n := lockedNATS(t, accounts)
	forSetup := []string{"$JS.API.STREAM.CREATE.CONVERSATION_COMMANDS_A", "$JS.API.STREAM.INFO.CONVERSATION_COMMANDS"}
	if accounts == accountEach { // the consumers that apps' streams follow
		forSetup = append(forSetup, "$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x.conversation.deleted.other.>", "$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x.conversation.*.demo.*")
	}
	for _, u := range []struct {
		lockedUser
		publish, subscribe []string
	}{
		{setupUser, forSetup, []string{"_INBOX_setup.>"}},
		{workerUser, []string{
			"conversation.deleted.demo.alice", "conversation.deleted.other.alice", "conversation.delete_failed.demo.alice", "conversation.deleting.demo.alice",
			"conversation.erased.demo.alice", "conversation.all_deleted.demo.alice", "conversation.dead_letter.demo", "$JS.API.STREAM.INFO.CONVERSATION_COMMANDS", "$JS.API.DIRECT.GET.FRONT",
			"$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker", "$JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS_A.deletion-worker", "$JS.ACK.CONVERSATION_COMMANDS.deletion-worker.1.1.1.1.0",
		}, []string{"_INBOX_worker.>"}},
		{gatewayUser, []string{"conversation.delete.demo", "conversation.shard.a.delete.demo", "chat.message.demo.alice"}, []string{"_INBOX_gateway-demo.>"}},
		{everyoneUser, []string{
			"conversation.delete.demo", "conversation.shard.a.delete.demo", "conversation.delete_everyone.demo", "conversation.shard.a.delete_everyone.demo",
			"chat.message.demo.alice",
		}, []string{"_INBOX_gateway-everyone-demo.>"}},
		{presenceUser, []string{
			"$JS.API.DIRECT.GET.CONVERSATION_EVENTS", "$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.x.conversation.*.demo.*",
		}, []string{
			"conversation.deleted.demo.*", "conversation.erased.demo.*", "conversation.all_deleted.demo.*", "conversation.deleting.demo.*", "chat.message.demo.*",
			"_INBOX_presence-demo.>",
		}},
		{operatorUser, []string{
			"conversation.delete", "conversation.delete.demo", "conversation.delete.other", "conversation.shard.a.delete.demo", "conversation.shard.a.delete.other",
			"conversation.delete_everyone.demo", "conversation.delete_everyone.other",
			"conversation.shard.a.delete_everyone.demo", "conversation.shard.a.delete_everyone.other",
			"$JS.API.STREAM.INFO.CONVERSATION_COMMANDS", "$JS.API.STREAM.MSG.GET.CONVERSATION_COMMANDS",
			"$JS.API.STREAM.MSG.GET.CONVERSATION_DEAD_LETTERS", "$JS.API.DIRECT.GET.CONVERSATION_EVENTS",
		}, []string{
			"conversation.deleted.*.*", "conversation.deleted.demo.*", "conversation.deleted.other.*", "conversation.erased.demo.*",
			"conversation.all_deleted.demo.*", "conversation.all_deleted.other.*", "conversation.deleting.demo.*", "_INBOX_operator.>",
		}},
	} {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			nc := u.connect(t, n)
			compare(t, "publish on", wanted.publish, u.publish, func(s string) bool { return mayPublish(t, nc, s) })
			compare(t, "subscribe to", wanted.subscribe, u.subscribe, func(s string) bool { return maySubscribe(t, nc, s) })
		})
	}
}

// compare asserts that just these of all subjects are allowed.
func compare(t *testing.T, what string, all, want []string, may func(string) bool) {
	t.Helper()
	var got []string
	for _, s := range all {
		if may(s) {
			got = append(got, s)
		}
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("may %s\n%s\nwant\n%s", what, g, w)
	}
}

func TestAGatewayPublishesForItsOwnAppAlone(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	client, err := conversation.NewClient(gatewayUser.connect(t, r.nats), conversation.WithTimeout(5*time.Minute)) // a refusal is told at once
	must(t, err)
	if _, err := client.Delete(t.Context(), chat{"demo", "alice", "c2c_bob"}.ask()); err != nil {
		t.Errorf("for its own app: %v", err)
	}
	_, err = client.Delete(t.Context(), chat{"other", "alice", "c2c_bob"}.ask())
	if !errors.Is(err, conversation.ErrNotPermitted) || !strings.Contains(err.Error(), `"conversation.delete.other"`) {
		t.Errorf("for another app: %v; want ErrNotPermitted and the subject", err)
	}
	everyone := chat{"demo", "alice", "group_42"}.ask()
	everyone.Scope = conversation.ScopeEveryone
	_, err = client.Delete(t.Context(), everyone)
	if !errors.Is(err, conversation.ErrNotPermitted) || !strings.Contains(err.Error(), `"conversation.delete_everyone.demo"`) {
		t.Errorf("for everyone: %v; want ErrNotPermitted and the subject", err)
	}
	may, err := conversation.NewClient(everyoneUser.connect(t, r.nats), conversation.WithTimeout(5*time.Minute))
	must(t, err)
	if _, err := may.Delete(t.Context(), everyone); err != nil {
		t.Errorf("for everyone, as the gateway that may: %v", err)
	}
	if _, err := client.Follow(t.Context(), "demo", "alice"); !errors.Is(err, conversation.ErrNotPermitted) {
		t.Errorf("a gateway follows events: %v; want ErrNotPermitted", err)
	}
	refused(t, r.call(t, append(r.as(t, gatewayUser, "chat_gateway"), "send", "--app", "other", "--user", "alice", "--conversation", "c2c_bob")...),
		"worker send for another app", "not permitted", "conversation.delete.other")
	res := r.call(t, append(r.as(t, gatewayUser, "chat_gateway"), "setup")...)
	if res.code == 0 || !strings.Contains(res.err, "permission denied for table schema_version") || !strings.Contains(res.err, "not allowed to publish on $JS.API.STREAM.INFO") {
		t.Errorf("setup as a gateway: exit status %d, %q; want both denials", res.code, res.err)
	}
}

func TestPresenceReadsEventsOfItsOwnAppAlone(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	r.setupApp(t, "demo")
	r.start(t)
	nc := presenceUser.connect(t, r.nats)
	client, err := conversation.NewClient(nc, conversation.WithTimeout(5*time.Second))
	must(t, err)
	feed, err := client.Follow(t.Context(), "demo", "alice")
	must(t, err)
	defer feed.Close()
	mine := chat{"demo", "alice", "c2c_bob"}.ask()
	r.send(t, mine)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if e, err := feed.Next(ctx); err != nil || e.CommandID() != mine.CommandID {
		t.Errorf("event = %+v, %v; want that of %s", e, err, mine.CommandID)
	}
	if _, err := client.Follow(t.Context(), "other", "alice"); !errors.Is(err, conversation.ErrNotPermitted) {
		t.Errorf("follow another app's user: %v; want ErrNotPermitted", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second))
	must(t, err)
	consumer, err := js.CreateConsumer(t.Context(), conversation.EventsStream, jetstream.ConsumerConfig{
		FilterSubject: "conversation.*.demo.*", AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
	})
	must(t, err)
	if m, err := consumer.Next(jetstream.FetchMaxWait(timeout)); err != nil || m.Subject() != conversation.DeletedSubject("demo", "alice") {
		t.Errorf("its consumer delivers %v, %v; want the event", m, err)
	}
	must(t, js.DeleteConsumer(t.Context(), conversation.EventsStream, consumer.CachedInfo().Name))

	// A filter that the request's subject doesn't show is refused by the server.
	m, err := nc.Request("$JS.API.CONSUMER.CREATE.CONVERSATION_EVENTS.sly.conversation.*.demo.*",
		[]byte(`{"stream_name":"CONVERSATION_EVENTS","config":{"name":"sly","filter_subject":"conversation.deleted.other.*","ack_policy":"none"}}`), 5*time.Second)
	must(t, err)
	if !strings.Contains(string(m.Data), `"error"`) {
		t.Errorf("a consumer with another filter than the subject's: %s; want an error", m.Data)
	}
}

// What keeps a worker from working is said, and not taken for a silence.
func TestAWorkerSaysWhatItsUserMayNotDo(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	w := r.launch(t, append(gatewayUser.env(r.nats), "DATABASE_URL="+asRole(t, r.dbURL, "lethe_worker"))...)
	w.awaitNotReady(t, "not allowed to publish on $JS.API.CONSUMER.MSG.NEXT.CONVERSATION_COMMANDS.deletion-worker")
	inbox := r.launch(t, "LETHE_NATS_INBOX_PREFIX=_INBOX_gateway-demo")
	inbox.awaitNotReady(t, "not allowed to subscribe to _INBOX_gateway-demo.")
}
