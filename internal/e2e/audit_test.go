package e2e

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// audit reads the whole stream of events, and what was heard besides, and asserts
// that each expected deletion is told, always under one id and in the same words,
// with the expected count of messages, and that nothing else is. The ledger must
// say the same, no message may be left, and no dead letter. All is to be settled.
func (r *rig) audit(t testing.TB, want map[deletionKey]int) {
	t.Helper()
	r.auditEvents(t, want)
	r.auditLedger(t, want)
}

// auditEvents is the part of audit that is about events, of all shards.
func (r *rig) auditEvents(t testing.TB, want map[deletionKey]int) {
	t.Helper()
	a := newAudit(want)
	r.eachStored(t, a.look)
	a.lookForLost()
	_, heard, _ := r.seen(func(e event) bool { return e.kind() != conversation.TypeDeleting })
	for _, e := range heard {
		a.look(e)
	}
	if a.faults > 0 {
		t.Errorf("%d faults in the events of %d deletions, the first:\n%s", a.faults, len(want), a.text)
	}
}

// auditLedger is the part that is about the database and dead letters.
func (r *rig) auditLedger(t testing.TB, want map[deletionKey]int) {
	t.Helper()
	messages := sum(want)
	if got, wanted := one[string](t, r, `select format('%s %s %s', count(*), coalesce(sum(messages_deleted), 0), count(*) filter (where state <> 'done')) from lethe.deletions`),
		fmt.Sprintf("%d %d 0", len(want), messages); got != wanted {
		t.Errorf("the ledger's deletions, messages, and those that aren't done: %s; want %s", got, wanted)
	}
	r.wantEmpty(t)
	r.noAttempts(t)
}

// eachStored reads the stream of events from its beginning to its end of now.
func (r *rig) eachStored(t testing.TB, look func(event)) {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), conversation.EventsStream)
	must(t, err)
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	must(t, err)
	read, err := consumer.Messages()
	must(t, err)
	defer read.Stop()
	for range stream.CachedInfo().State.Msgs {
		m, err := read.Next(jetstream.NextMaxWait(timeout))
		must(t, err)
		look(newEvent(message{subject: m.Subject(), header: m.Headers(), data: m.Data()}))
	}
}

// sum is the number of all messages.
func sum(want map[deletionKey]int) (messages int) {
	for _, n := range want {
		messages += n
	}
	return messages
}

// telling is how a deletion was told the first time.
type telling struct {
	id   string
	text [sha256.Size]byte // of subject and body
}

// audit is what has been read so far.
type audit struct {
	want map[deletionKey]int
	told map[deletionKey]telling
	ids  map[string]deletionKey

	faults int
	text   string // the first few
}

func newAudit(want map[deletionKey]int) *audit {
	return &audit{want: want, told: map[deletionKey]telling{}, ids: map[string]deletionKey{}}
}

// lookForLost finds what was expected and not told so far.
func (a *audit) lookForLost() {
	for key := range a.want {
		if _, told := a.told[key]; !told {
			a.fault("no event of %+v is stored", key)
		}
	}
}

func (a *audit) fault(format string, args ...any) {
	if a.faults++; a.faults <= 5 {
		a.text += fmt.Sprintf(format, args...) + "\n"
	}
}

// look compares an event with what is expected, and with what was told before.
func (a *audit) look(e event) {
	key, now := keyOf(e), telling{e.id(), sha256.Sum256(fmt.Appendf(nil, "%s\n%s", e.subject, e.data))}
	n, expected := a.want[key]
	first, again := a.told[key]
	switch {
	case again && first != now:
		a.fault("%s was told before as %s, or in other words", e, first.id)
	case again:
		return
	case !expected:
		a.fault("nobody asked for %s", e)
	case e.kind() != conversation.TypeDeleted || e.text("messages_deleted") != fmt.Sprint(n):
		a.fault("%s; want %s of %d messages", e, conversation.TypeDeleted, n)
	}
	if other, taken := a.ids[now.id]; taken && other != key {
		a.fault("%s has the id of %+v", e, other)
	}
	a.told[key], a.ids[now.id] = now, key
}
