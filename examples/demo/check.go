package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// check is one line of the final table.
type check struct {
	what, expected, found string
	held                  bool
}

// equal expects a number.
func equal[T int | int64](what string, expected, found T) check {
	return check{what, number(expected), number(found), expected == found}
}

// copies are bob's messages from before the story, with a digest of all they are.
type copies struct {
	count  int64
	digest string
}

// bobsCopies reads bob's copies up to the seqs that they had at the beginning.
func (s *story) bobsCopies() (copies, error) {
	var c copies
	err := s.db.QueryRow(s.ctx, `select count(*), md5(string_agg(m::text, '|' order by conversation_id, seq)) from chat.messages m
		where app_id = $1 and user_id = $2 and seq <= $3`, app, bob, bobsOf()[1].last).Scan(&c.count, &c.digest)
	return c, err
}

// verify prints the table: what the story says on the left, what the database and
// the streams have on the right.
func (s *story) verify() error {
	s.out.step("What happened, checked against the database and the streams")
	var table []check
	for _, part := range []func() ([]check, error){s.verifyLedger, s.verifyRows, s.verifyCrash, s.verifyShared, s.verifyEvents, s.verifyStreams} {
		checks, err := part()
		if err != nil {
			return fmt.Errorf("check: %w", err)
		}
		table = append(table, checks...)
	}
	held := s.printTable(table)
	if !held {
		return errNotHeld
	}
	return nil
}

// printTable prints the lines and reports whether all of them held.
func (s *story) printTable(table []check) bool {
	const whatWidth, numberWidth = 48, 12
	row := func(mark, what, expected, found string) {
		gap := strings.Repeat(" ", max(1, whatWidth-utf8.RuneCountInString(what)))
		s.out.print(fmt.Sprintf(" %s %s%s%*s %*s", mark, what, gap, numberWidth, expected, numberWidth, found))
	}
	row(" ", "", "expected", "found")
	held := true
	for _, c := range table {
		mark := s.out.styled(green, "✓")
		if !c.held {
			mark, held = s.out.styled(red, "✗"), false
		}
		row(mark, c.what, c.expected, c.found)
	}
	return held
}

// number64 is the only number of a query about the app, $1.
func (s *story) number64(sql string, args ...any) (int64, error) {
	return one[int64](s.ctx, s.db, sql, append([]any{app}, args...)...)
}

func (s *story) verifyLedger() ([]check, error) {
	done, err := s.number64(`select count(*) from lethe.deletions where app_id = $1 and state = 'done'`)
	if err != nil {
		return nil, err
	}
	all, err := s.number64(`select count(*) from lethe.deletions where app_id = $1`)
	if err != nil {
		return nil, err
	}
	deleted, err := s.number64(`select sum(messages_deleted)::bigint from lethe.deletions where app_id = $1`)
	if err != nil {
		return nil, err
	}
	ofGroup, err := s.number64(`select messages_deleted from lethe.deletions where app_id = $1 and conversation_id = $2`, group)
	if err != nil {
		return nil, err
	}
	finished := equal("deletions finished, by the ledger", int64(s.deletions), done)
	finished.held = finished.held && all == done
	return []check{
		finished,
		equal("messages deleted, by the ledger", s.doomed.messages, deleted),
		equal("messages deleted of the group, by the ledger", int64(s.options.group), ofGroup),
		equal("ledger rows that a duplicate changed", 0, s.changed),
	}, nil
}

func (s *story) verifyRows() ([]check, error) {
	// Child rows count as well.
	below, err := s.number64(`select count(*) from lethe.deletions d join (
		  select app_id, user_id, conversation_id, seq from chat.messages union all
		  select app_id, user_id, conversation_id, seq from chat.reactions union all
		  select app_id, user_id, conversation_id, seq from chat.attachments) m using (app_id, user_id, conversation_id)
		where d.app_id = $1 and m.seq <= d.through_seq`)
	if err != nil {
		return nil, err
	}
	above, err := s.number64(`select count(*) from chat.messages m where app_id = $1 and exists (
		  select from lethe.deletions d where d.app_id = m.app_id and d.user_id = m.user_id and d.conversation_id = m.conversation_id)`)
	if err != nil {
		return nil, err
	}
	rows, err := s.number64(`select count(*) from chat.conversations c where app_id = $1 and unread_count = 1 and exists (
		  select from lethe.deletions d where d.app_id = c.app_id and d.user_id = c.user_id and d.conversation_id = c.conversation_id)`)
	if err != nil {
		return nil, err
	}
	empty, err := s.number64(`select count(*) from chat.conversations c where app_id = $1 and not exists (
		  select from chat.messages m where m.app_id = c.app_id and m.user_id = c.user_id and m.conversation_id = c.conversation_id)`)
	if err != nil {
		return nil, err
	}
	bobs, err := s.bobsCopies()
	if err != nil {
		return nil, err
	}
	newer, err := s.number64(`select count(*) from chat.messages where app_id = $1 and user_id = $2 and seq > $3`, bob, bobsOf()[1].last)
	if err != nil {
		return nil, err
	}
	kept := equal("bob's own copies, unchanged (digest compared)", s.bobs.count+int64(s.bobWrote), bobs.count+newer)
	kept.held = kept.held && bobs == s.bobs
	return []check{
		equal("rows left at or below a boundary", 0, below),
		equal("messages sent after the delete, still there", int64(s.later), above),
		equal("their conversations, still there, 1 unread each", int64(s.later), rows),
		equal("conversations left without a message", 0, empty),
		kept,
	}, nil
}

// verifyCrash checks that the second worker went on where the first one had been.
func (s *story) verifyCrash() ([]check, error) {
	total := int64(s.options.group)
	deleted, err := s.number64(`select messages_deleted from lethe.deletions where app_id = $1 and conversation_id = $2`, group)
	if err != nil {
		return nil, err
	}
	cursor := check{
		"ledger's cursor when the second took over", "> 0", number(s.takeover.Cursor),
		s.takeover.Cursor >= s.large.first && s.takeover.Cursor < s.large.last,
	}
	return []check{
		cursor,
		equal("deleted of the group by the killed worker", s.takeover.Deleted, total-s.takeover.Left),
		equal("deleted of the group by the second worker", s.takeover.Left, deleted-s.takeover.Deleted),
	}, nil
}

func (s *story) verifyEvents() ([]check, error) {
	events, distinct, err := s.readEvents()
	if err != nil {
		return nil, err
	}
	// Whom the events were for, as the ledger has it.
	expected := func(device string) (int64, error) {
		return s.number64(`select count(*) from lethe.deletions where app_id = $1 and user_id = $2
			and (multi_client_sync or origin_device_id = $3)`, alice, device)
	}
	phone, err := expected(s.phone.id)
	if err != nil {
		return nil, err
	}
	laptop, err := expected(s.laptop.id)
	if err != nil {
		return nil, err
	}
	stored := equal("events in the stream, one for each deletion", s.deletions, distinct)
	stored.held = stored.held && events == distinct
	return []check{
		stored,
		equal("events for alice's phone", phone, int64(len(s.phone.deleted))),
		equal("events for alice's laptop (sync was off once)", laptop, int64(len(s.laptop.deleted))),
	}, nil
}

// readEvents reads the whole stream of events: how many are of the first database, and how many
// of them say the end of a deletion that no other one says.
func (s *story) readEvents() (events, distinct int, err error) {
	ctx, cancel := s.limited()
	defer cancel()
	stored, err := s.waiting(ctx, conversation.EventsStream)
	if err != nil {
		return 0, 0, err
	}
	consumer, err := s.js.OrderedConsumer(ctx, conversation.EventsStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, 0, err
	}
	told := map[string]bool{}
	for read := 0; read < int(stored); {
		batch, err := consumer.Fetch(min(500, int(stored)-read))
		if err != nil {
			return 0, 0, err
		}
		for m := range batch.Messages() {
			read++
			e, err := conversation.ParseEvent(m.Subject(), m.Headers(), m.Data())
			if err != nil {
				return 0, 0, err
			}
			if e.ConversationID() == sharedGroup {
				continue // of the other database
			}
			events++
			if e.Deleted != nil {
				told[e.Deleted.CommandID+" "+e.Deleted.ConversationID] = true
			}
		}
		if err := batch.Error(); err != nil {
			return 0, 0, err
		}
		if ctx.Err() != nil {
			return 0, 0, fmt.Errorf("%d of %d events", read, stored)
		}
	}
	return events, len(told), nil
}

func (s *story) verifyStreams() ([]check, error) {
	if err := s.settled(); err != nil {
		return nil, err
	}
	letters, err := s.waiting(s.ctx, conversation.DeadLettersStream)
	if err != nil {
		return nil, err
	}
	return []check{equal("commands waiting, and dead letters", 0, int64(letters))}, nil
}
