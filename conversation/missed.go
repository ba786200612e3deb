package conversation

import (
	"context"
	"fmt"
	"iter"
)

// Missed yields the stored events of one user with a Sequence greater than
// after, a device's cursor, and at most through, in the order of their Sequence.
// It reads them one by one by direct get and leaves no consumer behind, so that a
// presence service can have one consumer for all devices and fetch here what a
// device missed while it was away. after 0 begins with the oldest event that is
// kept. A repeated event comes twice, with the same ID.
//
// An error comes last: it wraps ErrCursorExpired where events after the cursor
// may have been removed or the cursor is past the stream's end, ErrNoStream or
// ErrNotPermitted, or is the context's. After ErrCursorExpired nothing was
// yielded before it. What isn't an event is left out.
func (c *Client) Missed(ctx context.Context, app, user string, after, through uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r, err := c.missedReader(ctx, app, user, after)
		for err == nil {
			var e Event
			var ok bool
			if e, ok, err = r.read(ctx, through); err == nil && (!ok || !yield(e, nil)) {
				return
			}
		}
		yield(Event{}, fmt.Errorf("missed events on %s: %w", c.names.Subject(DeletedSubject(app, user)), c.explainStream(c.names.EventsStream(), err)))
	}
}

// missedReader returns a reader that stands behind after. It checks what the
// stream retains once it has the first events, so that none was removed between.
func (c *Client) missedReader(ctx context.Context, app, user string, after uint64) (*reader, error) {
	if err := checkUser(app, user); err != nil {
		return nil, err
	}
	stream, err := c.js.Stream(ctx, c.names.EventsStream())
	if err != nil {
		return nil, err
	}
	r := newReader(c.names, app, user)
	r.stream = stream
	if err := r.begin(ctx, after); err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	return &r, r.checkCursor(ctx, info, after)
}

// read returns the next event up to through; false when there is none.
func (r *reader) read(ctx context.Context, through uint64) (Event, bool, error) {
	for {
		l, err := r.earliest(ctx)
		if err != nil || l == nil || l.next.Sequence > through {
			return Event{}, false, err
		}
		raw := l.next
		l.next = nil
		e, err := r.names.ParseEvent(raw.Subject, raw.Header, raw.Data)
		if err != nil {
			continue // a later version's, or nobody's: no retry would read it
		}
		e.Sequence = raw.Sequence
		return e, true, nil
	}
}
