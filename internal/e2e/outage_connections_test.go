package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// A transaction pooler without prepared statements, as old ones are, changes nothing:
// bulk commands, a large deletion and what people ask go through it, and it may be
// restarted under way.
func TestBehindPgBouncer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bouncer := localtest.PgBouncer(t, r.dbURL, map[string]string{"default_pool_size": "4"})
	through := "DATABASE_URL=" + bouncer.URL()
	for range 2 { // not what is advised, and it works where nothing else goes through it
		r.must(t, "setup", through)
	}
	w := r.start(t, append([]string{through}, slowly...)...)
	l := newLoad(t, r)
	l.rideOut(t, w, outage{
		strike: func(t *testing.T) { must(t, bouncer.Stop(t.Context())) },
		mend:   func(t *testing.T) { must(t, bouncer.Start(t.Context())) },
		reason: []string{"connect"},
	})
	bulk := chat{"demo", "bulk", "c0"}
	var more []string
	r.fill(t, bulk, 20)
	for i := range 30 {
		c := chat{"demo", "bulk", fmt.Sprint("c", i+1)}
		r.fill(t, c, 20)
		more = append(more, c.id)
	}
	cmd := bulk.ask(more...)
	for _, id := range append(more, bulk.id) {
		l.want[deletionKey{cmd.CommandID, id}] = 20
	}
	r.send(t, cmd)
	l.done(t)
	r.must(t, "status", through, cmd.CommandID)
	r.must(t, "pause", through)
	r.must(t, "resume", through)
	w.term(t)
}

// After a failover that nobody is told of the worker works on within seconds, although
// its old connections are open still.
func TestAFailoverInSilenceTakesSeconds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxy, through, err := localstack.OpenPostgresProxy(t.Context(), r.dbURL, 0)
	must(t, err)
	t.Cleanup(func() { must(t, proxy.Close()) })
	w := r.start(t, append([]string{"DATABASE_URL=" + through}, slowly...)...)
	l := newLoad(t, r)
	r.flood(t, l.small(t, 50))
	proxy.Swallow()
	began, more := time.Now(), l.small(t, 50)
	r.flood(t, more)
	r.awaitStored(t, len(more), func(e event) bool {
		return slices.ContainsFunc(more, func(c conversation.Command) bool { return c.CommandID == e.command() })
	})
	if took := time.Since(began); took > 15*time.Second { // 4 to 6 where nothing else is at work
		t.Errorf("small deletions go on after %v; want seconds", took)
	} else {
		t.Logf("small deletions go on after %v", took)
	}
	l.done(t)
	w.awaitReady(t, timeout)
	proxy.Freeze() // and with nothing to do
	w.awaitNotReady(t, "database: ")
	proxy.Mend()
	w.awaitReady(t, timeout)
	w.term(t)
}

// However few connections there are, a worker stays ready and finishes small and large
// deletions, while one waits for a lock and one fails each time it is tried. A second
// worker, as in a rollout, gets its share of what the server grants.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		granted, max, workers int
	}{
		"three":                     {3, 3, 1},
		"four":                      {4, 4, 1},
		"six":                       {6, 6, 1},
		"four_for_two_that_want_16": {4, 16, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			role := "few_" + one[string](t, r, `select current_database()::text`)
			r.exec(t, fmt.Sprintf(`create role %[1]s login connection limit %[2]d; grant all on schema lethe, chat to %[1]s;
				grant all on all tables in schema lethe, chat to %[1]s; grant pg_monitor to %[1]s`, role, c.granted))
			t.Cleanup(func() {
				_, err := r.db.Exec(context.Background(), fmt.Sprintf(`drop owned by %[1]s; drop role %[1]s`, role))
				must(t, err)
			})
			failing, locked := chat{"demo", "failing", "g"}, chat{"demo", "locked", "g"}
			r.fill(t, failing, 20)
			r.fill(t, locked, 20)
			mend := r.breakDeletes(t, failing)
			r.exec(t, fmt.Sprintf(`grant select on public.broken to %s`, role))
			settings := append([]string{"DATABASE_URL=" + asRole(t, r.dbURL, role), "--max-connections", fmt.Sprint(c.max)}, slowly...)
			var workers []*worker
			for range c.workers {
				workers = append(workers, r.start(t, settings...))
			}
			l := newLoad(t, r)
			release := r.hold(t, `select from chat.messages where user_id = 'locked' for update`)
			var odd []conversation.Command
			for _, c := range []chat{failing, locked} {
				cmd := c.ask()
				l.want[deletionKey{cmd.CommandID, c.id}] = 20
				odd = append(odd, cmd)
			}
			r.flood(t, odd)
			small := l.small(t, 300)
			r.flood(t, small)
			r.awaitStored(t, len(small), func(e event) bool { return strings.HasPrefix(e.text("user_id"), "small") })
			never(t, 2*time.Second, "a worker isn't ready", func() bool {
				return slices.ContainsFunc(workers, func(w *worker) bool { code, _ := w.get(t, "/readyz"); return code != http.StatusOK })
			})
			if attempts := one[int](t, r, `select attempts from lethe.deletions where user_id = 'failing'`); attempts < 2 {
				t.Errorf("%d attempts at the deletion that fails; want it tried again", attempts)
			}
			release()
			mend()
			r.awaitStored(t, len(l.want), typed(conversation.TypeDeleted))
			r.settled(t)
			r.told(t, l.want)
			r.wantEmpty(t)
			for _, w := range workers {
				if text := w.log.last(1 << 20); strings.Contains(text, "level=ERROR") || strings.Contains(text, "can't be watched") {
					t.Errorf("a worker had errors, or could not sample the database:\n%s", w.log.last(50))
				}
			}
			termAll(t, workers)
		})
	}
}
