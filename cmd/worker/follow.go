package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// follower receives the events of one command of a user.
type follower struct {
	cmd      conversation.Command
	feed     *conversation.Feed
	missing  []string // conversations without a final event, in the command's order
	ended    bool
	done     int // deletions that have finished, of a command for all conversations
	failed   map[string]bool
	lookBack bool // a command of this id may have finished before: its events may be old
}

// follow begins to listen: to what comes from now on, or with lookBack also to all
// that the stream still has. Follow first, delete then: nothing is missed.
func follow(ctx context.Context, client *conversation.Client, cmd conversation.Command, lookBack bool) (*follower, error) {
	f := &follower{cmd: cmd, failed: map[string]bool{}, lookBack: lookBack}
	for _, t := range cmd.Conversations {
		f.missing = append(f.missing, t.ID)
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

func (f *follower) stored(conversation.Receipt) {}

// secondThought is how long one waits after a failure that may be an old one: a
// retry from the dead letters may have mended it, and its event comes at once.
const secondThought = time.Second

// next returns the next event of the command; false when it has ended.
func (f *follower) next(ctx context.Context) (conversation.Event, bool, error) {
	for !f.ended || f.lookBack && len(f.failed) > 0 {
		limit, cancel := ctx, context.CancelFunc(func() {})
		if f.ended {
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
	if !f.cmd.AllConversations && id != "" && !slices.ContainsFunc(f.cmd.Conversations, func(t conversation.Target) bool { return t.ID == id }) {
		return false
	}
	switch {
	case e.Deleted != nil:
		delete(f.failed, id)
		f.done++
	case e.Failed != nil && id == "" && !f.cmd.AllConversations:
		for _, t := range f.cmd.Conversations {
			f.failed[t.ID] = true
		}
	case e.Failed != nil:
		f.failed[id] = true
	case e.AllDeleted != nil:
		f.done = int(e.AllDeleted.Conversations)
		f.ended = true
	}
	if e.Deleted != nil || e.Failed != nil {
		f.missing = slices.DeleteFunc(f.missing, func(m string) bool { return m == id })
		f.ended = id == "" || !f.cmd.AllConversations && len(f.missing) == 0
	}
	return true
}

var errCommandFailed = errors.New("the command failed: see its event")

func (f *follower) outcome() error {
	switch n := len(f.failed); {
	case n == 0:
		return nil
	case f.failed[""]:
		return errCommandFailed
	case f.cmd.AllConversations:
		return fmt.Errorf("%d of %s failed: see the events", n, purge.Count(n+f.done, "conversation"))
	default:
		return fmt.Errorf("%d of %s failed: see the events", n, purge.Count(len(f.cmd.Conversations), "conversation"))
	}
}

func (f *follower) open() string {
	what := "all conversations"
	if !f.cmd.AllConversations {
		quoted := make([]string, len(f.missing))
		for i, id := range f.missing {
			quoted[i] = printable(strconv.Quote(id))
		}
		what = strings.Join(quoted, ", ")
	}
	what += ": " + continues(f.cmd)
	if f.lookBack {
		what += "; if the id was used before, check that it was for the same conversations"
	}
	return what
}
