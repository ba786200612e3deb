package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/natserr"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// everyoneBuffer is how many events may wait to be printed; more are dropped, which
	// loses lines of output and nothing else.
	everyoneBuffer = 1 << 16
	// commandPoll is the longest time between two polls for a command in its stream.
	commandPoll = time.Second
)

// everyone receives the events of a command for everyone, whoever the members are. Nobody
// tells who the last of them is: such a command has ended when it has left its stream.
type everyone struct {
	names    conversation.Names
	cmd      conversation.Command
	client   *conversation.Client
	nc       *nats.Conn
	messages chan *nats.Msg
	subs     []*nats.Subscription
	receipt  conversation.Receipt
	ended    bool
	nextPoll time.Time
	wait     time.Duration // before the poll after the next one
	seen     map[string]bool
	deleted  int
	failed   int
	whole    bool // the command failed, and not one deletion
}

// followEveryone begins to listen to the events of all users of the app.
func followEveryone(ctx context.Context, names conversation.Names, nc *nats.Conn, client *conversation.Client, cmd conversation.Command) (*everyone, error) {
	f := &everyone{names: names, cmd: cmd, client: client, nc: nc, messages: make(chan *nats.Msg, everyoneBuffer), seen: map[string]bool{}, wait: commandPoll / 32}
	app := conversation.EscapeToken(cmd.AppID)
	for _, kind := range []string{conversation.TypeDeleted, conversation.TypeDeleteFailed, conversation.TypeDeleting} {
		sub, err := nc.ChanSubscribe(names.Subject(kind+"."+app+".*"), f.messages)
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		f.subs = append(f.subs, sub)
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if denial, denied := natserr.AsDenial(nc.LastError()); denied {
		return nil, denial
	}
	return f, nil
}

func (f *everyone) close() {
	for _, sub := range f.subs {
		_ = sub.Unsubscribe() // fails only where the connection is closed, and with it the subscription
	}
}

// stored notes where the command is.
func (f *everyone) stored(r conversation.Receipt) { f.receipt = r }

// next returns the next event of the command; false when it has left its stream and all
// that was published before has been returned.
func (f *everyone) next(ctx context.Context) (conversation.Event, bool, error) {
	for {
		select {
		case m := <-f.messages:
			if e, about := f.read(m); about {
				return e, true, nil
			}
			continue
		default:
		}
		if f.ended {
			return conversation.Event{}, false, nil
		}
		timer := time.NewTimer(time.Until(f.nextPoll))
		select {
		case m := <-f.messages:
			timer.Stop()
			if e, about := f.read(m); about {
				return e, true, nil
			}
		case <-timer.C:
			if err := f.poll(ctx); err != nil {
				return conversation.Event{}, false, err
			}
		case <-ctx.Done():
			timer.Stop()
			return conversation.Event{}, false, ctx.Err()
		}
	}
}

// poll finds out whether the command has left its stream. Its events are published before:
// after a round trip to the server they are here.
func (f *everyone) poll(ctx context.Context) error {
	unfinished, err := f.client.Unfinished(ctx, f.receipt)
	if err != nil {
		return err
	}
	f.wait = min(2*f.wait, commandPoll)
	f.nextPoll = time.Now().Add(f.wait)
	f.ended = !unfinished
	if !f.ended {
		return nil
	}
	return f.nc.FlushWithContext(ctx)
}

// read returns the event that m is, if it is one of the command's and new.
func (f *everyone) read(m *nats.Msg) (conversation.Event, bool) {
	e, err := f.names.ParseEvent(m.Subject, m.Header, m.Data)
	if err != nil || e.CommandID() != f.cmd.CommandID || f.seen[e.ID] {
		return conversation.Event{}, false
	}
	switch {
	case e.Deleting != nil:
		return e, true // each has an id of its own
	case e.Failed != nil:
		f.failed++
		f.whole = f.whole || e.ConversationID() == ""
	case e.Deleted != nil:
		f.deleted++
	}
	f.seen[e.ID] = true
	return e, true
}

func (f *everyone) outcome() error {
	switch {
	case f.failed == 0:
		return nil
	case f.whole:
		return errCommandFailed
	}
	return fmt.Errorf("%d of %s failed: see the events", f.failed, purge.Count(f.failed+f.deleted, "deletion"))
}

func (f *everyone) open() string { return "the command for everyone: " + continues(f.cmd) }
