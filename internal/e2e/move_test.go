package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

const (
	heldStream = "CONVERSATION_COMMANDS_HELD"
	toHeld     = "conversation.shard.held.delete.demo"
)

// leavers is a gateway that doesn't know of shards, and whose users delete all the while.
type leavers struct {
	client *conversation.Client
	end    context.CancelFunc
	over   chan struct{}

	mu   sync.Mutex // guards what follows
	sent []leaving
	err  error
}

type leaving struct {
	cmd   conversation.Command
	acked time.Time
}

func newLeavers(t testing.TB, r *rig, rnd *rand.Rand, chats []chat) *leavers {
	t.Helper()
	client, err := conversation.NewClient(r.nc)
	must(t, err)
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	q := &leavers{client: client, end: end, over: make(chan struct{})}
	go func() {
		defer close(q.over)
		for ctx.Err() == nil {
			cmd := chats[rnd.IntN(len(chats))].ask()
			cmd.KeepHistory = rnd.IntN(5) == 0
			if _, err := client.Delete(context.WithoutCancel(ctx), cmd); err != nil {
				q.note(func() { q.err = err })
				return
			}
			q.note(func() { q.sent = append(q.sent, leaving{cmd, time.Now()}) })
			select {
			case <-time.After(between(rnd, 0, 25*time.Millisecond)):
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(q.stop)
	return q
}

func (q *leavers) note(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
}

func (q *leavers) stop() {
	q.end()
	<-q.over
}

// all are those so far.
func (q *leavers) all(t testing.TB) (sent []leaving) {
	t.Helper()
	q.note(func() {
		must(t, q.err)
		sent = q.sent[:len(q.sent):len(q.sent)]
	})
	return sent
}

// logical is a Postgres that others may subscribe to.
func logical(t *testing.T) string {
	t.Helper()
	pg, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{Settings: map[string]string{"wal_level": "logical"}})
	must(t, err)
	t.Cleanup(func() { must(t, pg.Close()) })
	address, _, err := pg.CreateDatabase(t.Context())
	must(t, err)
	return address
}

// The procedure of docs/sharding.md, "Move an app", while everybody writes and deletes: no
// command is lost or done on the wrong side, nothing deleted comes back, and a message
// sent while a command was held survives it.
func TestAnAppMovesToAnotherShardWhileItIsUsed(t *testing.T) {
	t.Parallel()
	localtest.NeedsPostgres(t, 15)   // publications with conditions
	localtest.NeedsNATS(t, "2.15.0") // how far a source is
	rnd := random(t)
	n := localtest.NATS(t, localstack.NATSOptions{})
	said := withSchema(`create table public.said (user_id text, conversation_id text, seq bigint, at timestamptz default clock_timestamp())`)
	a := newRig(t, onServer(n), inShard("a"), onDatabase(logical(t)), said)
	b := newRig(t, onServer(n), inShard("b"), onDatabase(logical(t)), said)
	route := func(lines ...string) {
		for i := 0; i < len(lines); i += 2 {
			must(t, n.Server().GlobalAccount().AddMapping("conversation."+lines[i], lines[i+1]))
		}
	}
	route("delete.demo", "conversation.shard.a.delete.demo", "delete.other", "conversation.shard.a.delete.other")
	settings := []string{"--express-rows", "8", "max-rows=10", "min-rows=5"}
	wa, wb := a.start(t, settings...), b.start(t, settings...)
	stays := chat{"other", "bob", "c2c_eve"}
	a.fill(t, stays, 5)

	var chats []chat
	for _, user := range []string{"alice", "bob"} {
		for _, id := range []string{"c2c_eve", "group_1", "group_2"} {
			chats = append(chats, chat{"demo", user, id})
		}
	}
	write := func(r *rig) *crew {
		crew := newCrew(t, r, rnd)
		for range 3 {
			crew.writes(func(rnd *rand.Rand, writer *sender) error {
				return writer.say(chats[rnd.IntN(len(chats))], rnd.IntN(3) == 0)
			})
		}
		crew.writes(func(rnd *rand.Rand, writer *sender) error { return writer.react(chats[rnd.IntN(len(chats))]) })
		return crew
	}
	writers := write(a)
	gateway := newLeavers(t, a, rand.New(rand.NewPCG(rnd.Uint64(), 0)), chats)
	pause(t, 500*time.Millisecond)

	// 1. Copy, and keep copying.
	since := a.moment(t).Add(-time.Second)
	a.exec(t, `create publication move for table chat.messages where (app_id = 'demo'), chat.conversations where (app_id = 'demo'),
		chat.reactions where (app_id = 'demo'), chat.attachments where (app_id = 'demo'), chat.counters where (app_id = 'demo'), public.said`)
	b.exec(t, fmt.Sprintf(`create subscription move connection '%s' publication move`, strings.ReplaceAll(a.dbURL, "'", "''")))
	eventually(t, timeout, "all is copied", func() bool {
		return one[bool](t, b, `select count(*) = 6 and bool_and(srsubstate = 'r') from pg_subscription_rel`)
	})
	pause(t, 300*time.Millisecond)

	// 2. Hold, drain.
	fromFile(t, a.js, "held.json")
	route("delete.demo", toHeld, "shard.a.delete.demo", toHeld)
	eventually(t, timeout, "the old shard has no command of the app", func() bool { return backlogOf(t, a, "conversation.shard.a.delete.demo") == 0 })
	held := len(gateway.all(t)) // later ones are held
	doneAtA := one[int](t, a, `select count(*)::int from lethe.deletions where app_id = 'demo'`)
	pause(t, time.Second)

	// 3. Switch the writers.
	writers.stop(t)
	end := one[string](t, a, `select pg_current_wal_lsn()::text`)
	eventually(t, timeout, "the copy has caught up", func() bool {
		return one[bool](t, a, `select confirmed_flush_lsn >= $1::pg_lsn from pg_replication_slots where slot_name = 'move'`, end)
	})
	const rows = `select md5(string_agg(concat_ws(' ', user_id, conversation_id, seq), ',' order by user_id, conversation_id, seq)) from chat.messages where app_id = 'demo'`
	if atA, atB := one[string](t, a, rows), one[string](t, b, rows); atA != atB {
		t.Error("the copy holds other messages than the original, after deletions there")
	}
	b.exec(t, `drop subscription move`)
	a.exec(t, `drop publication move`)
	writers = write(b)
	pause(t, 500*time.Millisecond)

	// 4. Replay, for the ledger.
	b.replay(t, 0, since, "--app=demo")

	// 5. Route anew: what was held, then the rest.
	editStream(t, b.js, b.names.CommandsStream(), func(c *jetstream.StreamConfig) {
		c.Sources = []*jetstream.StreamSource{{Name: heldStream, OptStartSeq: 1, SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: toHeld, Destination: "conversation.shard.b.delete.demo"}}}}
	})
	route("delete.demo", "conversation.shard.b.delete.demo", "shard.a.delete.demo", "conversation.shard.b.delete.demo")
	last := stateOf(t, a.js, heldStream).State.LastSeq
	eventually(t, timeout, "what was held is in the new shard", func() bool { return sourcedFrom(t, b) >= last })
	pause(t, time.Second)
	gateway.stop()
	writers.stop(t)

	sent := gateway.all(t)
	old := sent[0].cmd // done by the old shard, and asked for again
	b.publish(t, "conversation.shard.a.delete.demo", encode(t, old))
	unmoved := stays.ask()
	a.send(t, unmoved)
	want := map[deletionKey]int{{unmoved.CommandID, stays.id}: 5}
	for _, s := range sent {
		want[deletionKey{s.cmd.CommandID, s.cmd.Conversations[0].ID}] = -1
	}
	b.awaitStored(t, len(want))
	b.settled(t)
	editStream(t, b.js, b.names.CommandsStream(), func(c *jetstream.StreamConfig) { c.Sources = nil })
	a.wantLeft(t, stays, nothing)
	b.told(t, want)
	b.noAttempts(t)
	for _, c := range chats {
		b.wantOnlyNewer(t, c)
	}
	if now := one[int](t, a, `select count(*)::int from lethe.deletions where app_id = 'demo'`); now != doneAtA || now < 10 {
		t.Errorf("the old shard has done %d deletions of the app, and %d before the hold; want no more, and some", now, doneAtA)
	}
	if moved := len(sent) - held; moved < 20 {
		t.Errorf("%d commands since the hold; want some", moved)
	}
	wantNoLaterMessage(t, b, sent)
	termAll(t, []*worker{wa, wb})
}

// backlogOf is how many commands on a subject the rig's stream has.
func backlogOf(t testing.TB, r *rig, subject string) uint64 {
	t.Helper()
	s, err := r.js.Stream(t.Context(), r.names.CommandsStream())
	must(t, err)
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	must(t, err)
	return info.State.Subjects[subject]
}

// sourcedFrom is the last sequence that the rig's stream has got of its source.
func sourcedFrom(t testing.TB, r *rig) uint64 {
	t.Helper()
	sources := stateOf(t, r.js, r.names.CommandsStream()).Sources
	if len(sources) != 1 {
		t.Fatalf("%d sources; want one", len(sources))
	}
	return sources[0].Seq
}

// wantNoLaterMessage asserts that no boundary includes a message that was sent after its
// command was acknowledged. What was said is noted up to some milliseconds later.
func wantNoLaterMessage(t *testing.T, r *rig, sent []leaving) {
	t.Helper()
	for _, s := range sent {
		e := r.deleted(t, s.cmd.CommandID, s.cmd.Conversations[0].ID)
		late := one[int](t, r, `select count(*)::int from public.said where user_id = $1 and conversation_id = $2 and seq <= $3::bigint and at > $4`,
			s.cmd.UserID, e.conversation(), e.text("through_seq"), s.acked.Add(250*time.Millisecond))
		if late > 0 {
			t.Errorf("%d messages sent after %s was asked for are at or below its boundary", late, e)
		}
	}
}
