package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/natserr"
	"github.com/lethe-im/lethe/internal/retry"
)

const (
	firstProbe = 100 * time.Millisecond
	maxProbe   = 5 * time.Second
	// probeWait is how long the stream may take to answer a probe.
	probeWait = 500 * time.Millisecond
)

var (
	errSilent   = errors.New("no answer to requests for commands")
	errNoAnswer = errors.New("nobody serves requests for commands")
	// errMoved: the request has ended with the leader that had it. The next one
	// may not be there yet, so this counts as no answer.
	errMoved = errors.New("the consumer moves to another server")
)

// statusError is a status by which the server ends a request for commands for a
// reason other than time.
type statusError struct{ code, text string }

func (e *statusError) Error() string { return "the server answers " + e.code + " " + e.text }

// statusFault returns nil for the ways in which a request ends well.
func statusFault(m *nats.Msg) error {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	lower := strings.ToLower(text)
	switch {
	case code == "404", code == "408":
		return nil
	case code == "409" && (strings.Contains(lower, "exceeds maxbytes") || strings.Contains(lower, "batch completed")):
		return nil
	case code == "409" && (strings.Contains(lower, "leadership change") || strings.Contains(lower, "server shutdown")):
		return errMoved
	case code == "503":
		return errNoAnswer
	}
	return &statusError{code, text}
}

// awaitPull closes the gate, probes until commands can be pulled again, and opens it.
// The fault is logged once, and when it changes.
func (b *Broker) awaitPull(stop context.Context, fault error) {
	reason := b.pullProblem(stop, fault)
	if stop.Err() != nil || errors.Is(fault, nats.ErrConnectionClosed) {
		return
	}
	b.gate.Close(causeCommands, reason)
	b.log.Error("commands can't be pulled; retrying", "error", reason)
	began := time.Now()
	probe := func() (struct{}, error) {
		err := b.connected(stop)
		if err == nil {
			err = b.probe(stop)
		}
		return struct{}{}, err
	}
	again := func(err error) bool {
		if stop.Err() != nil || b.nc.IsClosed() {
			return false
		}
		if now := b.pullProblem(stop, err); now != reason && stop.Err() == nil {
			reason = now
			b.gate.Close(causeCommands, reason)
			b.log.Error("commands can't be pulled; retrying", "error", reason)
		}
		return true
	}
	if _, err := retry.Do(stop, retry.Policy{First: firstProbe, Max: maxProbe}, probe, again); err != nil {
		return // stopped, or closed
	}
	b.gate.Open(causeCommands)
	b.log.Info("commands can be pulled again", "after", time.Since(began))
}

// probe finds out whether commands can be pulled, without taking one: it asks
// for one of at most one byte, which the server refuses by the size of what
// there is.
func (b *Broker) probe(ctx context.Context) error {
	denied := make(chan error, 1)
	defer b.denials.watch(b.ofPull, offer(denied))()
	inbox := b.nc.NewInbox()
	msgs := make(chan *nats.Msg, 4)
	sub, err := b.nc.ChanSubscribe(inbox, msgs)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	request := fmt.Appendf(nil, `{"batch":1,"max_bytes":1,"no_wait":true,"expires":%d}`, probeWait.Nanoseconds())
	if err := b.nc.PublishRequest(b.names.next, inbox, request); err != nil {
		return err
	}
	over := time.NewTimer(probeWait + pullGrace)
	defer over.Stop()
	select {
	case m := <-msgs:
		if m.Subject != inbox { // a command nevertheless: pulling works, and any worker may have it
			return b.nc.Publish(m.Reply, settlement(bus.Outcome{Verdict: bus.Retry}))
		}
		return statusFault(m)
	case err := <-denied:
		return err
	case <-over.C:
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pullProblem describes in one line what is wrong and what to do. For a missing
// answer it asks which part is missing.
func (b *Broker) pullProblem(ctx context.Context, fault error) string {
	var status *statusError
	if !errors.Is(fault, errNoAnswer) && !errors.Is(fault, errSilent) && !errors.As(fault, &status) {
		return fault.Error()
	}
	_, err := b.consumerInfo(ctx)
	switch natserr.Code(err) {
	case jetstream.JSErrCodeStreamNotFound:
		b.lineage.lost()
		return meaningOf(b.cfg.Names, "stream "+b.names.commands, err).text
	case jetstream.JSErrCodeConsumerNotFound:
		b.lineage.lost()
		return meaningOf(b.cfg.Names, "consumer "+b.names.consumer, err).text
	}
	switch {
	case err != nil && meaningOf(b.cfg.Names, "", err).text == noJetStream:
		return noJetStream
	case err != nil && errors.Is(fault, errNoAnswer):
		return "consumer " + b.names.consumer + " doesn't answer: run `worker setup`: " + err.Error()
	case status != nil && strings.Contains(strings.ToLower(status.text), "push based"):
		return meaningOf(b.cfg.Names, "consumer "+b.names.consumer, jetstream.ErrNotPullConsumer).text
	case status != nil && strings.Contains(status.text, "Exceeded Max"):
		return "consumer " + b.names.consumer + " limits the workers' requests: run `worker setup`: " + fault.Error()
	}
	return "pull from " + b.names.consumer + ": " + fault.Error()
}
