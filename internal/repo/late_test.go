package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// The sender has the conversation's row, and commits a message below the boundary
// while the finishing transaction, which has found nothing left, waits for the row.
func TestFinishProvesAgainWhatASenderHasChanged(t *testing.T) {
	t.Parallel()
	r := openRepo(t, Config{URL: newDatabase(t), Plan: BundledPlan(), Target: 10 * time.Second})
	fillChat(t, r, "c", 20)
	d := deletion("1", "c")
	express(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
	step, err := r.Step(t.Context(), d, 0, 100)
	if err != nil || !step.Record.Mine || step.Record.MessagesDeleted != 20 {
		t.Fatalf("step = %+v, %v; want all gone", step, err)
	}
	sender, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`insert into chat.messages (app_id, user_id, conversation_id, seq) values ('demo', 'alice', 'c', 7)`,
		`update chat.conversations set unread_count = unread_count + 1 where conversation_id = 'c'`,
	} {
		if _, err := sender.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	type result struct {
		rec purge.Record
		err error
	}
	finished := make(chan result, 1)
	go func() {
		rec, err := r.Finish(t.Context(), d)
		finished <- result{rec, err}
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !queryOne[bool](t, r.pool, `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`) {
		select {
		case res := <-finished:
			t.Fatalf("finish = %+v without waiting for the sender", res)
		case <-tick.C:
		}
	}
	if err := sender.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := <-finished; res.err != nil || res.rec.Final() || !res.rec.Mine {
		t.Fatalf("finish = %+v, %v; want it unfinished and ours", res.rec, res.err)
	}
	if step, err = r.Step(t.Context(), d, 0, 100); err != nil || step.Record.MessagesDeleted != 21 {
		t.Fatalf("step = %+v, %v; want the late message gone", step, err)
	}
	rec, err := r.Finish(t.Context(), d)
	if err != nil || rec.State != purge.Done || rec.MessagesDeleted != 21 || !rec.ConversationRemoved {
		t.Fatalf("finish = %+v, %v; want done with 21, and the row gone", rec, err)
	}
	if got := rowsLeft(t, r, "c"); got != nothing {
		t.Errorf("left %v", got)
	}
}
