package repo

import (
	"testing"

	"github.com/lethe-im/lethe/internal/purge"
)

func TestFail(t *testing.T) {
	t.Parallel()
	fail := func(t *testing.T, r *Repo, d purge.Deletion) purge.Record {
		t.Helper()
		rec, err := r.Fail(t.Context(), d, purge.Failure{Reason: "why", Message: "for people", Err: "for the ledger", MaxAttempts: 2})
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	t.Run("counts tries whose claim was rolled back, and gives up at the last", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		d := deletion("1", "c")
		if rec := fail(t, r, d); rec.Attempts != 1 || rec.State != purge.Pending || rec.LastError != "for the ledger" {
			t.Fatalf("record = %+v; want pending after one attempt", rec)
		}
		d.Token = tokens() // another delivery, of which the ledger has seen nothing
		if rec := fail(t, r, d); rec.Attempts != 2 || rec.State != purge.Failed || rec.Reason != "why" || rec.FailedAt.IsZero() {
			t.Fatalf("record = %+v; want failed after two", rec)
		}
		d.Token = tokens()
		if rec := fail(t, r, d); rec.Attempts != 2 {
			t.Errorf("record = %+v; want what is final as it was", rec)
		}
	})
	t.Run("counts what isn't proven but never gives up for it, and takes attempts back", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "c", 20)
		d := deletion("1", "c")
		for i, c := range []struct {
			f        purge.Failure
			attempts int
			state    purge.State
		}{
			{purge.Failure{Uncounted: true}, 0, purge.Pending},
			{purge.Failure{}, 1, purge.Pending},
			{purge.Failure{Unproven: true}, 2, purge.Pending},
			{purge.Failure{Unproven: true}, 2, purge.Pending}, // the third would be the last
			{purge.Failure{Uncounted: true, TakeBack: 1}, 1, purge.Pending},
			{purge.Failure{Uncounted: true, TakeBack: 9}, 0, purge.Pending},
			{purge.Failure{}, 1, purge.Pending},
			{purge.Failure{}, 2, purge.Pending},
			{purge.Failure{}, 3, purge.Failed},
		} {
			c.f.MaxAttempts = 3
			rec, err := r.Fail(t.Context(), d, c.f)
			if err != nil || rec.Attempts != c.attempts || rec.State != c.state || rec.ThroughSeq != 20 {
				t.Errorf("%d: %+v: record = %+v, %v; want %d attempts, %s", i, c.f, rec, err, c.attempts, c.state)
			}
		}
	})
	t.Run("pins the boundary of the try", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "c", 20)
		d := deletion("1", "c")
		beyond := int64(100)
		d.ThroughSeq = &beyond
		if rec := fail(t, r, d); !rec.Pinned || rec.ThroughSeq != 20 {
			t.Fatalf("record = %+v; want a boundary of 20", rec)
		}
		execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c', 21, now())`)
		d.Token = tokens()
		if rec := fail(t, r, d); rec.ThroughSeq != 20 {
			t.Errorf("record = %+v; want the boundary where it was", rec)
		}
	})
	t.Run("leaves alone what another worker holds", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		fillChat(t, r, "c", 20)
		d := deletion("1", "c")
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 5, Rows: 100}})
		d.Token = tokens()
		if rec := fail(t, r, d); rec.Attempts != 0 || rec.State != purge.Running {
			t.Errorf("record = %+v; want running without an attempt", rec)
		}
	})
	t.Run("leaves alone the command whose id is reused", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		d := deletion("1", "c")
		fail(t, r, d)
		other := d
		other.Token, other.Digest = tokens(), purge.DigestOf(purge.Content{User: "mallory"})
		if rec := fail(t, r, other); !rec.Reused {
			t.Errorf("record = %+v; want reused", rec)
		}
		if got := queryOne[int](t, r.pool, `select attempts from lethe.deletions`); got != 1 {
			t.Errorf("%d attempts; want 1", got)
		}
	})
}
