package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// follower receives the events of one command of a user.
type follower struct {
	cmd     conversation.Command
	client  *conversation.Client
	feed    *conversation.Feed
	receipt conversation.Receipt
	missing []string // conversations without a final event, in the command's order
	ended   bool
	done    int // deletions that have finished, of a command for all conversations
	failed  map[string]bool

	// A command of this id may have finished before. Its events are in the stream up to before: known
	// are those that fit this command, and used says what else the id was for.
	lookBack bool
	before   uint64
	known    []conversation.Event
	used     string
	settled  bool          // a worker has taken the command off its stream
	at       time.Time     // since when, or since when the stream has it
	asked    time.Time     // when it was last known whether one has
	poll     time.Duration // before that is asked again
	told     bool          // no refusal has come in time
}

// follow begins to listen: to what comes from now on, or with lookBack also to all
// that the stream still has, up to the sequence before. Follow first, delete then: nothing is missed.
func follow(ctx context.Context, client *conversation.Client, cmd conversation.Command, lookBack bool, before uint64) (*follower, error) {
	f := &follower{cmd: cmd, client: client, failed: map[string]bool{}, lookBack: lookBack, before: before, poll: knownPoll}
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

func (f *follower) stored(r conversation.Receipt) {
	f.receipt, f.at = r, time.Now()
	f.asked = f.at
}

const (
	// usedWait is how long a worker has to refuse a command whose id was used for another one, before
	// that is said without it, and askWait to answer one of which nobody learns whether it has left its stream.
	usedWait, askWait = time.Second, 5 * time.Second
	// settledWait is how long the refusal of a command that has left its stream may take to be read.
	settledWait = 400 * time.Millisecond
	// knownPoll is how soon it is asked whether the command has left its stream; then less and less often, up
	// to commandPoll.
	knownPoll = 100 * time.Millisecond
)

// next returns the next event of the command; false when it has ended.
func (f *follower) next(ctx context.Context) (conversation.Event, bool, error) {
	for !f.ended {
		if f.told && f.answered() {
			return f.earlier()
		}
		limit, cancel := ctx, context.CancelFunc(func() {})
		if f.answered() {
			limit, cancel = context.WithTimeout(ctx, f.poll)
		}
		e, err := f.feed.Next(limit)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			if f.told, err = f.decided(ctx); err != nil {
				return conversation.Event{}, false, err
			}
		case err != nil:
			return conversation.Event{}, false, err
		case e.CommandID() != f.cmd.CommandID:
		case f.lookBack && e.Sequence > 0 && e.Sequence <= f.before:
			f.recall(e)
		case f.note(e):
			return e, true, nil
		}
	}
	return conversation.Event{}, false, nil
}

// recall keeps an event of an earlier command of the id. Failures aren't kept: a command that
// comes again has an event of its own for each.
func (f *follower) recall(e conversation.Event) {
	if e.Failed != nil || e.Erased != nil {
		return
	}
	if used := usedFor(f.cmd, e); used != "" {
		f.used = used
		return
	}
	if e.AllDeleted != nil || !f.cmd.AllConversations { // whose deletions may be any number
		f.known = append(f.known, e)
	}
}

// usedFor says what the event's command asked for that cmd doesn't; "" if they may be the same.
func usedFor(cmd conversation.Command, e conversation.Event) string {
	device := ""
	switch d, all := e.Deleted, e.AllDeleted; {
	case d != nil && d.Scope == conversation.ScopeEveryone:
		return "to delete " + printable(strconv.Quote(d.ConversationID)) + " for everyone"
	case d != nil && !cmd.AllConversations && !slices.ContainsFunc(cmd.Conversations, func(t conversation.Target) bool { return t.ID == d.ConversationID }):
		return "for " + printable(strconv.Quote(d.ConversationID))
	case d != nil && d.HistoryKept && !cmd.KeepHistory:
		return "with --keep-history"
	case d != nil && !d.HistoryKept && cmd.KeepHistory:
		return "without --keep-history"
	case d != nil && beyond(cmd, d):
		return fmt.Sprintf("for %s through seq %d", printable(strconv.Quote(d.ConversationID)), d.ThroughSeq)
	case d != nil:
		device = d.OriginDeviceID
	case all != nil && !cmd.AllConversations:
		return "for all conversations"
	case all != nil:
		device = all.OriginDeviceID
	}
	switch {
	case device == cmd.DeviceID:
		return ""
	case device == "":
		return "without a device"
	}
	return "by the device " + printable(strconv.Quote(device))
}

// beyond reports whether d goes further than cmd's --through-seq: a boundary may be below it, and never above.
func beyond(cmd conversation.Command, d *conversation.Deleted) bool {
	return slices.ContainsFunc(cmd.Conversations, func(t conversation.Target) bool {
		return t.ID == d.ConversationID && t.ThroughSeq != nil && d.ThroughSeq > *t.ThroughSeq
	})
}

// answered reports whether earlier events of the id say what becomes of the command.
func (f *follower) answered() bool {
	if f.used != "" {
		return true
	}
	known := func(right func(conversation.Event) bool) bool { return slices.ContainsFunc(f.known, right) }
	if f.cmd.AllConversations {
		return known(func(e conversation.Event) bool { return e.AllDeleted != nil })
	}
	return len(f.known) > 0 && !slices.ContainsFunc(f.missing, func(id string) bool {
		return !known(func(e conversation.Event) bool { return e.ConversationID() == id })
	})
}

// decided reports whether a refusal would have been seen. A worker stores it before it takes the command off the
// stream. As long as it is there nobody knows whether an earlier command of the id was the same: its events don't
// have all that the two may differ in.
func (f *follower) decided(ctx context.Context) (bool, error) {
	var failed error
	if !f.settled {
		there, err := f.client.Unfinished(ctx, f.receipt)
		switch {
		case err != nil:
			failed = err
		case there:
			f.asked = time.Now()
		default:
			f.settled, f.at, f.poll = true, time.Now(), knownPoll
		}
	}
	switch {
	case f.settled:
		return time.Since(f.at) > settledWait, nil
	case f.used != "":
		return time.Since(f.at) > usedWait, nil
	case failed != nil && ctx.Err() == nil && time.Since(f.asked) > askWait:
		return false, fmt.Errorf("an earlier command %s has ended, and whether this one is the same isn't known: %w; %s",
			printable(f.cmd.CommandID), failed, continues(f.cmd))
	}
	f.poll = min(2*f.poll, commandPoll)
	return false, nil
}

// earlier is the next event of an earlier command of the id, or that it was another one.
func (f *follower) earlier() (conversation.Event, bool, error) {
	if f.used != "" {
		return conversation.Event{}, false, fmt.Errorf("%s: command %s has been used before, %s: a new command needs a new --command-id",
			conversation.ReasonCommandIDReused, printable(f.cmd.CommandID), f.used)
	}
	e := f.known[0]
	f.known = f.known[1:]
	f.note(e)
	return e, true, nil
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
	if f.answered() {
		what += "; an earlier command of this id has ended, and no worker has said yet whether this one is the same"
	}
	return what
}
