// Package replay deletes again what was deleted once: a database that was
// restored to a point in time holds the histories again that were deleted after
// it, and its ledger knows nothing of that. The stream of events does. A replay
// reads what was stored there since a time, does each deletion again with batches
// like a worker's, and publishes nothing. In a shared log it moves the members' watermarks on
// again, and erases again what was erased.
//
// It needs no state of its own: what has been done again is found to be so, a
// page of events at a time, in one round trip. So it may be stopped at any moment,
// run again, and run twice at once.
package replay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// source is the stream of events; *broker.Broker satisfies it.
type source interface {
	EventsState(ctx context.Context) (bus.StreamState, error)
	EventsSince(ctx context.Context, since time.Time, limit int) ([]bus.Stored, error)
	EventsFrom(ctx context.Context, seq uint64, limit int) ([]bus.Stored, error)
	HasEvent(ctx context.Context, seq uint64) (bool, error)
}

// store is the database; *repo.Replayer satisfies it.
type store interface {
	// Due says of what something is left, or unknown to the ledger.
	Due(ctx context.Context, all []purge.Reported) ([]bool, error)
	// Count counts what the next batch would delete.
	Count(ctx context.Context, d purge.Reported, low int64, limit int) (purge.Step, error)
	// Redo deletes the next batch, and finishes if it may and can.
	Redo(ctx context.Context, d purge.Reported, p purge.Part) (purge.Step, error)
	// RedoTold notes that the stream has the events of these erasures, and returns those whose deletions the ledger doesn't know.
	RedoTold(ctx context.Context, erased []purge.Reported) (unknown []purge.Reported, err error)
	// Sync makes durable what was committed.
	Sync(ctx context.Context) error
	// Replayable says why the plan's tables can't have had what is reported; nil if they can.
	Replayable(d purge.Reported) error
	// Watch samples the figures that may throttle the batches.
	Watch(ctx context.Context, limits purge.Limits, all bool) (purge.Figures, error)
	// ThrottleSlowBatch lets the large deletions of all workers wait after a slow batch.
	ThrottleSlowBatch(ctx context.Context, left time.Duration, detail string) error
}

// Config is what a replay works with.
type Config struct {
	Source source
	Store  store
	// Names are those of the installation whose events they are.
	Names conversation.Names
	// Since is the time from which on stored events are replayed.
	Since time.Time
	// Apps are those whose deletions are replayed; none for all.
	Apps []string
	// DryRun counts and changes nothing.
	DryRun bool
	// Pace decides how many messages a batch deletes.
	Pace purge.Pace
	// Limits are the thresholds of the throttles.
	Limits purge.Limits
	// Log gets the progress and what goes wrong. Required.
	Log *slog.Logger
}

// Summary is what a replay has found and done, also one that ended early.
type Summary struct {
	// First and Last are the sequences of the events' stream between which it
	// read; First is 0 where nothing was stored since the time.
	First, Last uint64
	// Missing says, a line for each reason, why deletions since the time may not
	// be in the stream any more; empty where all of them are.
	Missing []string
	// Events is how many finished deletions the stream reports, HistoryKept how
	// many of them had kept the history.
	Events, HistoryKept int64
	// Replayed is how many deletions had something left to do: rows, a watermark, or that the
	// ledger didn't know them. The others are as they should be. Hidden is how many of them
	// had hidden messages from a member of a shared log.
	Replayed, Hidden int64
	// Erasures is how many times something was left to erase in a shared log, or its floor to pin.
	Erasures int64
	// Messages and Rows are how many messages, and how many rows of all tables,
	// were deleted; Conversations how many conversations' rows. In a dry run,
	// Messages is what would be; where two deletions cover one message it
	// counts twice.
	Messages, Rows, Conversations int64
	// Malformed is how many messages among the events can't be read.
	Malformed int64
	// Failed is how many deletions could not be done again.
	Failed int64
	// Took is how long it took.
	Took time.Duration
}

const (
	// pageSize is how many events are read and looked at together.
	pageSize = 512
	// progressEvery is the time between two lines of progress.
	progressEvery = 2 * time.Second
)

// run is one replay at work.
type run struct {
	Config
	Summary
	monitor  purge.Monitor
	limit    int           // messages of the next batch
	sparse   bool          // the last step's
	before   time.Duration // the batch before took
	reported time.Time     // the last progress
	at       uint64        // the last message that it is through with
	// counted is through which position shared logs have been counted in a dry run: many events tell of one erasure.
	counted map[purge.Key]int64
	// early are erasures whose deletions have not come yet: after a crash of a worker their events may be in front.
	early []purge.Reported
}

// Run replays the events. After an error, and after ctx has ended, what the
// summary says is done stays done, and another Run continues from there.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	began := time.Now()
	r := &run{Config: cfg, monitor: purge.Monitor{Limits: cfg.Limits}, limit: cfg.Pace.Clamp(firstLimit), reported: began, counted: map[purge.Key]int64{}}
	err := r.run(ctx)
	r.Took = time.Since(began)
	return r.Summary, err
}

func (r *run) run(ctx context.Context) error {
	state, page, err := r.begin(ctx)
	if err != nil {
		return err
	}
	for len(page) > 0 {
		if err := r.page(ctx, page); err != nil {
			return err
		}
		if r.at >= r.Last {
			return nil
		}
		page, err = persist(ctx, r.Log, func() ([]bus.Stored, error) { return r.Source.EventsFrom(ctx, r.at+1, pageSize) })
		if err != nil {
			return err
		}
	}
	if r.First > 0 && r.at < state.Last {
		r.gap(r.at+1, state.Last)
	}
	return nil
}

// begin looks at the stream and reads its first page.
func (r *run) begin(ctx context.Context) (bus.StreamState, []bus.Stored, error) {
	state, err := persist(ctx, r.Log, func() (bus.StreamState, error) { return r.Source.EventsState(ctx) })
	if err != nil {
		return state, nil, err
	}
	r.Last = state.Last
	page, err := persist(ctx, r.Log, func() ([]bus.Stored, error) { return r.Source.EventsSince(ctx, r.Since, pageSize) })
	if err != nil {
		return state, nil, err
	}
	before := true
	if len(page) > 0 {
		r.First = page[0].Sequence
		r.at = r.First - 1
		if r.First > state.First {
			before, err = persist(ctx, r.Log, func() (bool, error) { return r.Source.HasEvent(ctx, r.First-1) })
		}
	}
	r.miss(missing(r.Since, state, r.First, before)...)
	r.Log.Info("replaying", "since", r.Since.UTC(), "first_sequence", r.First, "last_sequence", r.Last, "stream_begins", state.FirstAt, "dry_run", r.DryRun)
	return state, page, err
}

// miss notes why deletions may be missing, and says it at once.
func (r *run) miss(reasons ...string) {
	for _, reason := range reasons {
		r.Missing = append(r.Missing, reason)
		r.Log.Warn("deletions may be missing from the stream, and are not replayed then", "reason", reason)
	}
}

// chosen reports whether a message is of one of the apps that are replayed. One whose
// subject can't be read may be.
func (r *run) chosen(m bus.Stored) bool {
	tokens := strings.Split(r.Names.Unprefixed(m.Subject), ".")
	return len(r.Apps) == 0 || len(tokens) < 4 ||
		slices.ContainsFunc(r.Apps, func(app string) bool { return conversation.EscapeToken(app) == tokens[2] })
}

// page replays a page of messages, as far as they were there when the replay
// began: what was deleted since then needs no replay.
func (r *run) page(ctx context.Context, page []bus.Stored) error {
	var all []purge.Reported
	at := r.at
	for _, m := range page {
		if upTo := min(m.Sequence, r.Last+1); upTo > at+1 {
			r.gap(at+1, upTo-1)
		}
		if m.Sequence > r.Last {
			break
		}
		at = max(at, m.Sequence)
		if !r.chosen(m) {
			continue
		}
		d, ok, err := reportedBy(r.Names, m)
		if err != nil {
			r.Malformed++
			r.Log.Error("not an event; left out", "sequence", m.Sequence, "subject", m.Subject, "error", err)
		}
		if ok {
			all = append(all, d)
		}
	}
	if err := r.again(ctx, all); err != nil {
		return fmt.Errorf("events %d to %d: %w", page[0].Sequence, at, err)
	}
	r.at = max(at, page[len(page)-1].Sequence)
	r.progress()
	return nil
}
