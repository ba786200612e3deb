package conversation

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// reader reads the stored events of one user by direct get, in the order of the
// stream. Not safe for concurrent use.
type reader struct {
	names  Names
	stream jetstream.Stream
	lanes  [4]*lane
}

// lane is one of the stored subjects of a user.
type lane struct {
	subject string
	cursor  uint64                  // all up to here has been read
	next    *jetstream.RawStreamMsg // read and not delivered
}

// newReader has no stream and stands before the first event.
func newReader(n Names, app, user string) reader {
	return reader{names: n, lanes: [4]*lane{
		{subject: n.Subject(DeletedSubject(app, user))},
		{subject: n.Subject(DeleteFailedSubject(app, user))},
		{subject: n.Subject(ErasedSubject(app, user))},
		{subject: n.Subject(AllDeletedSubject(app, user))},
	}}
}

// begin reads the first events after a cursor.
func (r *reader) begin(ctx context.Context, after uint64) error {
	for _, l := range r.lanes {
		l.cursor = after
		if err := r.fill(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// earliest reads ahead in all lanes and returns the one whose next event has the lowest
// sequence, nil if there is none. A lane that was empty is asked again after another was
// read: an earlier event may have come between the two, and a cursor must not pass it.
func (r *reader) earliest(ctx context.Context) (*lane, error) {
	again := 0 // the lanes before this one were asked before another was read
	for i, l := range r.lanes {
		known := l.next != nil
		if err := r.fill(ctx, l); err != nil {
			return nil, err
		}
		if !known && l.next != nil {
			again = i
		}
	}
	for _, l := range r.lanes[:again] {
		if err := r.fill(ctx, l); err != nil {
			return nil, err
		}
	}
	var first *lane
	for _, l := range r.lanes {
		if l.next != nil && (first == nil || l.next.Sequence < first.next.Sequence) {
			first = l
		}
	}
	return first, nil
}

// fill reads the lane's next event unless it has one.
func (r *reader) fill(ctx context.Context, l *lane) error {
	if l.next != nil {
		return nil
	}
	raw, err := r.stream.GetMsg(ctx, l.cursor+1, jetstream.WithGetMsgSubject(l.subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", l.subject, err)
	}
	l.next, l.cursor = raw, raw.Sequence
	return nil
}

// checkCursor refuses the cursor that a reader began with, if events after it
// may have gone: by age, from the front of the stream, or by the limit for each
// subject. A subject with nothing after the cursor has lost nothing after it.
func (r *reader) checkCursor(ctx context.Context, info *jetstream.StreamInfo, after uint64) error {
	if after == 0 {
		return nil
	}
	if after+1 < info.State.FirstSeq {
		return fmt.Errorf("%w: it is %d and the stream begins at %d: reload and follow from now",
			ErrCursorExpired, after, info.State.FirstSeq)
	}
	if after > info.State.LastSeq {
		return fmt.Errorf("%w: it is %d and the stream ends at %d, so it belongs to another: reload and follow from now",
			ErrCursorExpired, after, info.State.LastSeq)
	}
	if info.Config.MaxMsgsPerSubject <= 0 {
		return nil
	}
	for _, l := range r.lanes {
		if l.next == nil {
			continue
		}
		counted, err := r.stream.Info(ctx, jetstream.WithSubjectFilter(l.subject))
		if err != nil {
			return fmt.Errorf("count %s: %w", l.subject, err)
		}
		if counted.State.Subjects[l.subject] < uint64(info.Config.MaxMsgsPerSubject) {
			continue
		}
		oldest, err := r.stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(l.subject))
		if err != nil {
			return fmt.Errorf("oldest of %s: %w", l.subject, err)
		}
		if oldest.Sequence > after+1 {
			return fmt.Errorf("%w: it is %d and the oldest kept event of %s is %d: reload and follow from now",
				ErrCursorExpired, after, l.subject, oldest.Sequence)
		}
	}
	return nil
}
