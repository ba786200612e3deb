package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inspectEvery is how often a worker checks that the streams and the consumer are
// still as setup makes them: four small requests.
const inspectEvery = 3 * time.Second

// causeStreams closes the gate while a property is wrong that stops the worker.
const causeStreams = "streams"

// watched is what the worker has seen of the streams and the consumer.
type watched struct {
	every      time.Duration // inspectEvery, but in tests
	inspecting sync.Mutex    // held during an inspection, so that none overtakes another

	mu      sync.Mutex // guards what follows
	ledger  string     // see [Broker.ForLedger]
	states  map[string][]PropertyState
	notice  string    // what is wrong and doesn't stop the worker
	logged  string    // all that is wrong, as it was logged
	stopped bool      // something is wrong that does
	altered int       // how many inspections have found such a thing
	at      time.Time // of the last inspection that saw all
}

// Notice describes in one line what about the streams and the consumer isn't as setup
// makes it, and doesn't stop the worker; "" for nothing. What does
// keeps the gate closed.
func (b *Broker) Notice() string {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	return b.seen.notice
}

// ForLedger is which ledger the commands are worked on with: [Broker.Run] pulls none from a stream
// that is set up for another one. "", as without a call, pulls from any.
func (b *Broker) ForLedger(id string) {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	b.seen.ledger = id
}

func (w *watched) ofLedger() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ledger
}

// watch inspects until the stop.
func (b *Broker) watch(stop context.Context) {
	tick := time.NewTicker(b.seen.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.inspect(stop)
		case <-stop.Done():
			return
		}
	}
}

// inspect compares the streams and the consumer with the table of properties, and
// learns the consumer's AckWait and whether it still is the same one. What can't be
// read is as it was before: why shows where it is needed.
func (b *Broker) inspect(ctx context.Context) {
	b.seen.inspecting.Lock()
	defer b.seen.inspecting.Unlock()
	if !b.nc.IsConnected() {
		return
	}
	began := time.Now()
	g, err := b.goal(ctx, SetupOptions{})
	if err != nil {
		return
	}
	all := true
	g.running, g.Ledger = true, b.seen.ofLedger()
	g.ackWait = 0 // an operator may have changed it; workers follow
	info, err := b.consumerInfo(ctx)
	switch {
	case err == nil:
		b.lineage.found(info.Created)
		b.heartbeat.follow(effectiveAckWait(info.Config.AckWait, info.Config.BackOff))
		b.note(b.names.worker, states("consumer", b.names.worker, consumerProperties, info.Config, g))
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		b.note(b.names.worker, nil)
	default:
		all = false
	}
	for _, fresh := range newStreams(g) {
		lines, err := b.streamPart(fresh, g).check(ctx)
		switch {
		case err == nil, errors.Is(err, errMissing):
			b.note(fresh.Name, lines)
		case errors.Is(err, errOthers):
			b.note(fresh.Name, []PropertyState{{
				Kind: "stream", Of: fresh.Name, Property: "subjects", Found: "not this installation's", Want: "those of the contract",
				Setup: string(refuses), Worker: string(stops), Why: err.Error(),
			}})
		default:
			all = false
		}
	}
	b.report()
	if all {
		b.seen.mu.Lock()
		b.seen.at = began
		b.seen.mu.Unlock()
	}
}

// inspectAgain inspects, and reports whether all is known and nothing stops the worker.
func (b *Broker) inspectAgain(ctx context.Context) bool {
	began := time.Now()
	b.inspect(ctx)
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	return !b.seen.stopped && !b.seen.at.Before(began)
}

// alterations is how many inspections have found what stops the worker. One that finds
// it still wrong counts, too: so a delivery from before a correction is told from later ones.
func (b *Broker) alterations() int {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	if b.seen.stopped {
		return -1 // what comes now is never equal to what is found later
	}
	return b.seen.altered
}

// note keeps what was seen of a stream or the consumer.
func (b *Broker) note(of string, lines []PropertyState) {
	lines = slices.DeleteFunc(lines, func(l PropertyState) bool { return l.Right })
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	b.seen.states[of] = lines
	b.metrics.Altered.WithLabelValues(of).Set(float64(len(lines)))
}

// report closes or opens the gate by what was seen, and logs what has changed.
func (b *Broker) report() {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	var stopping, warning []string
	for _, of := range append([]string{b.names.worker}, b.names.streams()...) {
		for _, l := range b.seen.states[of] {
			if l.Worker == string(stops) {
				stopping = append(stopping, l.problem())
			} else {
				warning = append(warning, l.problem())
			}
		}
	}
	b.seen.notice = strings.Join(warning, "; ")
	b.seen.stopped = len(stopping) > 0
	if b.seen.stopped {
		b.seen.altered++
		b.gate.Close(causeStreams, strings.Join(stopping, "; "))
	} else {
		b.gate.Open(causeStreams)
	}
	now := strings.Join(append(stopping, warning...), "; ")
	if now == b.seen.logged {
		return
	}
	b.seen.logged = now
	switch {
	case len(stopping) > 0:
		b.log.Error("streams or consumer altered; not pulling commands", "error", now)
	case now != "":
		b.log.Warn("streams or consumer altered", "error", now)
	default:
		b.log.Info("streams and consumer no longer altered")
	}
}

// problem describes in one line what is wrong and what to do.
func (l PropertyState) problem() string {
	do := "`worker setup` corrects it"
	switch {
	case l.Setup == string(refuses):
		do = "`worker setup` reports what to do"
	case l.Property == "metadata":
		do = "set --subject-prefix for this installation, or run `worker setup` with this database to take the streams over"
	}
	return l.Kind + " " + l.Of + ": " + l.Property + " is " + l.Found + ", expected " + l.Want + " (" + l.Why + "): " + do
}
