package handler_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// stream hands commands to a handler as a stream does: again after a retry, and
// only while the gate lets the worker pull.
type stream struct {
	*rig
	commands sync.WaitGroup
	handed   atomic.Int64 // deliveries
	pulled   bool         // what is published has been pulled before the gate was closed
	mu       sync.Mutex
	ended    map[string]bus.Outcome
	slowest  time.Duration // of those that were done: from when a command was published until it was settled for good
	givenUp  time.Duration // the same for those that were given up
	closings []string      // of the gate
}

// newStream is a rig and a stream on which commands are given up after so many
// attempts. Statements end after a timeout; 0 is the worker's.
func newStream(t *testing.T, attempts int, timeout time.Duration) *stream {
	t.Helper()
	s := &stream{ended: map[string]bus.Outcome{}}
	gate := handler.NewGate(func(cause string, closed bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if closed {
			s.closings = append(s.closings, cause)
		}
	})
	s.rig = openRig(t, repo.Config{URL: ready.Database(t), Plan: plan.Bundled(), StatementTimeout: timeout}, "", func(c *handler.Config) {
		c.MaxAttempts, c.Gate, c.WatchEvery = attempts, gate, 40*time.Millisecond
	})
	s.gate = gate
	return s
}

// publish sends a command for conversations of one name, filled with messages.
func (s *stream) publish(id string, convs ...string) {
	s.Helper()
	data := s.encode(id, convs)
	s.mu.Lock()
	s.seq++
	seq := s.seq
	s.mu.Unlock()
	began, pulled := time.Now(), s.pulled
	s.commands.Go(func() {
		for deliveries := uint64(1); pulled && deliveries == 1 || s.gate.Wait(s.Context()) == nil; deliveries++ {
			p := &place{settled: make(chan bus.Outcome, 2)}
			s.h.Handle(bus.Delivery{Subject: "conversation.delete.demo", Data: data, Sequence: seq, StoredAt: began, Deliveries: deliveries}, p)
			s.handed.Add(1)
			select {
			case o := <-p.settled:
				if o.Verdict != bus.Retry {
					s.end(id, o, time.Since(began))
					return
				}
				<-time.After(o.Delay)
			case <-s.Context().Done():
				return
			}
		}
	})
}

func (s *stream) end(id string, o bus.Outcome, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[id] = o
	if o.Verdict == bus.Done {
		s.slowest = max(s.slowest, took)
	} else {
		s.givenUp = max(s.givenUp, took)
	}
}

func (s *stream) settled(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ended := s.ended[id]
	return ended
}

// fillAll gives each conversation n messages, a reaction and its row.
func (s *stream) fillAll(n int, convs ...string) {
	s.Helper()
	s.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'alice', c, i, now() - interval '1 hour' from unnest($1::text[]) c, generate_series(1, $2::int) i`, convs, n)
	s.exec(`insert into chat.conversations (app_id, user_id, conversation_id) select 'demo', 'alice', c from unnest($1::text[]) c`, convs)
	s.exec(`insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
		select 'demo', 'alice', c, 1, 'bob', 'x' from unnest($1::text[]) c`, convs)
}

// Everything that fails all deletions although no statement of the worker, nor the
// catalog, shows why.
func TestWhatFailsEveryDeletionIsNoAttempt(t *testing.T) {
	t.Parallel()
	const trigger = `create trigger broken before delete on chat.messages for each row execute function public.broken()`
	raise := func(code string) string {
		return `create function public.broken() returns trigger language plpgsql as $$ begin raise exception 'broken' using errcode = '` + code + `'; end $$;` + trigger
	}
	for name, c := range map[string]struct{ strike, mend, reason string }{
		"no replica identity": {
			`alter table chat.messages replica identity nothing; create publication everything for all tables`,
			`alter table chat.messages replica identity default`, "replica identity",
		},
		"a trigger's table without this month": {
			`create table public.audit (at timestamptz) partition by range (at);
			create function public.broken() returns trigger language plpgsql as $$ begin insert into public.audit values (now()); return old; end $$;` + trigger,
			`create table public.audit_now partition of public.audit default`, "audit",
		},
		"a foreign key that came later": {
			`create table public.pins (app_id text, user_id text, conversation_id text, seq bigint, note text);
			insert into public.pins select app_id, user_id, conversation_id, seq from chat.messages where seq = 1;
			create index on public.pins (app_id, user_id, conversation_id, seq);
			alter table public.pins add constraint pinned foreign key (app_id, user_id, conversation_id, seq) references chat.messages`,
			`drop table public.pins`, "pins",
		},
		"a trigger's function is missing": {
			`create function public.broken() returns trigger language plpgsql as $$ begin perform public.nowhere(old.seq); return old; end $$;` + trigger,
			`create function public.nowhere(bigint) returns int language sql as 'select 1'`, "nowhere",
		},
		"a grant that a trigger lacks": {
			`do $$ begin execute format('create role %I', 'poor_' || current_database()); end $$;
			create table public.audit (seq bigint);
			grant create on schema public to public;
			create function public.broken() returns trigger language plpgsql security definer as $f$ begin insert into public.audit values (old.seq); return old; end $f$;
			do $$ begin execute format('alter function public.broken() owner to %I', 'poor_' || current_database()); end $$;` + trigger,
			`do $$ begin execute format('alter function public.broken() owner to %I', current_user); execute format('drop owned by %I', 'poor_' || current_database());
			execute format('drop role %I', 'poor_' || current_database()); end $$`, "audit",
		},
		"an exception":                   {raise("P0001"), `drop trigger broken on chat.messages`, "broken"},
		"a trigger on child rows":        {strings.ReplaceAll(raise("22003"), "chat.messages", "chat.reactions"), `drop trigger broken on chat.reactions`, "broken"},
		"a trigger on conversations":     {strings.ReplaceAll(raise("XX000"), "chat.messages", "chat.conversations"), `drop trigger broken on chat.conversations`, "broken"},
		"a trigger with a server's code": {raise("57P03"), `drop trigger broken on chat.messages`, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStream(t, 10, 0) // as a worker by default: what is counted before three have failed is taken back
			var convs []string
			for i := range 12 {
				convs = append(convs, fmt.Sprint("c", i))
			}
			s.fillAll(3, append(convs, "b1", "b2", "b3")...)
			s.fill("large", 1500)
			s.exec(`insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ('demo', 'alice', 'large', 1200, 'bob', 'x')`)
			s.exec(c.strike)
			s.exec(`insert into lethe.throttles (lane, reason) values ('all', 'paused')`) // on a busy machine they would come one by one
			s.until("the worker starts nothing", func() bool { return s.throttled(purge.Paused) == 1 })
			s.pulled = true
			s.publish("bulk", "b1", "b2", "b3", "nowhere")
			s.publish("large", "large")
			for _, conv := range convs {
				s.publish(conv, conv)
			}
			s.until("the worker has them all", func() bool { return int(s.handed.Load()) == 2+len(convs) })
			s.pulled = false
			s.exec(`delete from lethe.throttles`)
			s.until("the gate is closed and says why", func() bool { return strings.Contains(s.gate.Reason(), c.reason) })
			s.publish("late", "late") // which has no rows, and proves nothing
			<-time.After(600 * time.Millisecond)
			if reason := s.gate.Reason(); !strings.Contains(reason, c.reason) {
				t.Errorf("later the gate says %q", reason)
			}
			s.exec(c.mend)
			s.commands.Wait()
			for id, o := range s.ended {
				if o.Verdict != bus.Done {
					t.Errorf("%s ended as %+v; want all done", id, o)
				}
			}
			// What failed alone before three had keeps that attempt if its next try succeeds.
			if n := s.count(`select count(*) from lethe.deletions where attempts > 1`); n != 0 {
				t.Errorf("of %d deletions more than the first attempt is counted", n)
			}
			if t.Failed() {
				t.Log(s.log)
			}
			if n := s.count(`select count(*) from chat.messages`); n != 0 || s.gate.Reason() != "" {
				t.Errorf("%d messages are left, the gate says %q", n, s.gate.Reason())
			}
		})
	}
}

// What fails one deletion, or a few: each ends with its event and its dead letter, the
// gate stays open, and no other deletion waits for it.
func TestWhatFailsOneDeletionIsItsOwn(t *testing.T) {
	t.Parallel()
	before := func(table, body string) string {
		return `create function public.broken() returns trigger language plpgsql as $$ begin ` + body + ` end $$;
			create trigger broken before delete on ` + table + ` for each row when (old.conversation_id like 'bad%') execute function public.broken()`
	}
	after := func(table, body string) string {
		return strings.NewReplacer("before delete", "after delete", "return old", "return null").Replace(before(table, body+` return old;`))
	}
	atCommit := func(table, body string) string {
		return strings.NewReplacer("create trigger", "create constraint trigger", " for each row", " deferrable initially deferred for each row").Replace(after(table, body))
	}
	for name, c := range map[string]struct {
		strike, message string
		n               int // messages of a bad one
	}{
		"an exception":                          {before("chat.messages", `raise exception 'legal hold';`), "legal hold", 3},
		"a table that is missing":               {before("chat.messages", `insert into public.nowhere values (old.seq); return old;`), "nowhere", 3},
		"a code of the server":                  {before("chat.messages", `raise exception 'legal hold' using errcode = '57P03';`), "legal hold", 3},
		"a serialization failure":               {before("chat.messages", `raise exception 'legal hold' using errcode = '40001';`), "legal hold", 3},
		"a trigger that sleeps":                 {before("chat.messages", `perform pg_sleep(30); return old;`), "timeout", 3},
		"an exception in a large one":           {before("chat.messages", `if old.seq = 1700 then raise exception 'legal hold'; end if; return old;`), "legal hold", 2000},
		"rows kept":                             {before("chat.messages", `return null;`), `"messages" keeps 3 rows from being deleted, the first at seq 1`, 3},
		"rows kept by mistake":                  {before("chat.messages", `return new;`), `"messages" keeps 3 rows`, 3},
		"rows kept, marked as deleted":          {before("chat.messages", `update chat.messages m set body = '{}' where m.conversation_id = old.conversation_id and m.seq = old.seq; return null;`), `"messages" keeps 3 rows`, 3},
		"one row of a large one kept":           {before("chat.messages", `if old.seq = 1700 then return null; end if; return old;`), `"messages" keeps 1 row from being deleted, the first at seq 1700`, 2000},
		"child rows kept":                       {before("chat.reactions", `return null;`), `"reactions" keeps 1 row`, 3},
		"a child row of a large one kept":       {before("chat.reactions", `return null;`), `"reactions" keeps 1 row`, 2000},
		"the conversation's row kept":           {before("chat.conversations", `return null;`), `"conversations" keeps 1 row`, 3},
		"the row of a large conversation kept":  {before("chat.conversations", `return null;`), `"conversations" keeps 1 row`, 2000},
		"rows put back":                         {after("chat.messages", `insert into chat.messages select (old).*;`), `"messages" keeps 3 rows`, 3},
		"rows of a large one put back":          {after("chat.messages", `insert into chat.messages select (old).*;`), `"messages" keeps `, 2000},
		"the row put back":                      {after("chat.conversations", `insert into chat.conversations select (old).*;`), `"conversations" keeps 1 row`, 3},
		"rows put back at the commit":           {atCommit("chat.messages", `insert into chat.messages select (old).*;`), `"messages" keeps 3 rows`, 3},
		"rows of a large one, at the commit":    {atCommit("chat.messages", `insert into chat.messages select (old).*;`), `"messages" keeps `, 2000},
		"the row put back at the commit":        {atCommit("chat.conversations", `insert into chat.conversations select (old).*;`), `"conversations" keeps 1 row`, 3},
		"the row of a large one, at the commit": {atCommit("chat.conversations", `insert into chat.conversations select (old).*;`), `"conversations" keeps 1 row`, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var timeout time.Duration
			if c.message == "timeout" {
				timeout = time.Second
			}
			s := newStream(t, 4, timeout)
			bad := []string{"bad1", "bad2", "bad3", "bad4"}
			if c.n > 1000 {
				bad = bad[:1]
			}
			s.fillAll(c.n, bad...)
			good := make([]string, 200)
			for i := range good {
				good[i] = fmt.Sprint("c", i)
			}
			s.fillAll(3, good...)
			s.exec(c.strike)
			if _, err := s.cfg.Store.(*repo.Repo).Recheck(t.Context()); err != nil { // as a worker does by itself
				t.Fatal(err)
			}
			for i, id := range good {
				if i%50 == 20 && i/50 < len(bad) {
					s.publish(bad[i/50], bad[i/50])
				}
				s.publish(id, id)
			}
			s.until("the bad ones are given up", func() bool { return !slices.ContainsFunc(bad, func(id string) bool { return !s.settled(id) }) })
			s.commands.Wait()
			for _, id := range bad {
				if o := s.ended[id]; o.Verdict != bus.Reject || o.Reason != conversation.ReasonAttemptsExhausted {
					t.Errorf("%s ended as %+v; want its attempts exhausted", id, o)
				}
			}
			got := s.pub.summary()
			if n := len(got); n != 200+2*len(bad) {
				t.Errorf("%d events and letters; want %d: %q", n, 200+2*len(bad), got)
			}
			if n := s.count(`select count(*) from lethe.deletions where state = 'failed' and attempts = 4 and message like '%' || $1 || '%'`, c.message); n != len(bad) {
				var messages string
				_ = s.pool.QueryRow(t.Context(), `select string_agg(state || attempts || message, '; ') from lethe.deletions where state <> 'done'`).Scan(&messages)
				t.Errorf("%d deletions failed after 4 attempts with %q; want %d: %s", n, c.message, len(bad), messages)
			}
			if len(s.closings) > 0 {
				t.Errorf("the gate was closed for %q", s.closings)
			}
			t.Logf("the slowest neighbor took %v, all tries of what was given up %v", s.slowest, s.givenUp)
			if s.slowest > max(2*time.Second, s.givenUp) { // a second on a quiet machine; a busy one is slow with both
				t.Errorf("a neighbor took %v, and all tries of what was given up %v: it waited for them", s.slowest, s.givenUp)
			}
		})
	}
}

// At a stop, the deletions that wait to be tried again are released.
func TestAStopEndsProbing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *handler.Config) { c.WatchEvery = 40 * time.Millisecond })
	r.exec(`create function public.broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$;
		create trigger broken before delete on chat.messages for each row execute function public.broken()`)
	r.exec(`insert into lethe.throttles (lane, reason) values ('all', 'paused')`) // on a busy machine they would come one by one
	r.until("the worker starts nothing", func() bool { return r.throttled(purge.Paused) == 1 })
	var places []*place
	for i := range 20 {
		id := fmt.Sprint("c", i)
		r.fill(id, 2)
		places = append(places, r.send(id, id))
	}
	r.exec(`delete from lethe.throttles`)
	r.until("the handler probes", func() bool { return strings.Contains(r.gate.Reason(), "broken") })
	began := time.Now()
	r.h.Stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	for i, p := range places {
		if o := p.wait(t); o.Verdict != bus.Retry {
			t.Errorf("outcome %d = %+v; want a retry", i, o)
		}
	}
	if n := r.count(`select count(*) from lethe.deletions where state <> 'pending' or lease_until is not null or attempts > 1`); n != 0 {
		t.Errorf("%d deletions are not free for others", n)
	}
}
