package repo

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// redo does a deletion again as the command replay does, in batches of limit
// messages, and returns how many messages went.
func redo(tb testing.TB, p *Replayer, d purge.Reported, limit int) (messages int) {
	tb.Helper()
	low, finish := int64(math.MinInt64), true
	for range 1000 {
		res, err := p.Redo(tb.Context(), d, purge.Part{Long: true, Low: low, Limit: limit, Finish: finish})
		if err != nil {
			tb.Fatal(err)
		}
		messages += res.Messages
		if res.Finished {
			return messages
		}
		low, finish = res.Low, true
	}
	tb.Fatalf("%+v is not done after 1000 batches", d)
	return 0
}

// isDue is what Due says of one deletion.
func isDue(tb testing.TB, p *Replayer, d purge.Reported) bool {
	tb.Helper()
	due, err := p.Due(tb.Context(), []purge.Reported{d})
	if err != nil {
		tb.Fatal(err)
	}
	return due[0]
}

// told is the outcome of a deletion of alice's, as its event tells it.
func told(command, conversation string, through int64, completed time.Time) purge.Reported {
	return purge.Reported{Record: purge.Record{
		Key: purge.Key{App: "demo", Command: command, User: "alice", Conversation: conversation}, Device: "phone", State: purge.Done,
		ThroughSeq: through, MessagesDeleted: through, ConversationRemoved: true, Erased: true, MultiClientSync: true, CompletedAt: completed.UTC().Truncate(time.Microsecond),
		RequestedAt: completed.Add(-time.Minute).UTC().Truncate(time.Second),
	}}
}

// lately is after everything that fillChat sends, and before now.
func lately() time.Time { return time.Now().Add(-30 * time.Minute) }

func TestRedo(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{7, 40, 1000} {
		t.Run(fmt.Sprintf("removes all of it %d at a time, and tells the ledger", limit), func(t *testing.T) {
			t.Parallel()
			p := newRepo(t).Replayer()
			fillChat(t, p.Repo, "c2c_bob", 40)
			fillChat(t, p.Repo, "c2c_eve", 40)
			d := told("c1", "c2c_bob", 40, lately())
			if !isDue(t, p, d) {
				t.Error("it is not due; want that it is")
			}
			if n := redo(t, p, d, limit); n != 40 {
				t.Errorf("%d messages deleted; want 40", n)
			}
			if got := rowsLeft(t, p.Repo, "c2c_bob"); got != nothing {
				t.Errorf("left: %s", got)
			}
			if got := rowsLeft(t, p.Repo, "c2c_eve"); got != "40 messages, 4 reactions, 2 attachments, 1 rows" {
				t.Errorf("left of another conversation: %s", got)
			}
			wantTold(t, p, d)
			if isDue(t, p, d) {
				t.Error("it is due again")
			}
			if n := redo(t, p, d, limit); n != 0 {
				t.Errorf("%d messages deleted the second time; want none", n)
			}
			if err := p.Sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("keeps what was sent later, at whatever seq, and its child rows", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		d := told("c1", "c2c_bob", 60, lately())
		execSQL(t, p.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
			select 'demo', 'alice', 'c2c_bob', i, now() from generate_series(41, 70) i`)
		execSQL(t, p.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c2c_bob', 0, $1)`, d.CompletedAt)
		execSQL(t, p.pool, `update chat.messages set sent_at = $1::timestamptz + interval '1 microsecond' where seq = 41`, d.CompletedAt)
		execSQL(t, p.pool, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
			select 'demo', 'alice', 'c2c_bob', i, 'bob', '!' from generate_series(45, 65, 10) i`)
		execSQL(t, p.pool, `update chat.conversations set unread_count = 99, draft = 'dear'`)
		if n := redo(t, p, d, 13); n != 41 {
			t.Errorf("%d messages deleted; want 41, also the one of the very moment", n)
		}
		if got := rowsLeft(t, p.Repo, "c2c_bob"); got != "30 messages, 3 reactions, 0 attachments, 1 rows" {
			t.Errorf("left: %s", got)
		}
		if got := queryOne[string](t, p.pool, `select format('%s %s', unread_count, draft) from chat.conversations`); got != "30 dear" {
			t.Errorf("row: %s; want 30 unread and the draft", got)
		}
		if isDue(t, p, d) {
			t.Error("it is due again")
		}
	})
	t.Run("touches no message where the history was kept", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "alone", 40)
		fillChat(t, p.Repo, "newer", 40)
		execSQL(t, p.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq) values ('demo', 'alice', 'newer', 41), ('demo', 'alice', 'newer', 42)`)
		for conversation, left := range map[string]string{
			"alone": "40 messages, 4 reactions, 2 attachments, 0 rows", "newer": "42 messages, 4 reactions, 2 attachments, 1 rows",
		} {
			d := told("c1", conversation, 41, lately())
			d.HistoryKept, d.MessagesDeleted = true, 0
			if n := redo(t, p, d, 10); n != 0 {
				t.Errorf("%s: %d messages deleted", conversation, n)
			}
			if got := rowsLeft(t, p.Repo, conversation); got != left {
				t.Errorf("%s: left %s; want %s", conversation, got, left)
			}
			if isDue(t, p, d) {
				t.Errorf("%s is due again", conversation)
			}
		}
		if n := queryOne[int](t, p.pool, `select unread_count from chat.conversations`); n != 2 {
			t.Errorf("%d unread; want the 2 newer ones", n)
		}
	})
	t.Run("leaves a row that came later alone once the ledger knows", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		d := told("c1", "c2c_bob", 40, lately())
		if !isDue(t, p, d) {
			t.Error("it is not due where nothing is left, and the ledger knows nothing")
		}
		redo(t, p, d, 10)
		execSQL(t, p.pool, `insert into chat.conversations (app_id, user_id, conversation_id, draft) values ('demo', 'alice', 'c2c_bob', 'dear')`)
		if isDue(t, p, d) {
			t.Error("it is due for a draft of later")
		}
	})
	t.Run("removes child rows without a message", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		d := told("c1", "c2c_bob", 40, lately())
		redo(t, p, d, 10)
		execSQL(t, p.pool, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ('demo', 'alice', 'c2c_bob', 7, 'eve', '?')`)
		if !isDue(t, p, d) {
			t.Error("it is not due")
		}
		redo(t, p, d, 10)
		if got := rowsLeft(t, p.Repo, "c2c_bob"); got != nothing {
			t.Errorf("left: %s", got)
		}
	})
	t.Run("counts without deleting", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		execSQL(t, p.pool, `update chat.messages set sent_at = now() where seq > 35`)
		d, low, n := told("c1", "c2c_bob", 40, lately()), int64(math.MinInt64), 0
		for full := true; full; {
			res, err := p.Count(t.Context(), d, low, 7)
			if err != nil {
				t.Fatal(err)
			}
			low, full, n = res.Low, res.Full, n+res.Messages
		}
		if n != 35 || !isDue(t, p, d) || queryOne[int](t, p.pool, `select count(*)::int from lethe.deletions`) != 0 {
			t.Errorf("%d messages counted; want 35, and nothing changed", n)
		}
	})
	t.Run("changes nothing while the lane is paused", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		execSQL(t, p.pool, `insert into lethe.throttles (lane, reason) values ('all', 'paused')`)
		kept := told("c2", "c2c_bob", 40, lately())
		kept.HistoryKept = true
		for _, d := range []purge.Reported{told("c1", "c2c_bob", 40, lately()), kept} {
			res, err := p.Redo(t.Context(), d, purge.Part{Long: true, Low: math.MinInt64, Limit: 10, Finish: true})
			if err != nil || res.Throttled.Reason != purge.Paused || res.Finished || res.Messages != 0 {
				t.Errorf("Redo = %+v, %v; want it throttled by a pause", res, err)
			}
		}
		if got := rowsLeft(t, p.Repo, "c2c_bob"); got != "40 messages, 4 reactions, 2 attachments, 1 rows" {
			t.Errorf("left: %s; want all", got)
		}
	})
}

// wantTold asserts that the ledger says of a deletion what its event says.
func wantTold(tb testing.TB, r *Replayer, d purge.Reported) {
	tb.Helper()
	l := &Ledger{source: r.source, conns: r.conns}
	recs, err := l.Status(tb.Context(), d.App, d.Command)
	if err != nil || len(recs) != 1 {
		tb.Fatalf("status = %+v, %v", recs, err)
	}
	want := d.Record
	want.Pinned, want.CursorSeq = true, d.ThroughSeq
	if diff := cmp.Diff(want, recs[0]); diff != "" {
		tb.Errorf("the ledger, against the event:\n%s", diff)
	}
}

func TestRedoOnASocialSchema(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{3, 1000} {
		t.Run(fmt.Sprint("in batches of ", limit), func(t *testing.T) {
			t.Parallel()
			r := newSocial(t)
			fillSocial(t, r, 40, 7, 8)
			before := socialLeft(t, r, 8)
			p := r.Replayer()
			d := told("c1", thread, 40, time.Now().Add(-70*time.Minute-30*time.Second)) // the last ten are newer, and one by half a minute
			d.App, d.User = "solo", "7"
			if n := redo(t, p, d, limit); n != 29 {
				t.Errorf("%d posts deleted; want 29", n)
			}
			if got := socialLeft(t, r, 7); got != "11 posts, 8 likes, 4 files, 3 mentions, 1 rows, 0 orphans" {
				t.Errorf("left: %s", got)
			}
			d.CompletedAt = lately()
			redo(t, p, d, limit)
			if got := socialLeft(t, r, 7); got != "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans" {
				t.Errorf("left: %s", got)
			}
			if got := socialLeft(t, r, 8); got != before {
				t.Errorf("the other owner has %s left of %s", got, before)
			}
		})
	}
}

func TestRedoOnPartitionedTables(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), partitionedTables)
	p := openRepo(t, Config{URL: url, Plan: plan.Bundled()}).Replayer()
	for _, u := range []string{"alice", "bob", "carol", "dave"} {
		execSQL(t, p.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
			select 'demo', $1, 'group', i, now() - interval '1 hour' from generate_series(1, 40) i`, u)
		execSQL(t, p.pool, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
			select 'demo', $1, 'group', i, 'bob', '+1' from generate_series(1, 40, 2) i`, u)
		execSQL(t, p.pool, `insert into chat.conversations (app_id, user_id, conversation_id) values ('demo', $1, 'group')`, u)
	}
	redo(t, p, told("c1", "group", 40, lately()), 7)
	if got := rowsLeft(t, p.Repo, "group"); got != "120 messages, 60 reactions, 0 attachments, 3 rows" {
		t.Errorf("left of all: %s; want that of three of the four", got)
	}
}

func TestTheLedgerAfterARedo(t *testing.T) {
	t.Parallel()
	t.Run("tells a duplicate the event's outcome", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		told := told("c1", "c2c_bob", 40, lately())
		redo(t, p, told, 1000)
		want := told.Record
		fillChat(t, p.Repo, "c2c_bob", 5) // which a deletion of now would remove
		execSQL(t, p.pool, `update chat.messages set sent_at = now()`)
		again := deletion("c1", "c2c_bob")
		for range 2 {
			res := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{deletion("c0", "c2c_none"), again}})
			got := res.Records[1]
			want.Pinned, want.CursorSeq = true, 40
			if diff := cmp.Diff(want, got); diff != "" || res.Finished[1] {
				t.Errorf("finished %t; the duplicate's record, against the event:\n%s", res.Finished[1], diff)
			}
			if res.Records[0].State != purge.Done {
				t.Errorf("its neighbour = %+v; want done", res.Records[0])
			}
		}
		if n := queryOne[int](t, p.pool, `select count(*)::int from chat.messages`); n != 5 {
			t.Errorf("%d messages left; want all 5 newer ones", n)
		}
		other := again
		other.Digest = purge.DigestOf(purge.Content{User: "alice", Device: "phone", Targets: []purge.Target{{Conversation: "x"}}})
		if rec := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{other}}).Records[0]; !rec.Reused {
			t.Errorf("other content after that = %+v; want that the id was reused", rec)
		}
	})
	t.Run("refuses a duplicate that doesn't fit its event", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		redo(t, p, told("c1", "c2c_bob", 40, lately()), 1000)
		less, kept, device, user := deletion("c1", "c2c_bob"), deletion("c1", "c2c_bob"), deletion("c1", "c2c_bob"), deletion("c1", "c2c_bob")
		seq := int64(39)
		less.ThroughSeq, kept.KeepHistory, device.Device, user.User = &seq, true, "laptop", "bob"
		for _, d := range []purge.Deletion{less, kept, device, user} {
			if rec := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]; !rec.Reused {
				t.Errorf("%+v = %+v; want that the id was reused", d, rec)
			}
		}
		if rec := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{deletion("c1", "c2c_bob")}}).Records[0]; rec.State != purge.Done {
			t.Errorf("the one that fits = %+v; want done", rec)
		}
	})
	t.Run("carries out what a duplicate asks for besides", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		redo(t, p, told("c1", "c2c_bob", 40, lately()), 1000)
		fillChat(t, p.Repo, "c2c_eve", 9)
		digest := purge.DigestOf(purge.Content{User: "alice", Device: "phone", Targets: []purge.Target{{Conversation: "c2c_bob"}, {Conversation: "c2c_eve"}}})
		bob, eve := deletion("c1", "c2c_bob"), deletion("c1", "c2c_eve")
		bob.Digest, eve.Digest = digest, digest
		bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{bob, eve}})
		res := steps(t, p.Repo, bob, eve)
		if a, b := res.Records[0], res.Records[1]; a.MessagesDeleted != 40 || b.MessagesDeleted != 9 || b.State != purge.Done || res.Rows != 9 {
			t.Errorf("records %+v and %+v, %d rows; want 40 told and 9 deleted", a, b, res.Rows)
		}
	})
	t.Run("is done where it was under way, and who was at it changes nothing more", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		d := deletion("c1", "c2c_bob")
		bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
		redo(t, p, told("c1", "c2c_bob", 40, lately()), 1000)
		fillChat(t, p.Repo, "c2c_bob", 5)
		step, err := p.Step(t.Context(), d, purge.Part{Limit: 100})
		if err != nil || step.Record.Mine || step.Record.State != purge.Done || step.Rows > 0 {
			t.Errorf("a batch of before = %+v, %v; want that the lease is lost", step, err)
		}
		if rec := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{deletion("c1", "c2c_bob")}}).Records[0]; rec.MessagesDeleted != 40 {
			t.Errorf("a duplicate = %+v; want the event's 40 messages", rec)
		}
	})
	t.Run("stays as it is where the deletion is done already", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		fillChat(t, p.Repo, "c2c_bob", 40)
		first := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{deletion("c1", "c2c_bob")}}).Records[0]
		redo(t, p, told("c1", "c2c_bob", 99, lately()), 1000)
		if rec := bulk(t, p.Repo, purge.Batch{Deletions: []purge.Deletion{deletion("c1", "c2c_bob")}}).Records[0]; rec.ThroughSeq != 40 || !rec.CompletedAt.Equal(first.CompletedAt) {
			t.Errorf("record = %+v; want that of before, %+v", rec, first)
		}
	})
	t.Run("is forgotten when the deletion is old enough, not the replay", func(t *testing.T) {
		t.Parallel()
		p := newRepo(t).Replayer()
		redo(t, p, told("c1", "c2c_bob", 40, lately()), 1000)
		if n, err := p.Expire(t.Context(), time.Hour, 100); n != 0 || err != nil {
			t.Errorf("Expire = %d, %v; want none after half an hour", n, err)
		}
		if n, err := p.Expire(t.Context(), 10*time.Minute, 100); n != 1 || err != nil {
			t.Errorf("Expire = %d, %v; want 1", n, err)
		}
	})
}

// Two replays at once, and a sender meanwhile: nothing newer goes, nothing stays.
func TestRedoTwiceAtOnce(t *testing.T) {
	t.Parallel()
	p := newRepo(t).Replayer()
	fillChat(t, p.Repo, "c2c_bob", 400)
	d := told("c1", "c2c_bob", 600, lately())
	done := make(chan error, 3)
	for range 2 {
		go func() {
			low, finish := int64(math.MinInt64), true
			for {
				res, err := p.Redo(context.WithoutCancel(t.Context()), d, purge.Part{Long: true, Low: low, Limit: 7, Finish: finish})
				if fault, _ := purge.FaultOf(err); err != nil && fault == purge.Contention {
					continue
				}
				if err != nil || res.Finished {
					done <- err
					return
				}
				low, finish = res.Low, true
			}
		}()
	}
	go func() {
		var err error
		for i := 401; i <= 440 && err == nil; i++ {
			_, err = p.pool.Exec(context.WithoutCancel(t.Context()), `with m as (
				insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c2c_bob', $1, clock_timestamp()))
				insert into chat.conversations as c (app_id, user_id, conversation_id, unread_count) values ('demo', 'alice', 'c2c_bob', 1)
				on conflict (app_id, user_id, conversation_id) do update set unread_count = c.unread_count + 1`, i)
		}
		done <- err
	}()
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := rowsLeft(t, p.Repo, "c2c_bob"); got != "40 messages, 0 reactions, 0 attachments, 1 rows" {
		t.Errorf("left: %s; want the newer ones and their row", got)
	}
}
