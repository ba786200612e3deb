package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// follower receives the events of one command.
type follower struct {
	cmd       conversation.Command
	feed      *conversation.Feed
	open      []string // conversations without a final event, in the command's order
	failed    map[string]bool
	lookBack  bool // a command of this id may have finished before: its events may be old
	followErr error
}

// follow begins to listen: to what comes from now on, or with lookBack also to all
// that the stream still has. Follow first, delete then: nothing is missed.
func follow(ctx context.Context, client *conversation.Client, cmd conversation.Command, lookBack bool) (*follower, error) {
	f := &follower{cmd: cmd, failed: map[string]bool{}, lookBack: lookBack}
	for _, t := range cmd.Conversations {
		f.open = append(f.open, t.ID)
	}
	var from []conversation.FollowOption
	if lookBack {
		from = append(from, conversation.WithAfter(0))
	}
	var err error
	f.feed, err = client.Follow(ctx, cmd.AppID, cmd.UserID, from...)
	return f, err
}

func (f *follower) close() { f.feed.Close() }

// secondThought is how long one waits after a failure that may be an old one: a
// retry from the dead letters may have mended it, and its event comes at once.
const secondThought = time.Second

// next returns the next event of the command; false when all its conversations
// are final.
func (f *follower) next(ctx context.Context) (conversation.Event, bool, error) {
	for len(f.open) > 0 || f.lookBack && len(f.failed) > 0 {
		limit, cancel := ctx, context.CancelFunc(func() {})
		if len(f.open) == 0 {
			limit, cancel = context.WithTimeout(ctx, secondThought)
		}
		e, err := f.feed.Next(limit)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			return conversation.Event{}, false, nil
		case err != nil && f.lookBack && ctx.Err() == nil && !errors.Is(err, nats.ErrConnectionClosed):
			continue // a message that isn't an event, perhaps of long ago
		case err != nil:
			return conversation.Event{}, false, err
		case e.CommandID() == f.cmd.CommandID && f.note(e):
			return e, true, nil
		}
	}
	return conversation.Event{}, false, nil
}

// note keeps count of what is open. It reports whether the event is about one of
// the command's conversations, or about all.
func (f *follower) note(e conversation.Event) bool {
	id := e.ConversationID()
	about := false
	var open []string
	for _, t := range f.cmd.Conversations {
		if t.ID != id && id != "" {
			continue
		}
		about = true
		switch {
		case e.Deleted != nil:
			delete(f.failed, t.ID)
		case e.Failed != nil:
			f.failed[t.ID] = true
		}
	}
	if !about || e.Deleting != nil {
		return about
	}
	for _, o := range f.open {
		if o != id && id != "" {
			open = append(open, o)
		}
	}
	f.open = open
	return true
}
