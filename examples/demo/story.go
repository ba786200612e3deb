package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// timeout is how long one wait may take; each is for something that takes far
	// less on any machine.
	timeout = 2 * time.Minute
	// leastRate is the slowest purge that is waited for, in messages a second.
	leastRate = 10_000
)

// story is the demo, step by step, and what it must remember for the check at
// the end.
type story struct {
	options
	*stack
	out *printer

	chats         []history
	large         history
	phone, laptop *device
	presence      *presence
	crowd         *crowd

	build     time.Duration
	deletions int    // asked for; each has one event
	doomed    loaded // what they cover
	later     int    // messages to alice after she had deleted
	bobWrote  int    // bob's own copies of those, which he keeps
	bobs      copies // bob's copies, before everything
	changed   int    // ledger rows that a duplicate has changed
	takeover  takeover

	shared         *sharedGroups
	sharedAfterOne int64 // its rows when one of two members had deleted it
	toldErased     int   // events
}

func newStory(o options, out *printer, s *stack) *story {
	return &story{
		options: o, stack: s, out: out,
		phone: &device{id: "alice-phone"}, laptop: &device{id: "alice-laptop"},
	}
}

// tell tells it all. Its error is what could not be shown, or errNotHeld.
func (s *story) tell() error {
	began := time.Now()
	s.out.title("lethe", "deletes a conversation from the server and from the user's devices")
	for _, scene := range []func() error{
		s.servers, s.histories, s.syncOff, s.syncOn, s.duplicates, s.lateWorker, s.manyChats, s.hugeGroup, s.sharedLog, s.verify,
	} {
		if err := scene(); err != nil {
			return err
		}
	}
	s.out.print("")
	s.out.print(s.out.styled(green, "All of it held.") + fmt.Sprintf(" %s, and %s for the build.",
		lasted(time.Since(began)-s.build), lasted(s.build)))
	return nil
}

// limited is a context for one wait, longer where the options ask for more.
func (s *story) limited() (context.Context, context.CancelFunc) {
	limit := timeout + 2*s.ackWait + time.Duration(s.options.group/leastRate)*time.Second
	return context.WithTimeoutCause(s.ctx, limit, fmt.Errorf("what was awaited did not come within %v", limit))
}

func (s *story) servers() error {
	s.out.step("Real servers on this machine, and the worker's own binary")
	if err := s.startServers(); err != nil {
		return err
	}
	const building = "go build ./cmd/worker"
	lap := time.Now()
	if err := s.out.during(building, s.stack.build); err != nil {
		return err
	}
	s.build = time.Since(lap)
	s.out.say(building, lasted(s.build))
	lap = time.Now()
	if err := s.call("setup", "--sample-schema", s.ackFlag()); err != nil {
		return err
	}
	s.out.say("worker setup --sample-schema "+s.ackFlag(), lasted(time.Since(lap)))
	s.out.note("(--ack-wait: how soon another worker takes over after a crash; default 30s)")
	return nil
}

// ackFlag makes the take-over after the crash quick.
func (s *story) ackFlag() string { return "--ack-wait=" + s.ackWait.String() }

func (s *story) histories() error {
	s.chats = chatsOf(s.options.chats)
	s.large = groupOf(s.chats, s.options.group)
	s.out.step("Histories")
	what := fmt.Sprintf("%s of %d messages, of alice", count(len(s.chats), "chat"), messagesPerChat)
	if others := (len(s.chats) - 1) / chatsPerUser; others > 0 {
		what += " and " + count(others, "other")
	}
	if err := s.loadDoomed(what, s.chats); err != nil {
		return err
	}
	what = fmt.Sprintf("alice's copy of %s: %s messages", group, number(s.options.group))
	if err := s.loadDoomed(what, []history{s.large}); err != nil {
		return err
	}
	lap := time.Now()
	kept, err := s.load(bobsOf(), func(int64) {})
	if err != nil {
		return err
	}
	if s.bobs, err = s.bobsCopies(); err != nil {
		return err
	}
	s.out.say(fmt.Sprintf("bob's own copies, which must stay: %s messages", number(kept.messages)), lasted(time.Since(lap)))
	lap = time.Now()
	const vacuum = "vacuum, as in a database that has run for a while"
	if err := s.out.during(vacuum, func() error {
		_, err := s.db.Exec(s.ctx, "vacuum (analyze) chat.messages")
		return err
	}); err != nil {
		return err
	}
	s.out.say(vacuum, lasted(time.Since(lap)))
	s.out.note("(seq: a message's number. Here each user has one counter for all chats.)")
	return s.audience()
}

func (s *story) loadDoomed(what string, hs []history) error {
	total := int64(0)
	for _, h := range hs {
		total += h.messages()
	}
	began := time.Now()
	n, err := s.load(hs, newPassingBar(s.out, total).set)
	if err != nil {
		return err
	}
	took := time.Since(began)
	s.out.say(what, rate(n.messages, took, "rows"), lasted(took))
	s.doomed.messages += n.messages
	s.doomed.reactions += n.reactions
	s.doomed.attachments += n.attachments
	return nil
}

// audience begins to listen: alice's presence service, and everybody's events.
func (s *story) audience() error {
	var err error
	if s.crowd, err = listen(s.nc); err != nil {
		return err
	}
	if s.presence, err = follow(s.ctx, s.client, alice, s.phone, s.laptop); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.presence.feed.Close(); return nil })
	return nil
}

func (s *story) syncOff() error {
	s.out.step("Multi-client sync is off: only the device that asked is notified")
	if err := s.work(); err != nil {
		return err
	}
	return s.deleteAndWatch(deletion(alice, s.phone.id, s.chats[0].conversation, 0), 1)
}

func (s *story) syncOn() error {
	s.out.step("Multi-client sync is on: all of alice's devices are notified")
	if err := s.call("settings", "set", "--app="+app, "--multi-client-sync=true"); err != nil {
		return err
	}
	s.out.say("worker settings set --app=" + app + " --multi-client-sync=true")
	return s.deleteAndWatch(deletion(alice, s.laptop.id, s.chats[1].conversation, 0), 2)
}

// work starts a worker.
func (s *story) work() error {
	began := time.Now()
	if err := s.startWorker(s.limits()); err != nil {
		return err
	}
	s.out.say(fmt.Sprintf("worker run, as process %d", s.worker.cmd.Process.Pid), "ready in "+lasted(time.Since(began)))
	return nil
}

// limits are variables of `worker run`: a small group needs small batches, so that the
// worker can be killed in the middle of it.
func (s *story) limits() []string {
	if s.options.group >= largeGroup {
		return nil
	}
	rows := max(50, s.options.group/batches)
	return []string{fmt.Sprintf("LETHE_TEST_LIMITS=max-rows=%d", rows), fmt.Sprintf("LETHE_EXPRESS_ROWS=%d", min(rows, 1000))}
}

// deleteAndWatch publishes a command of alice's and shows which devices hear of
// its end.
func (s *story) deleteAndWatch(cmd conversation.Command, devices int) error {
	began := time.Now()
	if err := s.ask(cmd); err != nil {
		return err
	}
	s.out.say(fmt.Sprintf("%s deletes %s", cmd.DeviceID, cmd.Conversations[0].ID))
	return s.watch(cmd, devices, began)
}

// ask publishes a command of alice's.
func (s *story) ask(cmd conversation.Command) error {
	s.presence.askedBy[cmd.CommandID] = cmd.DeviceID
	s.deletions++
	_, err := s.client.Delete(s.ctx, cmd)
	return err
}

// watch shows which devices hear of the end of a command.
func (s *story) watch(cmd conversation.Command, devices int, began time.Time) error {
	ctx, cancel := s.limited()
	defer cancel()
	e, told, err := s.presence.until(ctx, cmd.CommandID)
	if err != nil {
		return err
	}
	s.tellDevices(e, told, "after "+lasted(time.Since(began)))
	if len(told) != devices {
		return fmt.Errorf("%s was sent to %s; expected %d", e.ConversationID, count(len(told), "device"), devices)
	}
	return nil
}

// tellDevices prints what each device got, or that it got nothing.
func (s *story) tellDevices(e conversation.Deleted, told []*device, took string) {
	for _, d := range s.presence.devices {
		if !slices.Contains(told, d) {
			s.out.say(fmt.Sprintf("  %-12s   %s", d.id, s.out.styled(dim, "is not notified")))
			continue
		}
		s.out.say(fmt.Sprintf("  %-12s %s %s: %s through seq %s", d.id, s.out.styled(cyan, "←"), e.ConversationID,
			count(e.MessagesDeleted, "message"), number(e.ThroughSeq)), took)
	}
}
