package conversation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// How a Feed waits. A hint is the live copy of an event, which arrives a moment
// before the stream, or the replica that answers, has it.
const (
	hintWait   = 250 * time.Millisecond // until a hint that isn't stored again is delivered as it is
	hintPoll   = time.Millisecond       // first wait between two polls for a hinted event; doubles
	idlePoll   = 5 * time.Second        // between two polls without a hint, in case one was lost
	outageWait = 250 * time.Millisecond // after a poll that failed
)

// Feed delivers the events of one user. It reads them from the stream by
// direct get, so that it has no consumer on the server, and listens to the
// subjects to know when to poll. Next may be called by one goroutine at a time,
// Close by any.
type Feed struct {
	reader
	nc     *nats.Conn
	inbox  *inbox
	subs   []*nats.Subscription
	status chan nats.Status

	closeOnce sync.Once
	closed    chan struct{}

	due     bool          // an event may be in the stream
	backoff time.Duration // before the next poll for a hinted event
	lastErr error         // of the latest poll, nil if it succeeded
}

// Close ends the feed and interrupts Next. A second call does nothing.
func (f *Feed) Close() {
	f.closeOnce.Do(func() {
		close(f.closed)
		for _, sub := range f.subs {
			_ = sub.Unsubscribe() // fails only where the connection is closed, and with it the subscription
		}
		if f.status != nil {
			f.nc.RemoveStatusListener(f.status)
		}
	})
}

// Next waits for the next event. Stored events come in the order of their
// Sequence (on a replicated stream, two of the same moment may be swapped) and
// each id once among the last 4096; progress may be skipped. A failure to reach NATS is retried: the error is the
// context's, with the failure in its text, or ErrFeedClosed, or reports that the
// connection was closed for good. What isn't an event is left out.
func (f *Feed) Next(ctx context.Context) (Event, error) {
	for {
		select {
		case <-f.closed:
			return Event{}, ErrFeedClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return Event{}, f.explainEnd(err)
		}
		if f.nc.IsClosed() {
			return Event{}, fmt.Errorf("next event: %w", nats.ErrConnectionClosed)
		}
		if e, ok := f.inbox.progress(); ok {
			return e, nil
		}
		f.due = f.due || f.inbox.hinted()
		if e, ok := f.stored(ctx); ok {
			return e, nil
		}
		if e, ok := f.inbox.overdue(time.Now().Add(-hintWait)); ok && f.lastErr == nil {
			return e, nil
		}
		f.wait(ctx)
	}
}

// explainEnd adds to a context's end why nothing came, where that is known.
func (f *Feed) explainEnd(err error) error {
	if f.lastErr == nil {
		return err
	}
	return fmt.Errorf("next event: %w; the stream could not be read: %w", err, f.lastErr)
}

// stored returns the next event from the stream that hasn't been delivered.
func (f *Feed) stored(ctx context.Context) (Event, bool) {
	for f.due {
		l, err := f.earliest(ctx)
		f.lastErr = err
		if err != nil || l == nil {
			f.due = false
			return Event{}, false // lastErr keeps it; the next poll may succeed
		}
		raw := l.next
		l.next = nil
		e, err := f.names.ParseEvent(raw.Subject, raw.Header, raw.Data)
		if err != nil {
			continue // a later version's, or nobody's: no retry would read it
		}
		e.Sequence = raw.Sequence
		f.backoff = hintPoll
		if f.inbox.deliver(e) {
			return e, true
		}
	}
	return Event{}, false
}

// wait returns when it is time for another poll, or at the end of ctx or feed.
func (f *Feed) wait(ctx context.Context) {
	wait := idlePoll
	switch {
	case f.lastErr != nil:
		wait = outageWait
	case f.inbox.hinted():
		wait = f.backoff
		f.backoff = min(2*f.backoff, hintWait/2)
	default:
		f.backoff = hintPoll
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-f.inbox.wake:
	case <-timer.C:
		f.due = true
	case _, open := <-f.status:
		f.due = open
	case <-f.closed:
	case <-ctx.Done():
	}
}
