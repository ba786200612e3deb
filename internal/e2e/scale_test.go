package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// Fleets of workers under load. `make scale` runs it for some minutes, one after
// the other, and prints the tables. Not beside other tests: their figures would
// suffer. Its two parts are parallel to each other.
func TestScale(t *testing.T) {
	t.Run("workers_come_and_go", func(t *testing.T) {
		t.Parallel()
		comeAndGo(t)
	})
	t.Run("shards_come_and_go", func(t *testing.T) {
		t.Parallel()
		shardsComeAndGo(t)
	})
	t.Run("a_rolling_update", func(t *testing.T) {
		t.Parallel()
		rollingUpdate(t)
	})
}

// comeAndGo lets a fleet grow under load, and then its workers come and go: every
// second one that goes is stopped as in a rollout, the others are killed as with
// their node.
func comeAndGo(t *testing.T) {
	t.Helper()
	total := drillTime(t, 4*time.Second)
	d := newDrill(t)
	d.must(t, "setup", "--sample-schema")
	d.watch(t)
	// So far away from Postgres, and one command at a time: one worker alone waits
	// most of the time, and a machine of two cores has room for eight.
	const roundTrip = 5 * time.Millisecond
	far := d.away(t, roundTrip/2)

	p := d.busyProducer(t, "scale", mix{messages: 10, ahead: 400})
	var fleet []*worker
	for _, n := range []int{1, 2, 4, 8} {
		for len(fleet) < n {
			fleet = append(fleet, d.start(t, far, "batch-size=1", "express-lanes=1"))
		}
		d.phase(t, fmt.Sprintf("Postgres %v away, one at a time", roundTrip), strconv.Itoa(n), func() { pause(t, total/8) })
	}
	if again := d.end(t, p, fleet...); again > sum(d.want)/100 {
		t.Errorf("%d messages were deleted in vain, although nobody was stopped", again) // one in a hundred: waits of a busy machine
	}

	p = d.busyProducer(t, "churn", mix{messages: 20, long: 5000, ahead: 400})
	fleet = nil
	for range 3 {
		fleet = append(fleet, d.start(t, far))
	}
	c := &churn{drill: d, rnd: random(t), fleet: fleet, settings: []string{far}}
	steps := max(4, int((total/2)/time.Second))
	d.phase(t, "one comes, one goes, …", "3 to 4", func() {
		for i := range steps {
			c.step(t, i)
			pause(t, total/2/time.Duration(steps))
		}
	})
	d.printf("  %d came, %d were stopped (SIGTERM), %d were killed (SIGKILL)", c.came, c.stopped, c.killed)
	again := d.end(t, p, c.fleet...)
	// What each of them had under way: two express batches and two long ones.
	if most := c.killed * 2 * (256*20 + 5000); again > most {
		t.Errorf("%d messages were deleted in vain; want %d at most for %d that were killed", again, most, c.killed)
	}
	d.verdict(t)
}

// churn is workers that come and go.
type churn struct {
	*drill
	rnd                   *rand.Rand
	fleet                 []*worker
	settings              []string
	came, stopped, killed int
}

// step lets one come, stops one, lets one come, kills one, and so on.
func (c *churn) step(t *testing.T, i int) {
	t.Helper()
	if i%2 == 0 {
		c.fleet = append(c.fleet, c.start(t, c.settings...))
		c.came++
		return
	}
	at := c.rnd.IntN(len(c.fleet))
	w := c.fleet[at]
	c.fleet = slices.Delete(c.fleet, at, at+1)
	if i%4 == 1 {
		w.term(t)
		c.stopped++
		return
	}
	w.kill()
	c.killed++
}

// shardsComeAndGo lets one shard grow and the other one stand still: neither changes
// anything for the other, and nothing is lost.
func shardsComeAndGo(t *testing.T) {
	t.Helper()
	total := drillTime(t, 3*time.Second)
	server := localtest.NATS(t, localstack.NATSOptions{})
	a, b := newDrill(t, onServer(server), inShard("a")), newDrill(t, onServer(server), inShard("b"))
	far := map[*drill]string{}
	const roundTrip = 5 * time.Millisecond
	for _, d := range []*drill{a, b} {
		d.must(t, "setup", "--sample-schema")
		d.watch(t)
		far[d] = d.away(t, roundTrip/2)
	}
	start := func(d *drill) *worker { return d.start(t, far[d], "batch-size=1", "express-lanes=1") }
	fleet, other := []*worker{start(a)}, start(b)
	inA, inB := a.busyProducer(t, string(a.names.Shard()), mix{messages: 10, ahead: 200}), b.busyProducer(t, string(b.names.Shard()), mix{messages: 10, ahead: 200})
	phase := func(name, ofA, ofB string) (paceA, paceB float64) {
		paceA = a.phase(t, "a: "+name, ofA, func() {
			paceB = b.phase(t, "b: "+name, ofB, func() { pause(t, total/4) })
		})
		return paceA, paceB
	}
	phase("one worker each", "1", "1")
	for range 2 {
		fleet = append(fleet, start(a))
	}
	grown, _ := phase("a grows", "3", "1")
	other.kill()
	if alone, none := phase("b stands still", "3", "0"); alone < grown/2 || none > alone/10 { // what was in a transaction at the kill
		t.Errorf("while b stands still a does %.0f deletions a second, and %.0f before; b does %.0f", alone, grown, none)
	}
	idle := b.count(t).stored
	other = start(b)
	eventually(t, timeout, "b works again", func() bool { return b.count(t).stored > idle })
	phase("b is back", "3", "1")
	commandsA, wantA := inA.stop(t)
	commandsB, wantB := inB.stop(t)
	termAll(t, append(fleet, other))
	a.auditLedger(t, wantA)
	b.auditLedger(t, wantB)
	all := maps.Clone(wantA)
	maps.Copy(all, wantB)
	a.auditEvents(t, all)
	if !t.Failed() {
		a.printf("✓ all of it held: %d commands of two shards, %d deletions, each told under one id", commandsA+commandsB, len(all))
	}
}
