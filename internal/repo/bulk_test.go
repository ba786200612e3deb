package repo

import (
	"fmt"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

var wide = purge.Budget{PerDeletion: 1000, Rows: 10_000}

// chat fills a conversation of demo/alice with n messages, a reaction on each
// tenth, an attachment on each twentieth, and its row.
func fillChat(tb testing.TB, r *Repo, conversation string, n int) {
	tb.Helper()
	execSQL(tb, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'alice', $1, i, now() - interval '1 hour' from generate_series(1, $2::int) i`, conversation, n)
	execSQL(tb, r.pool, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
		select 'demo', 'alice', $1, i, 'bob', '+1' from generate_series(10, $2::int, 10) i`, conversation, n)
	execSQL(tb, r.pool, `insert into chat.attachments (app_id, user_id, conversation_id, seq, attachment_id)
		select 'demo', 'alice', $1, i, gen_random_uuid() from generate_series(20, $2::int, 20) i`, conversation, n)
	execSQL(tb, r.pool, `insert into chat.conversations (app_id, user_id, conversation_id, last_seq, unread_count) values ('demo', 'alice', $1, $2, 7)`, conversation, n)
}

var tokens = func() func() purge.Token {
	n := make(chan byte, 1)
	n <- 1
	return func() purge.Token { i := <-n; n <- i + 1; return purge.Token{15: i, 14: byte(time.Now().UnixNano())} }
}()

func deletion(command, conversation string) purge.Deletion {
	return purge.Deletion{
		Key: purge.Key{App: "demo", Command: command, User: "alice", Conversation: conversation}, Device: "phone",
		StoredAt: time.Now(), Digest: purge.DigestOf(purge.Content{User: "alice", Device: "phone", Targets: []purge.Target{{Conversation: conversation}}}),
		Token: tokens(),
	}
}

func bulk(tb testing.TB, r *Repo, b purge.Batch) purge.Result {
	tb.Helper()
	if b.Budget == (purge.Budget{}) {
		b.Budget = wide
	}
	res, err := r.Bulk(tb.Context(), b)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// steps is what single steps make of deletions that the ledger may know.
func steps(tb testing.TB, r *Repo, ds ...purge.Deletion) purge.Result {
	tb.Helper()
	res := emptyResult(len(ds))
	for i, d := range ds {
		s, err := r.Step(tb.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 1000})
		if err != nil {
			tb.Fatal(err)
		}
		res.Records[i], res.Finished[i], res.Deleted[i], res.Rows = s.Record, s.Finished, s.Messages, res.Rows+s.Rows
	}
	return res
}

func rowsLeft(tb testing.TB, r *Repo, conversation string) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('%s messages, %s reactions, %s attachments, %s rows',
		(select count(*) from chat.messages where conversation_id = $1), (select count(*) from chat.reactions where conversation_id = $1),
		(select count(*) from chat.attachments where conversation_id = $1), (select count(*) from chat.conversations where conversation_id = $1))`, conversation)
}

const nothing = "0 messages, 0 reactions, 0 attachments, 0 rows"

func TestBulk(t *testing.T) {
	t.Parallel()

	t.Run("finishes many deletions in one call and tells each result in its place", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		var b purge.Batch
		for i := range 30 {
			conv := fmt.Sprintf("c2c_%02d", 30-i)
			fillChat(t, r, conv, 20+i)
			b.Deletions = append(b.Deletions, deletion(fmt.Sprintf("cmd%02d", i), conv))
		}
		res := bulk(t, r, b)
		for i, rec := range res.Records {
			want := int64(20 + i)
			if rec.State != purge.Done || !res.Finished[i] || rec.MessagesDeleted != want || rec.ThroughSeq != want || !rec.ConversationRemoved || rec.Key != b.Deletions[i].Key {
				t.Errorf("record %d = %+v; want done with %d messages", i, rec, want)
			}
			if got := rowsLeft(t, r, rec.Conversation); got != nothing {
				t.Errorf("%s: %s are left", rec.Conversation, got)
			}
		}
	})

	t.Run("a second call tells the same record and changes nothing", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "c", 5)
		d := deletion("1", "c")
		first := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]
		fillChat(t, r, "c", 3)
		d.Token, d.StoredAt = tokens(), time.Now()
		res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
		if res.Records[0] != first || res.Finished[0] || res.Rows != 0 {
			t.Errorf("again = %+v, %d rows; want %+v", res.Records[0], res.Rows, first)
		}
		if got := rowsLeft(t, r, "c"); got != "3 messages, 0 reactions, 0 attachments, 1 rows" {
			t.Errorf("%s are left; want the new ones", got)
		}
	})

	t.Run("counts child rows, also of what the ledger may know", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		for _, known := range []bool{false, true} {
			conv := fmt.Sprint(known)
			fillChat(t, r, conv, 20)
			d := deletion(conv, conv)
			res := purge.Result{}
			if known {
				res = steps(t, r, d)
			} else {
				res = bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
			}
			if res.Rows != 23 || res.Deleted[0] != 20 {
				t.Errorf("known %t: %d rows, %d of them messages; want 20 messages, 2 reactions and an attachment", known, res.Rows, res.Deleted[0])
			}
		}
	})

	t.Run("a command id with other content is told apart", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "a", 1)
		fillChat(t, r, "b", 1)
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "a")}})
		if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "b")}}).Records[0]; !rec.Reused {
			t.Errorf("record = %+v; want reused", rec)
		}
		if got := rowsLeft(t, r, "b"); got != "1 messages, 0 reactions, 0 attachments, 1 rows" {
			t.Errorf("%s are left; want everything", got)
		}
	})

	t.Run("keeps the budget, and steps go on", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		b := purge.Batch{Budget: purge.Budget{PerDeletion: 40, Rows: 50}}
		for i := range 3 {
			fillChat(t, r, fmt.Sprint(i), 30)
			b.Deletions = append(b.Deletions, deletion(fmt.Sprint(i), fmt.Sprint(i)))
		}
		res := bulk(t, r, b)
		if n := res.Deleted[0] + res.Deleted[1] + res.Deleted[2]; n != 50 || !res.BudgetSpent {
			t.Errorf("deleted %d messages, budget spent %t; want 50, true", n, res.BudgetSpent)
		}
		for i, rec := range steps(t, r, b.Deletions...).Records {
			if rec.State != purge.Done || rec.MessagesDeleted != 30 {
				t.Errorf("record %d = %+v; want done with 30", i, rec)
			}
		}
	})

	t.Run("keeps what is newer, and the row with its counter", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "c", 20)
		d := deletion("1", "c")
		through := int64(18)
		d.ThroughSeq = &through
		rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]
		if rec.State != purge.Done || rec.ThroughSeq != 18 || rec.MessagesDeleted != 18 || rec.ConversationRemoved {
			t.Errorf("record = %+v; want done through 18, row kept", rec)
		}
		if got := rowsLeft(t, r, "c"); got != "2 messages, 1 reactions, 1 attachments, 1 rows" {
			t.Errorf("%s are left", got)
		}
		if n := queryOne[int](t, r.pool, `select unread_count from chat.conversations`); n != 2 {
			t.Errorf("unread_count = %d; want 2", n)
		}
	})

	t.Run("leaves alone what the ledger knows, and a step takes up what was released, with its boundary", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "c", 20)
		d := deletion("1", "c")
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 5, Rows: 100}})
		again := d
		again.Token, again.StoredAt = tokens(), time.Now().Add(time.Hour)
		for _, res := range []purge.Result{bulk(t, r, purge.Batch{Deletions: []purge.Deletion{again}}), steps(t, r, again)} {
			if rec := res.Records[0]; rec.Mine || rec.State != purge.Running || rec.LeaseLeft <= 0 || res.Rows > 0 {
				t.Fatalf("record = %+v; want another's", rec)
			}
		}
		if err := r.Release(t.Context(), d, 0, "", ""); err != nil {
			t.Fatal(err)
		}
		execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c', 21, now())`)
		if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{again}}); res.Records[0].State != purge.Pending || res.Rows > 0 {
			t.Errorf("record = %+v, %d rows; want it pending and left alone", res.Records[0], res.Rows)
		}
		if rec := steps(t, r, again).Records[0]; rec.State != purge.Done || rec.ThroughSeq != 20 || rec.MessagesDeleted != 20 {
			t.Errorf("record = %+v; want done through 20", rec)
		}
	})

	t.Run("locked rows leave their deletion unfinished and nobody else's", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "locked", 20)
		fillChat(t, r, "free", 20)
		fillChat(t, r, "row", 20)
		tx, err := r.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `select from chat.messages where conversation_id = 'locked' and seq = 7 for key share`); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `update chat.conversations set draft = 'x' where conversation_id = 'row'`); err != nil {
			t.Fatal(err)
		}
		b := purge.Batch{Deletions: []purge.Deletion{deletion("1", "locked"), deletion("2", "free"), deletion("3", "row")}, Budget: wide}
		if _, err := r.Bulk(t.Context(), b); err == nil {
			t.Fatal("the plain batch passed a locked row")
		} else if f, _ := purge.FaultOf(err); f != purge.Contention {
			t.Fatalf("fault = %v (%v); want contention", f, err)
		}
		b.SkipLocked = true
		res := bulk(t, r, b)
		if res.Finished[0] || !res.Finished[1] || res.Finished[2] || res.Deleted[0] != 19 {
			t.Errorf("finished = %v, deleted = %v; want only the second one finished, 19 of the first", res.Finished, res.Deleted)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, rec := range steps(t, r, b.Deletions...).Records {
			if rec.State != purge.Done || rec.MessagesDeleted != 20 {
				t.Errorf("record %d = %+v; want done with 20", i, rec)
			}
		}
	})
}

func TestLongLane(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	fillChat(t, r, "c", 1000)
	d := deletion("1", "c")
	res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 100, Rows: 1000}})
	if res.Finished[0] || res.Deleted[0] != 100 || !res.Records[0].Mine {
		t.Fatalf("express = %+v", res)
	}
	other := d
	other.Token = tokens()
	if rec, err := r.Claim(t.Context(), other); err != nil || rec.Mine || rec.LeaseLeft <= 0 {
		t.Fatalf("another's claim = %+v, %v; want not ours and some time left", rec, err)
	}
	rec, err := r.Claim(t.Context(), d)
	if err != nil || !rec.Mine {
		t.Fatalf("claim = %+v, %v; want ours", rec, err)
	}
	low := rec.CursorSeq
	for range 100 {
		step, err := r.Step(t.Context(), d, purge.Part{Low: low, Limit: 130})
		if err != nil {
			t.Fatal(err)
		}
		if low = step.Low; step.Empty {
			break
		}
	}
	if step, err := r.Step(t.Context(), other, purge.Part{Limit: 130}); err != nil || step.Record.Mine || step.Rows != 0 {
		t.Fatalf("a stale worker's step = %+v, %v; want nothing done", step, err)
	}
	rec, err = r.Finish(t.Context(), d)
	if err != nil || rec.State != purge.Done || rec.MessagesDeleted != 1000 {
		t.Fatalf("finish = %+v, %v; want done with 1000", rec, err)
	}
	if got := rowsLeft(t, r, "c"); got != nothing {
		t.Errorf("%s are left", got)
	}
}

// Two commands may want the same conversation, and meet in one batch: the first of them is
// worked on, and the other one in a step of its own.
func TestDeletionsOfOneConversationInOneBatchGoOneAfterTheOther(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	through := func(command, conversation string, seq int64, keep bool) purge.Deletion {
		d := deletion(command, conversation)
		d.ThroughSeq, d.KeepHistory = &seq, keep
		return d
	}
	for i, c := range []struct {
		name         string
		first, other int64
		keep         bool // the first
		messages     int
		row          string
	}{
		{"the row goes", 40, 10, true, 30, "none"},
		{"the row goes, later", 10, 40, true, 0, "none"},
		{"the row stays", 10, 30, false, 10, "10 unread"},
		{"the row stays, earlier", 30, 10, false, 10, "10 unread"},
		{"the row stays, history kept", 30, 10, true, 30, "10 unread"},
		{"the same twice", 20, 20, false, 20, "20 unread"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			id := fmt.Sprintf("g%d", i)
			fillChat(t, r, id, 40)
			execSQL(t, r.pool, `update chat.conversations set unread_count = 40 where conversation_id = $1`, id)
			ds := []purge.Deletion{through(id+"a", id, c.first, c.keep), through(id+"b", id, c.other, false)}
			res := bulk(t, r, purge.Batch{Deletions: ds})
			finished := 0
			for j, rec := range res.Records {
				if res.Finished[j] {
					finished++
				} else if rec.State != "" {
					t.Errorf("deletion %d = %+v; want it unknown to the ledger", j, rec)
				} else if rec := steps(t, r, ds[j]).Records[0]; rec.State != purge.Done || rec.ConversationRemoved != (c.row == "none") {
					t.Errorf("deletion %d = %+v; want done; the row: %s", j, rec, c.row)
				}
			}
			if finished != 1 {
				t.Errorf("%d of two deletions of one conversation finished together; want one", finished)
			}
			messages := queryOne[int](t, r.pool, `select count(*)::int from chat.messages where conversation_id = $1`, id)
			row := queryOne[string](t, r.pool, `select coalesce(min(unread_count || ' unread'), 'none') from chat.conversations where conversation_id = $1`, id)
			if messages != c.messages || row != c.row {
				t.Errorf("%d messages, row: %s; want %d, %s", messages, row, c.messages, c.row)
			}
		})
	}
}
