package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// duplicates sends a command again that has finished long ago, after bob has written once more.
func (s *story) duplicates() error {
	s.out.step("A duplicate changes nothing")
	bobs := s.phone.deleted[0]
	seq, err := s.write(bob, inbox{alice, bobs.ConversationID}, inbox{bob, "c2c_" + alice})
	if err != nil {
		return err
	}
	s.later++
	s.bobWrote++
	s.out.say(fmt.Sprintf("bob writes again: seq %s, and the conversation is back", number(seq)))
	before, err := s.ledgerRow(bobs.CommandID)
	if err != nil {
		return err
	}

	cmd := deletion(alice, s.phone.id, bobs.ConversationID, 0)
	cmd.CommandID, cmd.RequestedAt = bobs.CommandID, bobs.RequestedAt
	if _, err := s.client.Delete(s.ctx, cmd); err != nil {
		return err
	}
	if err := s.settled(); err != nil {
		return err
	}
	ctx, cancel := s.limited()
	defer cancel()
	if err := s.crowd.awaitAgain(ctx, conversation.DeletedID(app, cmd.CommandID, bobs.ConversationID), 2); err != nil {
		return err
	}
	s.out.say("the phone sends its command again: the worker finds it in the ledger")
	s.out.note("the same event with the same id goes out again: stream and devices drop it")
	after, err := s.ledgerRow(bobs.CommandID)
	if err == nil && after != before {
		s.changed++
	}
	return err
}

// ledgerRow is all that the ledger has on a command of one conversation.
func (s *story) ledgerRow(command string) (string, error) {
	return one[string](s.ctx, s.db, `select d::text from lethe.deletions d where app_id = $1 and command_id = $2`, app, command)
}

// settled waits until the stream of commands is empty: all are acknowledged.
func (s *story) settled() error {
	ctx, cancel := s.limited()
	defer cancel()
	return until(ctx, 2*time.Millisecond, func() (bool, error) {
		waiting, err := s.waiting(ctx, conversation.CommandsStream)
		return waiting == 0, err
	})
}

// waiting is how many messages a stream has.
func (s *story) waiting(ctx context.Context, stream string) (uint64, error) {
	found, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return found.CachedInfo().State.Msgs, nil
}

// lateWorker shows that the boundary is the moment of the command, and not the
// moment at which a worker gets to it.
func (s *story) lateWorker() error {
	s.out.step("A message that arrives after the delete survives, however late the worker")
	if err := s.stopWorker(); err != nil {
		return err
	}
	daves := s.chats[2].conversation
	cmd := deletion(alice, s.phone.id, daves, 0)
	if err := s.ask(cmd); err != nil {
		return err
	}
	s.out.say(s.phone.id + " deletes " + daves + " while no worker runs")
	seq, err := s.write("dave", inbox{alice, daves}, inbox{"dave", "c2c_" + alice})
	if err != nil {
		return err
	}
	s.later++
	s.out.say(fmt.Sprintf("dave writes: seq %s", number(seq)))
	began := time.Now()
	if err := s.work(); err != nil {
		return err
	}
	if err := s.watch(cmd, 2, began); err != nil {
		return err
	}
	left, err := one[int64](s.ctx, s.db, `select count(*) from chat.messages m join chat.conversations c using (app_id, user_id, conversation_id)
		where m.app_id = $1 and m.user_id = $2 and m.conversation_id = $3 and m.seq = $4 and c.unread_count = 1`, app, alice, daves, seq)
	switch {
	case err != nil:
		return err
	case left != 1:
		return fmt.Errorf("seq %d of %s is not there any more, or its conversation isn't", seq, daves)
	}
	s.out.say(fmt.Sprintf("seq %s is still there; its conversation has 1 unread message", number(seq)))
	return nil
}

// stopWorker is a planned stop.
func (s *story) stopWorker() error {
	began := time.Now()
	if err := s.worker.stop(); err != nil {
		return err
	}
	s.out.say(fmt.Sprintf("kill -TERM %d: the worker has stopped, exit status 0", s.worker.cmd.Process.Pid), lasted(time.Since(began)))
	return nil
}

// manyChats deletes all chats that are left, one command each.
func (s *story) manyChats() error {
	rest := s.chats[3:]
	if len(rest) == 0 {
		return nil
	}
	s.out.step("The other " + count(len(rest), "chat") + " are deleted, with one command each")
	commands := make([]conversation.Command, len(rest))
	for i, c := range rest {
		commands[i] = deletion(c.user, c.user+"-phone", c.conversation, 0)
		if c.user == alice {
			s.presence.askedBy[commands[i].CommandID] = s.phone.id
		}
	}
	ctx, cancel := s.limited()
	defer cancel()
	began := time.Now()
	if err := publishAll(ctx, s.client, commands); err != nil {
		return err
	}
	published := time.Since(began)
	s.deletions += len(commands)
	if err := s.crowd.await(ctx, s.deletions); err != nil {
		return err
	}
	took := time.Since(began)
	s.out.say("published by package conversation", rate(len(commands), published, "commands"), lasted(published))
	s.out.say("from the first command to the last event", rate(len(commands), took, "deletions"), lasted(took))
	s.out.note("that is %s, child rows included", rate(len(commands)*messagesPerChat, took, "messages"))
	return nil
}
