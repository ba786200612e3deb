package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The people of the story. alice deletes; bob, carol and dave write to her; the
// others have chats of their own.
const (
	app   = "demo"
	alice = "alice"
	bob   = "bob"
	erin  = "erin" // she and frank have nothing but a shared group
	frank = "frank"
	group = "group_42"

	messagesPerChat = 20
	chatsPerUser    = 20
	bobsGroup       = 1000 // bob came late to the group

	partMessages = 50_000 // in one transaction
)

// history is one user's copy of a conversation: seqs first to last.
type history struct {
	user, conversation string
	first, last        int64
}

// chatsOf are n chats: alice's first, with bob, carol and dave at their head, and
// then those of others, chatsPerUser each.
func chatsOf(n int) []history {
	chats := make([]history, n)
	for i := range chats {
		user, peer := alice, fmt.Sprintf("friend%02d", i%chatsPerUser+1)
		if i >= chatsPerUser {
			user = fmt.Sprintf("user%03d", i/chatsPerUser+1)
		}
		if known := []string{bob, "carol", "dave"}; i < len(known) {
			peer = known[i]
		}
		first := int64(i%chatsPerUser)*messagesPerChat + 1
		chats[i] = history{user, "c2c_" + peer, first, first + messagesPerChat - 1}
	}
	return chats
}

// groupOf is alice's copy of the group, n messages: after those of her chats, for
// a user's seqs come from one counter.
func groupOf(chats []history, n int) history {
	last := int64(0)
	for _, c := range chats {
		if c.user == alice {
			last = c.last
		}
	}
	return history{alice, group, last + 1, last + int64(n)}
}

// bobsOf are bob's own copies of what alice deletes.
func bobsOf() []history {
	return []history{
		{bob, "c2c_" + alice, 1, messagesPerChat},
		{bob, group, messagesPerChat + 1, messagesPerChat + bobsGroup},
	}
}

// Parameters: $1 app, $2 users, $3 conversations, $4 first seqs, $5 last seqs, and
// $6, the time from which on a message was sent each millisecond.
const (
	histories = `
from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) as h (user_id, conversation_id, first, last)
cross join (select $6::timestamptz as began) t`

	loadMessages = `
insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
select $1, h.user_id, h.conversation_id, s, 'friend', t.began + s * interval '1 ms', '{"text": "Did you see this?"}'` + histories + `
cross join generate_series(h.first, h.last) s`

	loadReactions = `
insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji, reacted_at)
select $1, h.user_id, h.conversation_id, s, 'friend', '👍', t.began + s * interval '1 ms'` + histories + `
cross join generate_series(h.first, h.last, 20) s`

	loadAttachments = `
insert into chat.attachments (app_id, user_id, conversation_id, seq, attachment_id, object_key)
select $1, h.user_id, h.conversation_id, s, gen_random_uuid(), 'photo.jpg'` + histories + `
cross join generate_series(h.first, h.last, 200) s`

	loadConversations = `
insert into chat.conversations (app_id, user_id, conversation_id, last_seq, unread_count, updated_at)
select $1, h.user_id, h.conversation_id, h.last, 3, t.began + h.last * interval '1 ms'` + histories

	loadCounters = `
insert into chat.counters (app_id, user_id, last_seq)
select $1, h.user_id, max(h.last)` + histories + `
group by h.user_id
on conflict (app_id, user_id) do update set last_seq = greatest(counters.last_seq, excluded.last_seq)`
)

// loaded counts the rows that a load has made.
type loaded struct{ messages, reactions, attachments int64 }

// messages is how many the copy has.
func (h history) messages() int64 { return h.last - h.first + 1 }

// load writes the histories, all sent before an hour ago, into the tables of the
// bundled schema. step hears how many messages are there, now and then.
func (s *stack) load(hs []history, step func(messages int64)) (loaded, error) {
	newest := int64(0)
	for _, h := range hs {
		newest = max(newest, h.last)
	}
	began := time.Now().Add(-time.Hour - time.Duration(newest)*time.Millisecond)
	insert := func(sql string, hs []history) (int64, error) {
		var users, conversations []string
		var first, last []int64
		for _, h := range hs {
			users, conversations = append(users, h.user), append(conversations, h.conversation)
			first, last = append(first, h.first), append(last, h.last)
		}
		tag, err := s.db.Exec(s.ctx, sql, app, users, conversations, first, last, began)
		return tag.RowsAffected(), err
	}
	var n loaded
	var errs []error
	for part := range s.loadParts(hs, func(part []history) (int64, error) { return insert(loadMessages, part) }) {
		n.messages += part.messages
		errs = append(errs, part.err)
		step(n.messages)
	}
	var err error
	n.reactions, err = insert(loadReactions, hs)
	errs = append(errs, err)
	n.attachments, err = insert(loadAttachments, hs)
	errs = append(errs, err)
	for _, sql := range []string{loadConversations, loadCounters} {
		_, err := insert(sql, hs)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("load histories: %w", err)
	}
	return n, nil
}

// part is what has been loaded in one transaction.
type part struct {
	messages int64
	err      error
}

// loadParts loads histories in parts, by two connections at once. After an error it loads no more.
func (s *stack) loadParts(hs []history, load func([]history) (int64, error)) <-chan part {
	queue, done := make(chan []history), make(chan part)
	ctx, stop := context.WithCancel(s.ctx)
	go func() {
		defer close(queue)
		for _, p := range parts(hs) {
			select {
			case queue <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	var loaders sync.WaitGroup
	for range 2 {
		loaders.Go(func() {
			for p := range queue {
				n, err := load(p)
				if err != nil {
					stop()
				}
				done <- part{n, err}
			}
		})
	}
	go func() {
		loaders.Wait()
		stop()
		close(done)
	}()
	return done
}

// parts cuts histories into parts of at most partMessages messages.
func parts(hs []history) [][]history {
	var all [][]history
	room := int64(0)
	for _, h := range hs {
		for h.first <= h.last {
			if room == 0 {
				all, room = append(all, nil), partMessages
			}
			piece := h
			piece.last = min(h.last, h.first+room-1)
			all[len(all)-1] = append(all[len(all)-1], piece)
			room -= piece.messages()
			h.first = piece.last + 1
		}
	}
	return all
}
