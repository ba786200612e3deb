package e2e

import (
	"context"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// trickle is a producer of small commands for one shard, at a steady rate.
type trickle struct {
	r     *rig
	chats []chat
	halt  context.CancelFunc
	ended chan struct{}

	mu   sync.Mutex // guards what follows
	sent map[string]time.Time
	err  error
}

const (
	trickleEvery    = 20 * time.Millisecond
	trickleMessages = 3
)

// newTrickle begins to publish commands of n users, until stop is called or the test ends.
func newTrickle(t *testing.T, r *rig, n int) *trickle {
	t.Helper()
	ctx, halt := context.WithCancel(context.WithoutCancel(t.Context()))
	client := r.client // another one after a failover
	p := &trickle{r: r, halt: halt, ended: make(chan struct{}), sent: map[string]time.Time{}}
	p.chats = r.crowd(t, "demo", string(r.names.Shard())+"-", n, trickleMessages)
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(trickleEvery)
		defer tick.Stop()
		for _, c := range p.chats {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			cmd, now := c.ask(), time.Now()
			err := untilStored(context.WithoutCancel(ctx), func(ctx context.Context) error {
				_, err := client.Delete(ctx, cmd)
				return err
			})
			p.mu.Lock()
			p.sent[cmd.CommandID], p.err = now, err
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(p.stop)
	return p
}

func (p *trickle) stop() {
	p.halt()
	<-p.ended
}

// want are the deletions that were asked for. The producing has ended.
func (p *trickle) want() map[deletionKey]int {
	want := map[deletionKey]int{}
	for id := range p.sent {
		want[deletionKey{id, "g"}] = trickleMessages
	}
	return want
}

// window is what was sent between two moments, as it went for the shards without an outage.
type window struct {
	name     string
	from, to time.Time
}

// took returns how long the window's commands took until their events were stored: sorted,
// all of them and those of each second.
func (w window) took(told map[string]time.Time, ps ...*trickle) (all []time.Duration, seconds [][]time.Duration) {
	seconds = make([][]time.Duration, int(w.to.Sub(w.from)/time.Second)+1)
	for _, p := range ps {
		for id, at := range p.sent {
			if !at.Before(w.from) && at.Before(w.to) {
				all = append(all, told[id].Sub(at))
				n := int(at.Sub(w.from) / time.Second)
				seconds[n] = append(seconds[n], told[id].Sub(at))
			}
		}
	}
	slices.Sort(all)
	for _, s := range seconds {
		slices.Sort(s)
	}
	return all, seconds
}

// usualP99 is the median of the seconds' p99: what else the machine does in some of them
// doesn't count.
func usualP99(seconds [][]time.Duration) time.Duration {
	var each []time.Duration
	for _, s := range seconds {
		if len(s) > 50 {
			each = append(each, quantile(s, 0.99))
		}
	}
	slices.Sort(each)
	return quantile(each, 0.5)
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(100 * time.Microsecond)
}

// Three Postgres servers and one NATS under load: whatever happens to one shard's server,
// the others' commands don't notice, and the shard goes on by itself.
func TestAShardsOutageIsItsOwn(t *testing.T) {
	t.Parallel()
	server := localtest.NATS(t, localstack.NATSOptions{})
	var rigs []*rig
	var workers []*worker
	var victim *localstack.Postgres
	for i, name := range []string{"a", "b", "c"} {
		pg, address := ownPostgres(t)
		r := newRig(t, onServer(server), inShard(name), onDatabase(address), withEnv("LOG_LEVEL=info"))
		if i == 0 {
			victim = pg
		}
		rigs = append(rigs, r)
	}
	a := rigs[0]
	at := filepath.Join(t.TempDir(), "address") // of the shard's primary, whichever that is
	must(t, os.WriteFile(at, []byte(a.dbURL), 0o600))
	workers = append(workers, a.start(t, "DATABASE_URL=file:"+at), rigs[1].start(t), rigs[2].start(t))
	var load []*trickle
	for _, r := range rigs {
		load = append(load, newTrickle(t, r, sized(4000, 30_000)))
	}

	span := time.Duration(sized(1, 20)) * time.Second
	var windows []window
	watch := func(name string, do func()) {
		w := window{name: name, from: time.Now()}
		do()
		w.to = time.Now()
		windows = append(windows, w)
	}
	pause(t, span) // for connections and plans
	for _, o := range a.shardOutages(t, victim, at) {
		o.prepare(t)
		watch("before", func() { pause(t, span) })
		watch(o.name, func() {
			o.strike(t)
			if o.reason != nil {
				workers[0].awaitNotReady(t, o.reason...)
			}
			pause(t, span)
		})
		o.mend(t)
		workers[0].awaitReady(t, timeout)
		a.flowsAgain(t, load[0])
	}
	for i, p := range load {
		p.stop()
		must(t, p.err)
		rigs[i].settled(t)
	}
	verdictOnShards(t, rigs, load, windows)
	for _, w := range workers {
		w.term(t)
	}
}

// flowsAgain waits until a command that was sent just now is done.
func (r *rig) flowsAgain(t testing.TB, p *trickle) {
	t.Helper()
	p.mu.Lock()
	newest := ""
	for id, at := range p.sent {
		if newest == "" || at.After(p.sent[newest]) {
			newest = id
		}
	}
	p.mu.Unlock()
	r.awaitStored(t, 1, of(newest))
}

// verdictOnShards asserts that each command was done once and told under one id, and that the
// shards b and c were as quick during a's outages as before. The figures go to the log.
func verdictOnShards(t *testing.T, rigs []*rig, load []*trickle, windows []window) {
	t.Helper()
	want, told := map[deletionKey]int{}, map[string]time.Time{}
	for _, p := range load {
		maps.Copy(want, p.want())
	}
	a := rigs[0]
	a.told(t, want)
	stored, _, _ := a.seen(func(e event) bool { return e.kind() != conversation.TypeDeleting })
	for _, e := range stored {
		told[e.command()] = e.at
	}
	if len(stored) != len(want) {
		t.Errorf("%d events are stored; want one for each of %d commands", len(stored), len(want))
	}
	for i, r := range rigs {
		rest := (len(load[i].chats) - len(load[i].sent)) * trickleMessages
		if n := one[int](t, r, `select count(*)::int from chat.messages`); n != rest {
			t.Errorf("shard %s: %d messages are left; want the %d of those who didn't ask", r.names.Shard(), n, rest)
		}
		if n := one[int](t, r, `select count(*)::int from lethe.deletions where state = 'done'`); n != len(load[i].sent) {
			t.Errorf("shard %s: %d deletions are done; want %d", r.names.Shard(), n, len(load[i].sent))
		}
		r.noAttempts(t)
	}
	var quiet []time.Duration
	var quietSeconds [][]time.Duration
	for _, w := range windows {
		others, seconds := w.took(told, load[1:]...)
		own, _ := w.took(told, load[0])
		if w.name == "before" {
			quiet, quietSeconds = others, seconds
		}
		t.Logf("%-12s %5.1f s: shards b and c: %4d commands, p50 %6v, p99 %7v, usual p99 of a second %7v (× %.2f), longest %7v; shard a: p50 %8v, longest %8v",
			w.name, w.to.Sub(w.from).Seconds(), len(others), quantile(others, 0.5), quantile(others, 0.99), usualP99(seconds),
			float64(usualP99(seconds))/float64(usualP99(quietSeconds)), quantile(others, 1), quantile(own, 0.5), quantile(own, 1))
		// The machine has other tests to run. What an outage held up would wait for its end.
		late := len(others) - sort.Search(len(others), func(i int) bool { return others[i] > w.to.Sub(w.from)/2 })
		if len(others) == 0 || quantile(others, 0.5) > 3*quantile(quiet, 0.5)+300*time.Millisecond || late > len(others)/20 {
			t.Errorf("%s: shards b and c: %d commands, %d of them late, p50 %v; want at most one in 20, and %v as before", w.name, len(others), late,
				quantile(others, 0.5), quantile(quiet, 0.5))
		}
	}
}

// namedOutage is an outage with a name, and what it takes before.
type namedOutage struct {
	name    string
	prepare func(t *testing.T)
	outage
}

// shardOutages are what happens to the Postgres of a shard, one after the other. at is the
// file with its address.
func (r *rig) shardOutages(t *testing.T, pg *localstack.Postgres, at string) []namedOutage {
	t.Helper()
	nothing := func(*testing.T) {}
	standby, failedOver := r.failedOver(pg, at)
	return []namedOutage{
		{"stopped", nothing, stopped(r, pg)},
		{"frozen", nothing, frozen(r, pg)},
		{"out of disk", nothing, r.outOfDisk(t, pg)},
		{"setup fails", nothing, r.setupFails()},
		{"failed over", standby, failedOver},
	}
}

// frozen stops each process of the server.
func frozen(r *rig, pg *localstack.Postgres) outage {
	var processes []int
	return outage{
		strike: func(t *testing.T) {
			t.Helper()
			file, err := os.ReadFile(filepath.Join(pg.DataDir(), "postmaster.pid"))
			must(t, err)
			first, _, _ := strings.Cut(string(file), "\n")
			pid, err := strconv.Atoi(first)
			must(t, err)
			rows, err := r.db.Query(t.Context(), `select pid from pg_stat_activity`)
			must(t, err)
			processes, err = pgx.CollectRows(rows, pgx.RowTo[int])
			must(t, err)
			processes = append([]int{pid}, processes...) // it first, so that there will be no others
			for _, pid := range processes {
				_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
			}
		},
		mend: func(*testing.T) {
			for _, pid := range processes {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		},
		reason: []string{"connect", "timeout", "deadline", "no answer"},
	}
}

// outOfDisk has the ledger on a disk that is full, or, without the right to mount one, an
// error as Postgres reports it then.
func (r *rig) outOfDisk(t *testing.T, pg *localstack.Postgres) outage {
	t.Helper()
	reason := []string{"No space left", "disk full"}
	folder, fill, drain, ok := smallDisk(t, pg.DataDir())
	if !ok {
		return outage{
			strike: func(t *testing.T) {
				t.Helper()
				r.exec(t, `create function public.disk_full() returns trigger language plpgsql as $$ begin raise 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
					create trigger disk_full before insert on lethe.commands for each row execute function public.disk_full()`)
			},
			mend: func(t *testing.T) {
				t.Helper()
				r.exec(t, `drop trigger disk_full on lethe.commands`)
			},
			reason: reason,
		}
	}
	move := func(t *testing.T, to string) {
		t.Helper()
		for _, name := range []string{"table lethe.commands", "index lethe.commands_pkey", "table lethe.deletions", "index lethe.deletions_pkey"} {
			r.exec(t, "alter "+name+" set tablespace "+to)
		}
	}
	return outage{
		strike: func(t *testing.T) {
			t.Helper()
			r.exec(t, "create tablespace small location '"+folder+"'")
			move(t, "small")
			fill(t)
		},
		mend: func(t *testing.T) {
			t.Helper()
			drain(t)
			move(t, "pg_default")
			r.exec(t, "drop tablespace small")
		},
		reason: reason,
	}
}

// setupFails has `worker setup` fail, while the shard works on.
func (r *rig) setupFails() outage {
	return outage{
		strike: func(t *testing.T) {
			t.Helper()
			r.exec(t, `alter table lethe.schema_version rename to hidden`)
			if res := r.call(t, "setup", "--timeout=2s"); res.code == 0 {
				t.Error("setup succeeds without its table of versions")
			}
		},
		mend: func(t *testing.T) {
			t.Helper()
			r.exec(t, `drop table if exists lethe.schema_version; alter table lethe.hidden rename to schema_version`)
			r.must(t, "setup")
		},
	}
}

// failedOver promotes a standby that has all commits, and changes the address. follow starts
// the standby.
func (r *rig) failedOver(pg *localstack.Postgres, at string) (follow func(*testing.T), _ outage) {
	var standby *localstack.Postgres
	follow = func(t *testing.T) {
		t.Helper()
		var err error
		standby, err = pg.StartStandby(t.Context(), "s1", localstack.PostgresOptions{})
		must(t, err)
		t.Cleanup(func() { must(t, standby.Close()) })
		r.asAdmin(t, pg, `alter system set synchronous_standby_names = 's1'`, `select pg_reload_conf()`)
		eventually(t, timeout, "the standby is synchronous", func() bool {
			return one[int](t, r, `select count(*)::int from pg_stat_replication where sync_state = 'sync'`) == 1
		})
	}
	return follow, outage{
		strike: func(t *testing.T) {
			t.Helper()
			must(t, pg.StopImmediate(t.Context()))
			(&rig{dbURL: standby.URL()}).execAs(t, "postgres", "select pg_promote()")
		},
		mend: func(t *testing.T) {
			t.Helper()
			folder := func(pg *localstack.Postgres) string { return url.QueryEscape(filepath.Dir(pg.DataDir())) }
			r.dbURL = strings.Replace(r.dbURL, folder(pg), folder(standby), 1)
			must(t, os.WriteFile(at, []byte(r.dbURL), 0o600))
			r.connect(t)
		},
		reason: []string{"connect", "terminating", "shutting down"},
	}
}
