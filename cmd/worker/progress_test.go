package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

func TestProgressShowsPercentageAndRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(terminal{out: &out, getenv: unset}, false)
		p.live = true
		tell := func(seq, deleted int64, waiting string) {
			t.Helper()
			e := conversation.Event{Type: conversation.TypeDeleting, Deleting: &conversation.Deleting{
				ConversationID: "group_42",
				ThroughSeq:     10_000, PurgedThroughSeq: seq, MessagesDeleted: deleted, WaitingFor: waiting,
			}}
			if err := p.event(e); err != nil {
				t.Fatal(err)
			}
		}
		tell(1000, 1000, "")
		time.Sleep(2 * time.Second) // of the test's own clock
		tell(5000, 5000, "lock")
		deleted := conversation.Event{Type: conversation.TypeDeleted, Deleted: &conversation.Deleted{
			ConversationID: "group_42",
			ThroughSeq:     10_000, MessagesDeleted: 10_000, ConversationRemoved: true, Erased: true, MultiClientSync: true,
		}}
		if err := p.event(deleted); err != nil {
			t.Fatal(err)
		}
		want := "deleting group_42: 1,000 messages,  10 %" +
			"\r\x1b[Kdeleting group_42: 5,000 messages,  50 %, 2,000 messages/s, waiting for lock" +
			"\r\x1b[Kdeleted group_42: 10,000 messages through seq 10000; conversation removed; for all devices\n"
		if got := out.String(); got != want {
			t.Errorf("printed %q; want %q", got, want)
		}
	})
}

func TestProgressInPlainLinesHasNoEscapes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(terminal{out: &out, getenv: unset}, false)
	e := conversation.Event{Deleting: &conversation.Deleting{ConversationID: "a\x1bb", ThroughSeq: 3}}
	for range 2 {
		if err := p.event(e); err != nil {
			t.Fatal(err)
		}
	}
	e.Deleting.ThroughSeq, e.Deleting.PurgedThroughSeq = 1_764_000_000_000_000, 1_763_000_000_000_000
	if err := p.event(e); err != nil { // a time says nothing of how far it has come
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 3 || strings.Count(got, "%") != 2 || strings.Contains(got, "\x1b") {
		t.Errorf("printed %q; want three lines without escapes, and a share in two", got)
	}
}
