package conversation

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/natserr"
)

func TestInboxForgetsTheOldestIDs(t *testing.T) {
	t.Parallel()
	b := newInbox(Names{})
	const n = maxSeen + 100
	for i := range n {
		if !b.deliver(Event{ID: fmt.Sprint(i)}) {
			t.Fatalf("deliver(%d) = false; want true", i)
		}
	}
	if len(b.seen) != maxSeen || len(b.order) != maxSeen {
		t.Errorf("%d ids and %d in order; want %d", len(b.seen), len(b.order), maxSeen)
	}
	if b.deliver(Event{ID: fmt.Sprint(n - maxSeen)}) || !b.deliver(Event{ID: "0"}) {
		t.Error("want the latest ids known and the oldest forgotten")
	}
}

func TestInboxHoldsALimitedNumberOfEach(t *testing.T) {
	t.Parallel()
	b := newInbox(Names{})
	for i := range 1000 {
		id := fmt.Sprint(i)
		b.addHint(Event{ID: id, Deleted: &Deleted{CommandID: id}})
		b.addProgress(Event{ID: id, Deleting: &Deleting{CommandID: id}})
	}
	if len(b.hints) != maxHints || len(b.running) != maxProgress {
		t.Errorf("%d hints and %d of progress; want %d and %d", len(b.hints), len(b.running), maxHints, maxProgress)
	}
	if e, _ := b.progress(); e.CommandID() != fmt.Sprint(1000-maxProgress) {
		t.Errorf("progress = %s; want the oldest of the latest", e.CommandID())
	}
}

func TestInboxDropsProgressThatTheEndMakesObsolete(t *testing.T) {
	t.Parallel()
	b := newInbox(Names{})
	for _, conversation := range []string{"c", "d", "c"} {
		b.addProgress(Event{Deleting: &Deleting{CommandID: "1", ConversationID: conversation}})
	}
	b.deliver(Event{ID: "x", Deleted: &Deleted{CommandID: "1", ConversationID: "c"}})
	if e, ok := b.progress(); !ok || e.ConversationID() != "d" {
		t.Errorf("progress = %+v; want that of d", e)
	}
	if e, ok := b.progress(); ok {
		t.Errorf("progress = %+v; want no more", e)
	}
}

func TestOnlyALimitCountsAsAFullStreamOrApp(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		code        jetstream.ErrorCode
		description string
		full, app   bool
	}{
		{natserr.StoreRefused, "maximum messages exceeded", true, false},
		{natserr.StoreRefused, "maximum bytes exceeded", true, false},
		{natserr.StoreRefused, "maximum messages per subject exceeded", false, true},
		{natserr.StoreRefused, "write: input/output error", false, false},
		{natserr.NoStorage, "insufficient storage resources available", true, false},
		{jetstream.JSErrCodeBadRequest, "bad request", false, false},
	} {
		err := new(Client).explainRefusal("s", &jetstream.APIError{ErrorCode: row.code, Description: row.description})
		if errors.Is(err, ErrStreamFull) != row.full || errors.Is(err, ErrAppFull) != row.app {
			t.Errorf("%s: %v; want a full stream: %v, a full app: %v", row.description, err, row.full, row.app)
		}
	}
}
