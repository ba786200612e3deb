package conversation

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/natserr"
)

// FollowOption changes one Follow.
type FollowOption func(*followConfig)

type followConfig struct {
	after    uint64
	hasAfter bool
}

// WithAfter begins after the event with that Sequence instead of now: a
// device's cursor. 0 begins with the oldest event that is kept. Where events
// after seq may have been removed, Follow fails with ErrCursorExpired.
func WithAfter(seq uint64) FollowOption {
	return func(c *followConfig) { c.after, c.hasAfter = seq, true }
}

// Follow returns the events of one user from now on, or as WithAfter says, and
// the progress of running deletions. What is published after Follow has
// returned is not missed, so follow first and delete then. The feed goes on by
// itself after a lost connection. Close it when done.
//
// The errors wrap ErrNoStream, ErrNotPermitted or ErrCursorExpired, or are the
// context's.
func (c *Client) Follow(ctx context.Context, app, user string, opts ...FollowOption) (*Feed, error) {
	var cfg followConfig
	for _, opt := range opts {
		opt(&cfg)
	}
	if err := checkUser(app, user); err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	ctx, done := c.untilDenied(ctx, "$JS.")
	defer done()
	f := &Feed{
		reader:  newReader(c.names, app, user),
		nc:      c.nc,
		inbox:   newInbox(c.names),
		closed:  make(chan struct{}),
		due:     true,
		backoff: hintPoll,
	}
	if err := f.start(ctx, c, app, user, cfg); err != nil {
		f.Close()
		return nil, fmt.Errorf("follow %s: %w", c.names.Subject(DeletedSubject(app, user)), orDenied(ctx, err))
	}
	return f, nil
}

func checkUser(app, user string) error {
	if err := checkID("app_id", app, 1, MaxAppID); err != nil {
		return err
	}
	if err := checkID("user_id", user, 1, MaxUserID); err != nil {
		return err
	}
	return nil
}

// start listens first and reads the stream's position then, so that nothing
// falls between the two.
func (f *Feed) start(ctx context.Context, c *Client, app, user string, cfg followConfig) error {
	f.status = f.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	var subjects []string
	for _, l := range f.lanes {
		subjects = append(subjects, l.subject)
	}
	for _, subject := range append(subjects, c.names.Subject(DeletingSubject(app, user))) {
		sub, err := f.nc.Subscribe(subject, f.inbox.receive)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		f.subs = append(f.subs, sub)
	}
	if err := f.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for _, sub := range f.subs {
		if err := c.refused(natserr.Subscribe, sub.Subject); err != nil {
			return err
		}
	}
	stream, err := c.js.Stream(ctx, c.names.EventsStream())
	if err != nil {
		return c.explainStream(c.names.EventsStream(), err)
	}
	f.stream = stream
	return f.position(ctx, c, cfg)
}

// position sets the cursors, and reads once to know that it may.
func (f *Feed) position(ctx context.Context, c *Client, cfg followConfig) error {
	info := f.stream.CachedInfo()
	from := info.State.LastSeq
	if cfg.hasAfter {
		from = cfg.after
	}
	if err := f.begin(ctx, from); err != nil {
		return c.explainStream(c.names.EventsStream(), err)
	}
	if !cfg.hasAfter {
		return nil
	}
	return f.checkCursor(ctx, info, from)
}
