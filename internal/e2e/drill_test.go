package e2e

import (
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

// drillTime is how long a drill works its workers in all: as usual, or what
// LETHE_DRILL_TIME says (`make scale` sets it).
func drillTime(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("LETHE_DRILL_TIME")
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 5*time.Second {
		t.Fatalf("LETHE_DRILL_TIME is %q; want a duration of 5s at least, such as 3m", text)
	}
	return d
}

// drill is a rig whose workers come and go while a producer keeps them busy. It
// prints a table, a line for each phase.
type drill struct {
	*rig
	out io.Writer
	ear ear

	first    float64 // pace of the first phase, deletions a second
	commands int
	want     map[deletionKey]int
	gone     int // messages, by Postgres's count, at the last end
	repeated int // events, at the last end
}

// newDrill has a rig without a setup, and prints to the test's output.
func newDrill(t *testing.T, opts ...rigOption) *drill {
	t.Helper()
	d := &drill{rig: newRig(t, append(opts, withoutSetup(), withEnv("LOG_LEVEL=warn"))...), out: t.Output(), want: map[deletionKey]int{}}
	d.printf("%-34s %8s %8s %10s %9s %8s %12s %12s", "phase", "workers", "seconds", "deletions", "a second", "× first", "redelivered", "longest gap")
	return d
}

func (d *drill) printf(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// ear hears events as they are published, each time.
type ear struct {
	mu    sync.Mutex // guards what follows
	heard int
	last  time.Time
	gap   time.Duration // the longest since it was last asked for
}

func (e *ear) hear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard++
	e.gap = max(e.gap, time.Since(e.last))
	e.last = time.Now()
}

// since returns how many events were heard and the longest gap between two, and
// begins to look for gaps anew.
func (e *ear) since() (heard int, gap time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gap = max(e.gap, time.Since(e.last))
	e.gap, e.last = 0, time.Now()
	return e.heard, gap
}

// watch begins to listen. The streams must be there.
func (d *drill) watch(t *testing.T) {
	t.Helper()
	_, err := d.nc.Subscribe("conversation.deleted.>", func(m *nats.Msg) {
		if d.names.Shard() == "" || strings.Contains(m.Subject, "."+string(d.names.Shard())+"-") { // whose producer's users begin so
			d.ear.hear()
		}
	})
	must(t, err)
	must(t, d.nc.Flush())
}

// counters are what has happened up to a moment.
type counters struct {
	at        time.Time
	stored    int // events
	delivered int // commands, each delivery counted
	commands  int // commands that were delivered
}

func (c counters) redelivered() int { return c.delivered - c.commands }

func (d *drill) count(t *testing.T) counters {
	t.Helper()
	stored, err := d.storedEvents(t.Context())
	if d.names.Shard() != "" { // the events are those of all shards
		stored, err = one[int](t, d.rig, `select count(*)::int from lethe.deletions where state = 'done'`), nil
	}
	must(t, err)
	consumer, err := d.js.Consumer(t.Context(), d.names.CommandsStream(), conversation.WorkerConsumer)
	must(t, err)
	info := consumer.CachedInfo().Delivered
	// The stream numbers commands from 1 without gaps.
	return counters{time.Now(), stored, int(info.Consumer), int(info.Stream)}
}

// phase lets the workers work while do acts, and prints how it went. It returns how many
// deletions a second were done.
func (d *drill) phase(t *testing.T, name, workers string, do func()) (pace float64) {
	t.Helper()
	before := d.count(t)
	d.ear.since()
	do()
	_, gap := d.ear.since()
	after := d.count(t)
	seconds := after.at.Sub(before.at).Seconds()
	pace = float64(after.stored-before.stored) / seconds
	if d.first == 0 {
		d.first = pace
	}
	d.printf("%-34s %8s %8.1f %10d %9.0f %8.2f %12d %12v", name, workers, seconds, after.stored-before.stored, pace, pace/d.first,
		after.redelivered()-before.redelivered(), gap.Round(time.Millisecond))
	return pace
}

// end lets the workers do what the producer has asked for, stops them, and prints
// what was done in vain: messages deleted in transactions that were rolled back,
// or by a worker that was killed before it could tell. It returns how many.
func (d *drill) end(t *testing.T, p *busy, workers ...*worker) (again int) {
	t.Helper()
	commands, want := p.stop(t)
	termAll(t, workers)
	d.commands += commands
	maps.Copy(d.want, want)
	before := d.gone
	d.gone = d.rowsDeleted(t, sum(d.want))
	again = d.gone - before - sum(want)
	stored, err := d.storedEvents(t.Context())
	must(t, err)
	heard := 0
	eventually(t, timeout, "all events were heard", func() bool { heard, _ = d.ear.since(); return heard >= stored })
	repeated := heard - stored - d.repeated
	d.repeated += repeated
	d.printf("  %d commands, %d deletions; deleted in vain: %d of %d messages (%.2f %%); re-emitted, under the same id: %d, where %d were asked for twice", commands, len(want),
		again, sum(want), 100*float64(again)/float64(max(1, sum(want))), repeated, p.twice)
	return again
}

// rowsDeleted is how many messages Postgres has deleted, tries that were rolled
// back included. It counts what a connection did when that ends, or some seconds
// later.
func (d *drill) rowsDeleted(t *testing.T, least int) (n int) {
	t.Helper()
	eventually(t, timeout, "Postgres has counted the deleted rows", func() bool {
		n = one[int](t, d.rig, `select n_tup_del::int from pg_stat_user_tables where schemaname = 'chat' and relname = 'messages'`)
		return n >= least
	})
	return n
}

// verdict audits everything and says how it ended.
func (d *drill) verdict(t *testing.T) {
	t.Helper()
	d.audit(t, d.want)
	if t.Failed() {
		d.printf("✗ not all of it held")
		return
	}
	d.printf("✓ all of it held: %d commands, each of their %d deletions told under one id with the right count, %d messages gone, none left; nothing counted as a failure, no dead letter",
		d.commands, len(d.want), sum(d.want))
}

// away is the database for workers that are some way from it: a variable for them.
func (d *drill) away(t *testing.T, oneWay time.Duration) string {
	t.Helper()
	p, address, err := localstack.OpenPostgresProxy(t.Context(), d.dbURL, oneWay)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return "DATABASE_URL=" + address
}
