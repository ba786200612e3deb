package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// streamMessages reads a whole stream, by the API's own words: the client takes a
// message without a body whose headers name a status for a word of the server.
func (r *rig) streamMessages(t testing.TB, name string) []message {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatalf("stream %s: %v", name, err)
	}
	info := stream.CachedInfo().State
	var all []message
	for seq := info.FirstSeq; seq <= info.LastSeq && info.Msgs > 0; seq++ {
		if m, found := r.streamMessage(t, name, seq); found {
			all = append(all, m)
		}
	}
	return all
}

// streamMessage reads one message; found is false where it has gone.
func (r *rig) streamMessage(t testing.TB, stream string, seq uint64) (m message, found bool) {
	t.Helper()
	res, err := r.nc.Request("$JS.API.STREAM.MSG.GET."+stream, fmt.Appendf(nil, `{"seq":%d}`, seq), timeout)
	if err != nil {
		t.Fatalf("message %d of %s: %v", seq, stream, err)
	}
	var answer struct {
		Error   json.RawMessage
		Message struct {
			Subject    string
			Hdrs, Data []byte
			Time       time.Time
		}
	}
	if err := json.Unmarshal(res.Data, &answer); err != nil {
		t.Fatalf("message %d of %s: %v", seq, stream, err)
	}
	header, err := nats.DecodeHeadersMsg(answer.Message.Hdrs)
	if err != nil {
		header = nats.Header{} // hostile ones
	}
	a := answer.Message
	return message{a.Subject, header, a.Data, seq, a.Time}, answer.Error == nil
}

// letters reads all dead letters, oldest first.
func (r *rig) letters(t testing.TB) []message {
	t.Helper()
	return r.streamMessages(t, r.names.DeadLettersStream())
}

// lettersOf reads the dead letters of the command that the stream stored at seq.
func (r *rig) lettersOf(t testing.TB, seq uint64) []message {
	t.Helper()
	return slices.DeleteFunc(r.letters(t), func(m message) bool {
		return m.header.Get("Lethe-Stream-Sequence") != fmt.Sprint(seq)
	})
}

// letter waits for the dead letter of the command at seq, and asserts that it is
// the only one.
func (r *rig) letter(t testing.TB, seq uint64) message {
	t.Helper()
	var found []message
	eventually(t, timeout, fmt.Sprintf("command %d has a dead letter", seq), func() bool {
		found = r.lettersOf(t, seq)
		return len(found) > 0
	})
	r.settled(t)
	if found = r.lettersOf(t, seq); len(found) != 1 {
		t.Fatalf("command %d has %d dead letters; want one", seq, len(found))
	}
	return found[0]
}

// settled waits until the stream of commands is empty and nothing is in a
// worker's hands.
func (r *rig) settled(t testing.TB) {
	t.Helper()
	r.settledWithin(t, timeout)
}

func (r *rig) settledWithin(t testing.TB, limit time.Duration) {
	t.Helper()
	left := ""
	if !poll(limit, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		stream, err := r.js.Stream(ctx, r.names.CommandsStream())
		if err != nil {
			left = err.Error()
			return false
		}
		consumer, err := stream.Consumer(ctx, r.names.WorkerConsumer())
		if err != nil {
			left = err.Error()
			return false
		}
		info := consumer.CachedInfo()
		left = fmt.Sprintf("%d stored, %d pending, %d in flight", stream.CachedInfo().State.Msgs, info.NumPending, info.NumAckPending)
		return stream.CachedInfo().State.Msgs == 0 && info.NumPending == 0 && info.NumAckPending == 0
	}) {
		t.Fatalf("the stream of commands is not empty after %v: %s", limit, left)
	}
}
