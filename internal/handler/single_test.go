package handler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/purge"
)

// One transaction has locked a row of each of hundreds: all are deferred within seconds,
// as waiting for a lock, and others are finished meanwhile.
func TestDeletionsThatALockBlocksHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	const blocked = 200
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'alice', 'c' || c, s, now() - interval '1 hour' from generate_series(1, $1::int) c, generate_series(1, 5) s`, blocked)
	tx, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `select from chat.messages where seq = 3 for update`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var slots []*place
	for i := range blocked {
		slots = append(slots, r.send(fmt.Sprint("b", i), fmt.Sprint("c", i+1)))
	}
	r.fill("free", 5)
	if o := r.send("free", "free").wait(t); o.Verdict != bus.Done || time.Since(began) > 10*time.Second { // alone a tenth of a second
		t.Errorf("outcome = %+v after %v; want it done in the meantime", o, time.Since(began))
	}
	for i, s := range slots {
		if o := s.wait(t); o.Verdict != bus.Retry || o.Delay < 500*time.Millisecond || o.Delay > time.Second {
			t.Fatalf("outcome %d = %+v; want it deferred for up to a second", i, o)
		}
	}
	t.Logf("all were deferred after %v", time.Since(began))
	if took := time.Since(began); took > time.Minute { // alone 4 s, beside the other tests 10
		t.Errorf("they kept their slots for %v", took)
	}
	if n := r.count(`select count(*) from lethe.deletions where state = 'pending' and waiting_for = 'lock' and lease_until is null and attempts = 0`); n != blocked {
		t.Errorf("the ledger has %d deletions that wait for a lock; want %d", n, blocked)
	}
}

// Nothing is known about the rows of a deletion: its first batch is small, and where rows
// take long, none takes much longer than the target.
func TestALargeDeletionBeginsSmall(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *handler.Config) { c.PerDeletion = 10 })
	r.exec(`create table public.batches (at timestamptz, took interval, n int);
		create function public.take_time() returns trigger language plpgsql as $$ begin perform pg_sleep(0.001); return null; end $$;
		create function public.note_batch() returns trigger language plpgsql as $$ begin
			insert into public.batches select clock_timestamp(), clock_timestamp() - statement_timestamp(), count(*) from gone; return null; end $$;
		create trigger slow after delete on chat.messages for each row execute function public.take_time();
		create trigger z_note after delete on chat.messages referencing old table as gone for each statement execute function public.note_batch()`)
	r.fill("g", 600)
	if o := r.send("1", "g").wait(t); o.Verdict != bus.Done {
		t.Fatalf("outcome = %+v; want done", o)
	}
	const large = `from public.batches where n > 10`
	if n := r.count(`select n ` + large + ` order by at limit 1`); n > 200 {
		t.Errorf("the first batch had %d rows; want 200 at most", n)
	}
	if n := r.count(`select count(*) `+large+` and took > $1::interval`, 8*purge.DefaultTarget); n > 1 { // the first one, which learns
		t.Errorf("%d batches took more than %v; want the first at most", n, 8*purge.DefaultTarget)
	}
}

// One that has failed runs isolated, in batches of few rows; once it makes progress the long
// lane, with its throttles and permits, has it again.
func TestALargeDeletionThatFailedOnceReturnsToTheLongLane(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *handler.Config) { c.PerDeletion = 10 })
	// The failure comes while a small deletion is under way, so that it may be shared.
	r.exec(`create table public.batches (n int, last bigint);
		create sequence public.failures;
		create function public.fail_once() returns trigger language plpgsql as $$ begin
			if nextval('public.failures') = 1 then
				perform pg_advisory_xact_lock(4712);
				while not exists (select from pg_locks where locktype = 'advisory' and objid = 4711) loop perform pg_sleep(0.001); end loop;
				raise exception 'once';
			end if;
			return old; end $$;
		create function public.be_under_way() returns trigger language plpgsql as $$ begin
			perform pg_advisory_xact_lock(4711);
			while exists (select from pg_locks where locktype = 'advisory' and objid = 4712) loop perform pg_sleep(0.001); end loop;
			perform pg_sleep(1); -- until the worker knows
			return old; end $$;
		create function public.note_batch() returns trigger language plpgsql as $$ begin
			insert into public.batches select count(*), max(seq) from gone where conversation_id = 'g'; return null; end $$;
		create trigger fails before delete on chat.messages for each row when (old.seq = 1500) execute function public.fail_once();
		create trigger slow before delete on chat.messages for each row when (old.conversation_id = 'small') execute function public.be_under_way();
		create trigger z_note after delete on chat.messages referencing old table as gone for each statement execute function public.note_batch()`)
	r.fill("g", 5000)
	r.fill("small", 1)
	large := r.send("1", "g")
	r.until("the deletion is about to fail", func() bool { return r.count(`select count(*) from public.failures where is_called`) > 0 })
	if o := r.send("2", "small").wait(t); o.Verdict != bus.Done {
		t.Errorf("outcome of the small one = %+v; want done", o)
	}
	if o := large.wait(t); o.Verdict != bus.Done {
		t.Errorf("outcome = %+v; want done, without another delivery", o)
	}
	if n := r.count(`select max(n) from public.batches where last > 1500`); n <= 50 { // as if it stayed isolated
		t.Errorf("after the failure a batch had %d rows at most; want the long lane's, which are large", n)
	}
}
