package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// The sender has the conversation's row, and commits a message below the boundary
// while the finishing transaction, which has found nothing left, waits for the row.
func TestFinishProvesAgainWhatASenderHasChanged(t *testing.T) {
	t.Parallel()
	r := openRepo(t, Config{URL: newDatabase(t), Plan: plan.Bundled(), Target: 10 * time.Second})
	fillChat(t, r, "c", 20)
	d := deletion("1", "c")
	bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
	step, err := r.Step(t.Context(), d, purge.Part{Limit: 100})
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
	rec, err := whileItWaits(t, r, func() (purge.Record, error) { return r.Finish(t.Context(), d) }, func() error { return sender.Commit(t.Context()) })
	if err != nil || rec.Final() || !rec.Mine {
		t.Fatalf("finish = %+v, %v; want it unfinished and ours", rec, err)
	}
	if step, err = r.Step(t.Context(), d, purge.Part{Limit: 100}); err != nil || step.Record.MessagesDeleted != 21 {
		t.Fatalf("step = %+v, %v; want the late message gone", step, err)
	}
	rec, err = r.Finish(t.Context(), d)
	if err != nil || rec.State != purge.Done || rec.MessagesDeleted != 21 || !rec.ConversationRemoved {
		t.Fatalf("finish = %+v, %v; want done with 21, and the row gone", rec, err)
	}
	if got := rowsLeft(t, r, "c"); got != nothing {
		t.Errorf("left %v", got)
	}
}

// Somebody deletes one of a batch's messages after the batch has counted it.
func TestWhatOthersDeleteMeanwhileIsNotCounted(t *testing.T) {
	t.Parallel()
	r := openRepo(t, Config{URL: newDatabase(t), Plan: plan.Bundled(), Target: 10 * time.Second})
	fillChat(t, r, "c", 100)
	d := deletion("1", "c")
	bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
	other, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), `delete from chat.messages where conversation_id = 'c' and seq between 50 and 52`); err != nil {
		t.Fatal(err)
	}
	step, err := whileItWaits(t, r, func() (purge.Step, error) { return r.Step(t.Context(), d, purge.Part{Limit: 1000}) }, func() error { return other.Commit(t.Context()) })
	if err != nil || step.Rows < 87 || step.Record.MessagesDeleted != 97 {
		t.Fatalf("step = %+v, %v; want 87 of 90 messages gone, and 97 in all", step, err)
	}
	rec, err := r.Finish(t.Context(), d)
	if err != nil || rec.State != purge.Done || rec.MessagesDeleted != 97 {
		t.Fatalf("finish = %+v, %v; want done with 97", rec, err)
	}
}

// whileItWaits calls do, which must wait for a lock, and then release, and
// returns what do returns.
func whileItWaits[T any](t *testing.T, r *Repo, do func() (T, error), release func() error) (T, error) {
	t.Helper()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !queryOne[bool](t, r.pool, `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`) {
		select {
		case res := <-done:
			t.Fatalf("%+v, %v, without waiting for a lock", res.value, res.err)
		case <-tick.C:
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	res := <-done
	return res.value, res.err
}

// A child row, of which no message is left, comes in below the cursor before the finishing
// transaction: the next step finds it, and finishes.
func TestAStepStartsOverForWhatCameBelowTheCursor(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	d := claimed(t, r, "1", "c", 20)
	if step, err := r.Step(t.Context(), d, purge.Part{Limit: 100}); err != nil || step.Record.CursorSeq != 20 {
		t.Fatalf("step = %+v, %v; want the cursor at 20", step, err)
	}
	execSQL(t, r.pool, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ('demo', 'alice', 'c', 7, 'late', '!')`)
	step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
	if err != nil || !step.Finished || step.Record.MessagesDeleted != 20 {
		t.Errorf("step = %+v, %v; want it finished with 20", step, err)
	}
	if got := rowsLeft(t, r, "c"); got != nothing {
		t.Errorf("%s are left", got)
	}
}
