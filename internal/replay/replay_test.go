package replay

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is a stream of events in memory.
type stream struct {
	state bus.StreamState
	all   []bus.Stored
}

func (s stream) EventsState(context.Context) (bus.StreamState, error) { return s.state, nil }

func (s stream) EventsSince(context.Context, time.Time, int) ([]bus.Stored, error) { return s.all, nil }

func (s stream) EventsFrom(context.Context, uint64, int) ([]bus.Stored, error) { return nil, nil }

func (s stream) HasEvent(context.Context, uint64) (bool, error) { return true, nil }

// told is a stream of one event for each conversation.
func told(t *testing.T, conversations ...string) stream {
	t.Helper()
	s := stream{state: bus.StreamState{First: 1, Last: uint64(len(conversations))}}
	for i, id := range conversations {
		e := conversation.Deleted{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: id, ThroughSeq: 9, CompletedAt: time.Now()}
		m, err := e.Msg(conversation.Trace{})
		if err != nil {
			t.Fatal(err)
		}
		s.all = append(s.all, bus.Stored{Subject: m.Subject, Header: m.Header, Data: m.Data, Sequence: uint64(i + 1), StoredAt: time.Now()})
	}
	return s
}

// database is a store in which everything is due; redo does what a test wants.
type database struct {
	redo func(d purge.Reported, low int64, finish bool) (purge.Step, error)
	bad  string // a conversation that doesn't fit
	told *int   // counts the erasures that are noted as told
}

func (b database) Due(_ context.Context, ds []purge.Reported) ([]bool, error) {
	due := make([]bool, len(ds))
	for i := range due {
		due[i] = true
	}
	return due, nil
}

func (b database) Redo(_ context.Context, d purge.Reported, p purge.Part) (purge.Step, error) {
	return b.redo(d, p.Low, p.Finish)
}

func (b database) Replayable(d purge.Reported) error {
	if b.bad != "" && d.Conversation == b.bad {
		return errors.New("doesn't fit")
	}
	return nil
}

func (database) Count(context.Context, purge.Reported, int64, int) (purge.Step, error) {
	return purge.Step{}, errors.New("not a dry run")
}

func (b database) RedoTold(_ context.Context, erased []purge.Reported) ([]purge.Reported, error) {
	*b.told += len(erased)
	return nil, nil
}
func (database) Sync(context.Context) error { return nil }
func (database) Watch(context.Context, purge.Limits, bool) (purge.Figures, error) {
	return purge.Figures{}, nil
}
func (database) ThrottleSlowBatch(context.Context, time.Duration, string) error { return nil }

func replayed(t *testing.T, s stream, b database) (Summary, error) {
	t.Helper()
	return Run(t.Context(), Config{Source: s, Store: b, Log: slog.New(slog.DiscardHandler)})
}

var done = purge.Step{Messages: 9, Rows: 9, Low: 9, Finished: true, Reached: true, RowRemoved: true}

func TestRun(t *testing.T) {
	t.Parallel()
	infrastructure := &purge.FaultError{Fault: purge.Infrastructure, Cause: "connection", Err: errors.New("connection refused")}
	t.Run("leaves out what can't be a key, and serves the next", func(t *testing.T) {
		t.Parallel()
		s, err := replayed(t, told(t, "a", "b", "c"), database{bad: "b", redo: func(purge.Reported, int64, bool) (purge.Step, error) { return done, nil }})
		if err != nil || s.Events != 3 || s.Failed != 1 || s.Replayed != 2 || s.Messages != 18 || s.Rows != 20 || s.Conversations != 2 {
			t.Errorf("Run = %+v, %v; want two of three replayed", s, err)
		}
	})
	t.Run("goes from batch to batch, and finishes in a transaction of its own after several", func(t *testing.T) {
		t.Parallel()
		type call struct {
			low    int64
			finish bool
		}
		var calls []call
		answers := []purge.Step{{Low: 3, Rows: 3, Full: true}, {Low: 6, Rows: 3, Full: true}, {Low: 9, Rows: 3, Reached: true}, done}
		_, err := replayed(t, told(t, "a"), database{redo: func(_ purge.Reported, low int64, finish bool) (purge.Step, error) {
			calls = append(calls, call{low, finish})
			return answers[len(calls)-1], nil
		}})
		if err != nil || len(calls) != 4 || calls[1] != (call{3, false}) || calls[2] != (call{6, false}) || calls[3] != (call{9, true}) || !calls[0].finish {
			t.Errorf("calls %v, %v; want to finish at first, and at the end", calls, err)
		}
	})
	t.Run("gives a deletion up that never finishes", func(t *testing.T) {
		t.Parallel()
		s, err := replayed(t, told(t, "a", "b"), database{redo: func(d purge.Reported, _ int64, _ bool) (purge.Step, error) {
			if d.Conversation == "a" {
				return purge.Step{Low: 9, Reached: true}, nil
			}
			return done, nil
		}})
		if err != nil || s.Failed != 1 || s.Replayed != 1 {
			t.Errorf("Run = %+v, %v; want one failed and one replayed", s, err)
		}
	})
	t.Run("waits for infrastructure that pass", func(t *testing.T) {
		t.Parallel()
		tries := 0
		s, err := replayed(t, told(t, "a"), database{redo: func(purge.Reported, int64, bool) (purge.Step, error) {
			if tries++; tries < 3 {
				return purge.Step{}, infrastructure
			}
			return done, nil
		}})
		if err != nil || s.Replayed != 1 {
			t.Errorf("Run = %+v, %v after %d tries; want it replayed", s, err, tries)
		}
	})
	t.Run("ends at infrastructure that need a hand", func(t *testing.T) {
		t.Parallel()
		denied := &purge.FaultError{Fault: purge.Infrastructure, Cause: "permission", Err: errors.New("permission denied")}
		s, err := replayed(t, told(t, "a", "b"), database{redo: func(purge.Reported, int64, bool) (purge.Step, error) { return purge.Step{}, denied }})
		if !errors.Is(err, denied) || s.Failed != 0 || s.Replayed != 0 {
			t.Errorf("Run = %+v, %v; want the denial, and none counted as failed", s, err)
		}
	})
	t.Run("stops between two batches, and counts none as failed", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		b := database{redo: func(purge.Reported, int64, bool) (purge.Step, error) {
			cancel()
			return purge.Step{}, errors.New("canceled")
		}}
		s, err := Run(ctx, Config{Source: told(t, "a", "b"), Store: b, Log: slog.New(slog.DiscardHandler)})
		if err == nil || s.Failed != 0 {
			t.Errorf("Run = %+v, %v; want an error", s, err)
		}
	})
}

// message is what anything with a Msg is in the stream.
func message(t testing.TB, e interface {
	Msg(conversation.Trace) (*nats.Msg, error)
}, seq uint64,
) bus.Stored {
	t.Helper()
	m, err := e.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	return bus.Stored{Subject: m.Subject, Header: m.Header, Data: m.Data, Sequence: seq, StoredAt: time.Now()}
}

// In a shared log what is told as erased is erased again, also for everyone where nothing has told of the end.
func TestRunInASharedLog(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Microsecond)
	hidden := conversation.Deleted{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: "g", ThroughSeq: 9, MessagesDeleted: 9, CompletedAt: now}
	erased := conversation.Erased{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: "g", ThroughSeq: 9, ErasedAt: now}
	everyone, nothing := hidden, hidden
	everyone.Scope, everyone.RequestedBy, nothing.Erased, nothing.MessagesDeleted = conversation.ScopeEveryone, "bob", true, 0
	another := everyone
	another.UserID = "bob"
	all := conversation.AllDeleted{CommandID: "c", AppID: "demo", UserID: "alice", Conversations: 1, CompletedAt: now}
	some := all
	some.Failed = 1
	type event = interface {
		Msg(conversation.Trace) (*nats.Msg, error)
	}
	for name, row := range map[string]struct {
		events []event
		want   Summary
		redone []purge.ReportedKind
		told   int
	}{
		"hidden":                   {[]event{hidden}, Summary{Events: 1, Replayed: 1, Hidden: 1}, []purge.ReportedKind{purge.ReportedDeleted}, 0},
		"nothing to hide":          {[]event{nothing}, Summary{Events: 1, Replayed: 1}, []purge.ReportedKind{purge.ReportedDeleted}, 0},
		"erased":                   {[]event{hidden, erased}, Summary{Events: 1, Replayed: 1, Hidden: 1, Erasures: 1}, []purge.ReportedKind{purge.ReportedDeleted, purge.ReportedErased}, 1},
		"for everyone":             {[]event{everyone, another}, Summary{Events: 2, Replayed: 2, Hidden: 2, Erasures: 1}, []purge.ReportedKind{purge.ReportedDeleted, purge.ReportedErased, purge.ReportedDeleted}, 0},
		"all conversations":        {[]event{all}, Summary{}, []purge.ReportedKind{purge.ReportedAllDeleted}, 0},
		"of which some had failed": {[]event{some}, Summary{}, nil, 0},
	} {
		s := stream{state: bus.StreamState{First: 1, Last: uint64(len(row.events))}}
		for i, e := range row.events {
			s.all = append(s.all, message(t, e, uint64(i+1)))
		}
		var redone []purge.ReportedKind
		told := 0
		got, err := replayed(t, s, database{told: &told, redo: func(d purge.Reported, _ int64, _ bool) (purge.Step, error) {
			redone = append(redone, d.Kind)
			return purge.Step{Finished: true}, nil
		}})
		row.want.First, row.want.Last, row.want.Took = 1, got.Last, got.Took
		if err != nil || !reflect.DeepEqual(got, row.want) || !slices.Equal(redone, row.redone) || told != row.told {
			t.Errorf("%s: Run = %+v, %v, of %v, told %d; want %+v, of %v, told %d", name, got, err, redone, told, row.want, row.redone, row.told)
		}
	}
}

// What doesn't say all that decides what goes, deletes nothing.
func FuzzReportedBy(f *testing.F) {
	now := time.Now()
	e := conversation.Deleted{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: "g", ThroughSeq: 9, CompletedAt: now}
	everyone := e
	everyone.Scope, everyone.RequestedBy = conversation.ScopeEveryone, "bob"
	first := message(f, e, 1)
	for _, m := range []bus.Stored{
		first, message(f, everyone, 1), message(f, conversation.Erased{CommandID: "c", AppID: "demo", UserID: "alice", ConversationID: "g", ErasedAt: now}, 1),
		message(f, conversation.AllDeleted{CommandID: "c", AppID: "demo", UserID: "alice", CompletedAt: now}, 1),
	} {
		f.Add(m.Subject, m.Header[conversation.HeaderEventType][0], m.Header[conversation.HeaderEventID][0], m.Data)
	}
	f.Add(first.Subject, conversation.TypeDeleted, "x", []byte(`{}`))
	f.Fuzz(func(t *testing.T, subject, typ, id string, data []byte) {
		h := map[string][]string{}
		for name, values := range first.Header {
			h[name] = values
		}
		h[conversation.HeaderEventType], h[conversation.HeaderEventID] = []string{typ}, []string{id}
		d, ok, err := reportedBy(conversation.Names{}, bus.Stored{Subject: subject, Header: h, Data: data})
		switch {
		case err != nil && ok:
			t.Errorf("reportedBy = %+v, %t, %v", d, ok, err)
		case !ok:
		case d.CompletedAt.IsZero() == d.ErasedAt.IsZero(), d.App == "", d.User == "", d.Command == "", (d.Conversation == "") != (d.Kind == purge.ReportedAllDeleted),
			!strings.HasPrefix(subject, typ+"."):
			t.Errorf("reportedBy(%q, %q, %q, %q) = %+v", subject, typ, id, data, d)
		}
	})
}

func TestOnlyTheChosenAppsAreReplayed(t *testing.T) {
	t.Parallel()
	s := told(t, "a", "b")
	other := conversation.Deleted{CommandID: "c", AppID: "an other.app", UserID: "alice", ConversationID: "o", ThroughSeq: 9, CompletedAt: time.Now()}
	m, err := other.Msg(conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	s.all = append(s.all, bus.Stored{Subject: m.Subject, Header: m.Header, Data: m.Data, Sequence: 3, StoredAt: time.Now()},
		bus.Stored{Subject: "conversation.deleted.bad.alice", Data: []byte("no event"), Sequence: 4})
	s.state.Last = 4
	for _, row := range []struct {
		apps      []string
		events    int64
		malformed int64
	}{
		{nil, 3, 1},
		{[]string{"demo"}, 2, 0},
		{[]string{"an other.app", "nobody"}, 1, 0},
	} {
		got, err := Run(t.Context(), Config{
			Source: s, Apps: row.apps, Since: time.Now(), Pace: purge.Pace{Min: 1, Max: 10, Target: time.Second}, Log: slog.New(slog.DiscardHandler),
			Store: database{redo: func(purge.Reported, int64, bool) (purge.Step, error) { return purge.Step{Finished: true}, nil }},
		})
		if err != nil || got.Events != row.events || got.Malformed != row.malformed || len(got.Missing) > 0 {
			t.Errorf("of %q: %+v, %v; want %d events, %d malformed, none missing", row.apps, got, err, row.events, row.malformed)
		}
	}
}
