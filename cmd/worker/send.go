package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/broker"
)

// sendCommand is `worker send`.
type sendCommand struct {
	shardConfig
	natsConfig
	jsonConfig
	App           string        `name:"app" required:"" placeholder:"APP" help:"The app."`
	User          string        `name:"user" required:"" placeholder:"USER" help:"The user whose history is deleted; with --everyone, who asks."`
	Device        string        `name:"device" placeholder:"DEVICE" help:"The device that asks."`
	Conversations []string      `name:"conversation" type:"target" sep:"none" placeholder:"ID" help:"A conversation to delete; up to 100 times."`
	ThroughSeqs   []int64       `name:"through-seq" type:"through-seq" sep:"none" placeholder:"N" help:"Last seq to delete of the --conversation before it. Without it: all that was sent until now."`
	All           bool          `name:"all-conversations" help:"Delete all conversations of the user, instead of --conversation."`
	Everyone      bool          `name:"everyone" help:"Delete the history of every member. NATS must let this user publish on conversation.delete_everyone.APP."`
	KeepHistory   bool          `name:"keep-history" help:"Remove the conversation from the list only; its messages stay."`
	KeepRow       bool          `name:"keep-conversation" help:"Delete the messages only; the conversation stays in the list."`
	CommandID     string        `name:"command-id" placeholder:"ID" help:"The command's id. The same id is the same deletion again. Without it: a new one."`
	Wait          bool          `name:"wait" help:"Show progress and wait for the events."`
	Timeout       time.Duration `name:"timeout" placeholder:"DURATION" default:"1m" range:"1ms..720h" help:"Timeout of publishing, and of --wait."`

	order targetOrder // both flags in the order of the command line
}

// Help is the long form of the subcommand's help.
func (c *sendCommand) Help() string {
	return `Prints the command's id and its sequence in the stream. With --wait it also prints each event, and fails if a
deletion fails or isn't finished in time. The command continues nevertheless, and worker status shows its progress.
A deletion whose event says "hidden" has ended: what the other members still read is erased when they have deleted it.

    worker send --app demo --user alice --conversation c2c_bob --wait
    worker send --app demo --user alice --device phone --conversation c2c_bob --conversation group_42 --through-seq 1200
    worker send --app demo --user alice --conversation c2c_bob --wait --json | jq -r .messages_deleted
    worker send --app demo --user alice --all-conversations --wait
    worker send --app demo --user alice --conversation group_42 --everyone --wait`
}

func (c *sendCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.natsConfig.check(&p)
	p = append(p, c.order.problems...)
	given := map[string]bool{
		"conversation": len(c.order.targets) > 0, "all-conversations": c.All, "everyone": c.Everyone,
		"keep-history": c.KeepHistory, "keep-conversation": c.KeepRow,
	}
	for _, pair := range exclusive {
		if given[pair[0]] && given[pair[1]] {
			return append(p, fmt.Errorf("--%s and --%s are mutually exclusive", pair[0], pair[1]))
		}
	}
	if !c.All && len(c.order.targets) == 0 {
		return append(p, errors.New("no conversations given: expected --conversation or --all-conversations"))
	}
	cmd := c.command()
	if cmd.CommandID == "" {
		cmd.CommandID = "-" // one is made later
	}
	var invalid *conversation.InvalidError
	if err := cmd.Validate(); errors.As(err, &invalid) {
		p = append(p, fmt.Errorf("%s: %w", flagOf(invalid.Field), err))
	}
	return p
}

// exclusive are the flags that contradict each other.
var exclusive = [][2]string{
	{"conversation", "all-conversations"}, {"everyone", "all-conversations"}, {"everyone", "keep-history"}, {"keep-conversation", "keep-history"},
}

// flagOf names the flag that a field of the command comes from.
func flagOf(field string) string {
	switch {
	case strings.HasPrefix(field, "conversations"):
		if strings.HasSuffix(field, "through_seq") {
			return labelOf("through-seq")
		}
		return labelOf("conversation")
	case field == "command_id":
		return labelOf("command-id")
	}
	return labelOf(strings.TrimSuffix(field, "_id"))
}

func (c *sendCommand) command() conversation.Command {
	cmd := conversation.Command{
		CommandID: c.CommandID, AppID: c.App, UserID: c.User, DeviceID: c.Device,
		Conversations: c.order.targets, AllConversations: c.All, KeepHistory: c.KeepHistory, KeepConversation: c.KeepRow,
	}
	if c.Everyone {
		cmd.Scope = conversation.ScopeEveryone
	}
	return cmd
}

// commandEvents are the events of one command, from before it is published.
type commandEvents interface {
	stored(r conversation.Receipt)
	// next returns the next event; false when the command has ended.
	next(ctx context.Context) (conversation.Event, bool, error)
	// outcome says what has failed, open what hasn't ended.
	outcome() error
	open() string
	close()
}

// receipt is the stream's reply, for programs.
type receipt struct {
	Type           string `json:"type"`
	CommandID      string `json:"command_id"`
	StreamSequence uint64 `json:"stream_sequence"`
}

func (c *sendCommand) run(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	nc, err := broker.Dial(c.brokerConfig("lethe-send"))
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := conversation.NewClient(nc, conversation.WithPrefix(c.SubjectPrefix), conversation.WithDomain(c.NATSDomain),
		conversation.WithShard(func(conversation.Command) string { return c.Shard }))
	if err != nil {
		return err
	}
	cmd := c.command()
	cmd.RequestedAt = time.Now()
	if cmd.CommandID == "" {
		cmd.CommandID = conversation.NewCommandID()
	}
	var events commandEvents
	if c.Wait {
		if c.Everyone {
			events, err = followEveryone(ctx, c.names(), nc, client, cmd)
		} else {
			events, err = c.followUser(ctx, nc, client, cmd)
		}
		if err != nil {
			return err
		}
		defer events.close()
	}
	got, err := client.Delete(ctx, cmd)
	if err != nil {
		return err
	}
	if err := c.printReceipt(t, got); err != nil || !c.Wait {
		return err
	}
	events.stored(got)
	return c.wait(ctx, t, events)
}

// followUser follows a command of one user. One of a given id may have finished before: its events are
// stored, and the stream drops them where they are published again.
func (c *sendCommand) followUser(ctx context.Context, nc *nats.Conn, client *conversation.Client, cmd conversation.Command) (*follower, error) {
	if c.CommandID == "" {
		return follow(ctx, client, cmd, false, 0)
	}
	js, err := jetstream.New(nc)
	if c.NATSDomain != "" {
		js, err = jetstream.NewWithDomain(nc, c.NATSDomain)
	}
	if err != nil {
		return nil, err
	}
	before := uint64(0)
	if stream, err := js.Stream(ctx, c.names().EventsStream()); err == nil { // if not, Follow says why
		before = stream.CachedInfo().State.LastSeq
	}
	return follow(ctx, client, cmd, true, before)
}

func (c *sendCommand) printReceipt(t terminal, r conversation.Receipt) error {
	if c.JSON {
		return t.printJSON(receipt{"conversation.delete", r.CommandID, r.Sequence})
	}
	return t.printf("command %s stored at %d\n", printable(r.CommandID), r.Sequence)
}

// wait prints the events until the command has ended.
func (c *sendCommand) wait(ctx context.Context, t terminal, events commandEvents) error {
	show := newProgress(t, c.JSON)
	for {
		e, more, err := events.next(ctx)
		switch {
		case err != nil:
			show.clear()
			return c.unfinished(ctx, events.open(), err)
		case !more:
			return events.outcome()
		}
		if err := show.event(e); err != nil {
			return err
		}
	}
}

// unfinished is the error that names what is still open when the wait ends.
func (c *sendCommand) unfinished(ctx context.Context, open string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("not finished within %v: %s (%w)", c.Timeout, open, err)
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; not finished: %s", open)
	}
	return err
}

// continues says how the command's progress can be seen from now on.
func continues(cmd conversation.Command) string {
	return "the command is stored and continues: `worker status " + cmd.CommandID + "` shows its progress, `worker top` whether a worker runs"
}

// targetOrder are --conversation and --through-seq as they stand on the command
// line: each --through-seq belongs to the --conversation before it.
type targetOrder struct {
	targets  []conversation.Target
	problems problems
}

// targetMapper reads a --conversation.
type targetMapper struct{ order *targetOrder }

// Decode implements kong.Mapper.
func (m targetMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var id string
	if err := ctx.Scan.PopValueInto("a conversation", &id); err != nil {
		return err
	}
	m.order.targets = append(m.order.targets, conversation.Target{ID: id})
	target.Set(reflect.Append(target, reflect.ValueOf(id)))
	return nil
}

// throughMapper reads a --through-seq.
type throughMapper struct{ order *targetOrder }

// Decode implements kong.Mapper.
func (m throughMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("a seq", &text); err != nil {
		return err
	}
	const flag = "through-seq"
	o := m.order
	seq, err := strconv.ParseInt(text, 10, 64)
	last := len(o.targets) - 1
	switch {
	case err != nil || seq < 0:
		o.problems.add(flag, "%q is not a seq: expected a whole number, 0 or more", text)
	case last < 0:
		o.problems.add(flag, "%d belongs to no conversation: expected it after its --conversation", seq)
	case o.targets[last].ThroughSeq != nil:
		o.problems.add(flag, "%d is the second for --conversation %q: expected one", seq, o.targets[last].ID)
	default:
		o.targets[last].ThroughSeq = &seq
	}
	target.Set(reflect.Append(target, reflect.ValueOf(seq)))
	return nil
}
