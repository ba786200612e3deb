package purge

import "time"

// Trail remembers when the server was where in its WAL, and so how far behind a
// standby is in time. Postgres's own replay_lag is not enough for that: it is
// measured when the standby moves, and so says nothing of one that stands still.
// The zero value is empty. Not safe for concurrent use.
type Trail struct {
	marks []trailMark // ascending in both
}

type trailMark struct {
	at       time.Time
	position int64
}

// trailLength is ten minutes of looks; a standby that is further behind is told
// to be that far.
const trailLength = 600

// Note remembers that the server was at position. A position before the last one
// is another server's, after a failover: what was known is forgotten.
func (t *Trail) Note(at time.Time, position int64) {
	if n := len(t.marks); n > 0 {
		switch last := t.marks[n-1]; {
		case position < last.position || at.Before(last.at):
			t.marks = nil
		case position == last.position:
			return // the first look that found it there counts
		}
	}
	if len(t.marks) >= trailLength {
		t.marks = append(t.marks[:0], t.marks[1:]...)
	}
	t.marks = append(t.marks, trailMark{at, position})
}

// Lag returns how long ago the server had been past replayed already, as far as
// was noted: at least so far behind is a standby that has come to replayed; 0
// for one that is where the server was last noted.
func (t *Trail) Lag(now time.Time, replayed int64) time.Duration {
	for _, m := range t.marks {
		if m.position > replayed {
			return max(0, now.Sub(m.at))
		}
	}
	return 0
}
