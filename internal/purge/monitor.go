package purge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

const (
	// SampleTimeout ends a sample of a database that doesn't answer.
	SampleTimeout = 2 * time.Second
	// maxBlind is the longest time between two samples while they fail.
	maxBlind = 5 * time.Second
	// slowMemory is how long the last slow batch is remembered: a quick one, of another
	// deletion, doesn't mean that the database is quick again.
	slowMemory = 3 * time.Second
	// smallMemory is how long large deletions back off in full after the last of several small
	// ones: somebody waits for each of them, and another may follow. One that has come alone says
	// nothing: the erasure that it may lead to begins at once. Those that
	// finish within aloneTime count as one.
	smallMemory, aloneTime = time.Second, 50 * time.Millisecond
)

// Monitor decides from samples of the database what throttles large deletions, how much
// of the time they leave to other clients, and when to take the next sample. A worker's
// long lane and a replay each have one: they take the samples and wait. It reads no clock:
// the caller passes the time, which must not go back. Not safe for concurrent use.
type Monitor struct {
	Limits Limits
	// Interval is the longest time between two samples; zero means a second.
	Interval time.Duration
	// ForegroundBackoff is how many times as long as each batch the long lane waits after
	// it while other clients are busy; 0 for not at all.
	ForegroundBackoff float64
	// Noise is how many transactions a second are other workers'; see [Pace.Noise].
	Noise float64

	wal     walHistory
	traffic traffic
	pauses  []Pause
	judged  Throttles // what stops the long lane
	slow    Throttle  // the last slow batch
	slowAt  time.Time
	permits string    // sessions that have permits without a batch, for people
	small   time.Time // the first of several small deletions
	smallAt time.Time // the last one

	complete time.Time // the last sample of all figures
	failing  int       // samples in a row
	unread   map[ThrottleReason]bool
	since    map[ThrottleReason]time.Time // of all that Throttles returns
}

// Report is what one observation changed. The caller logs the notes.
type Report struct {
	Notes []Note
	// Began and Ended are throttles that began or ended.
	Began, Ended []ThrottleReason
	// Unavailable says that a worker should not pull commands: the database can't be
	// reached, also by a worker that has nothing to do, or it hides an operator's pause.
	Unavailable bool
}

// Note is a line of the log.
type Note struct {
	Warn    bool
	Message string
	Attrs   []any
}

// Sampled takes in a sample; complete says that it has all figures, not the pauses alone.
func (m *Monitor) Sampled(at time.Time, f Figures, complete bool) Report {
	var r Report
	if m.failing > 0 {
		r.note(false, "the database can be watched again")
	}
	m.noteUnread(&r, f.Unread)
	if _, unread := f.Unread[ForegroundLoad]; !unread {
		m.traffic.note(at, f.Transactions)
	}
	if len(f.Standbys) > 0 {
		m.wal.note(at, f.Position)
	}
	for _, s := range f.Standbys {
		if lag := m.wal.lag(at, s.Replayed); lag >= f.ReplicaLag {
			f.ReplicaLag, f.Standby = lag, s.Name
		}
	}
	if complete {
		m.complete = at
	}
	m.failing, m.pauses, m.permits = 0, f.Pauses, strings.Join(f.PermitHolders, "; ")
	m.judged = m.Limits.Judge(m.judged, f)
	m.update(at, &r)
	return r
}

// Failed notes that a sample failed. That stops no work in flight: the figures are left
// out, and the last known pauses stay.
func (m *Monitor) Failed(at time.Time, err error) Report {
	var r Report
	if m.failing++; m.failing == 1 {
		r.note(true, "the database can't be watched; continuing without the throttles' figures until it can", "error", err)
	}
	m.judged = Limits{}.Judge(nil, Figures{Pauses: m.pauses})
	m.update(at, &r)
	fault, cause := FaultOf(err)
	late := errors.Is(err, context.DeadlineExceeded) && fault != Contention // our own connections may all be in use
	r.Unavailable = fault == Infrastructure && cause == CausePermission || m.failing > 1 && (late || fault == Infrastructure)
	return r
}

// Batch notes whether a batch of the long lane was slow, here or in another worker, which
// makes the lane wait; detail says how slow.
func (m *Monitor) Batch(at time.Time, slow bool, detail string) Report {
	var r Report
	if slow {
		m.slow, m.slowAt = Throttle{Reason: SlowBatch, Detail: detail}, at
	}
	m.update(at, &r)
	return r
}

// SmallFinished notes that a small deletion has been finished.
func (m *Monitor) SmallFinished(at time.Time) {
	if at.Sub(m.smallAt) >= smallMemory {
		m.small = at
	}
	m.smallAt = at
}

// Stop returns the most important throttle that stops the long lane; false if none does.
// A slow batch and held permits are not among them: the batches themselves find those in
// the database.
func (m *Monitor) Stop() (Throttle, bool) {
	if len(m.judged) == 0 {
		return Throttle{}, false
	}
	return m.judged[0], true
}

// PausedAll returns the pause of all lanes; false if there is none.
func (m *Monitor) PausedAll() (Throttle, bool) {
	throttle, paused := m.judged.Of(Paused)
	return throttle, paused && slices.ContainsFunc(m.pauses, func(p Pause) bool { return p.Lane == AllLanes })
}

// Throttles returns all that throttles, also what stops nothing.
func (m *Monitor) Throttles() Throttles {
	all := slices.Clone(m.judged)
	if m.slow.Reason != "" {
		all = append(all, m.slow)
	}
	if m.permits != "" {
		all = append(all, Throttle{Reason: PermitsHeld, Detail: m.permits})
	}
	return all
}

// Backoff returns how many times as long as a batch the long lane waits after it, for the
// sake of other clients.
func (m *Monitor) Backoff(at time.Time) float64 {
	if m.smallAt.Sub(m.small) >= aloneTime && at.Sub(m.smallAt) < smallMemory {
		return m.ForegroundBackoff
	}
	return m.traffic.share(m.Noise) * m.ForegroundBackoff
}

// Due reports whether a sample of all figures is due.
func (m *Monitor) Due(at time.Time) bool { return at.Sub(m.complete) >= m.interval() }

// Next returns the time until the next sample. random, in [0, 1), keeps replicas from
// taking theirs together. It grows while samples fail.
func (m *Monitor) Next(random float64) time.Duration {
	every := time.Duration((0.8 + 0.2*clampUnit(random)) * float64(m.interval()))
	return min(max(maxBlind, every), every<<min(m.failing, 10))
}

func (m *Monitor) interval() time.Duration {
	if m.Interval <= 0 {
		return time.Second
	}
	return m.Interval
}

// update reports what has begun and ended.
func (m *Monitor) update(at time.Time, r *Report) {
	if m.slow.Reason != "" && at.Sub(m.slowAt) > slowMemory {
		m.slow = Throttle{}
	}
	if m.since == nil {
		m.since = map[ThrottleReason]time.Time{}
	}
	now := m.Throttles()
	for _, t := range now {
		if _, known := m.since[t.Reason]; !known {
			m.since[t.Reason] = at
			r.Began = append(r.Began, t.Reason)
			r.note(true, "throttled", "reason", string(t.Reason), "why", t.Detail)
		}
	}
	for _, reason := range ThrottleReasons() {
		since, known := m.since[reason]
		if _, still := now.Of(reason); !known || still {
			continue
		}
		delete(m.since, reason)
		r.Ended = append(r.Ended, reason)
		r.note(false, "no longer throttled", "reason", string(reason), "after", at.Sub(since).Round(time.Millisecond))
	}
}

// noteUnread reports once each throttle that has no figures.
func (m *Monitor) noteUnread(r *Report, unread map[ThrottleReason]string) {
	if m.unread == nil {
		m.unread = map[ThrottleReason]bool{}
	}
	for reason, why := range unread {
		if !m.unread[reason] {
			m.unread[reason] = true
			r.note(true, "a throttle has no figures and is left out", "reason", string(reason), "why", why)
		}
	}
}

func (r *Report) note(warn bool, message string, attrs ...any) {
	r.Notes = append(r.Notes, Note{warn, message, attrs})
}
