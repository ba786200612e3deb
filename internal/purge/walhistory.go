package purge

import "time"

// walHistory remembers when the server was where in its WAL, and so how far behind a
// standby is in time. Postgres's own replay_lag is not enough for that: it is
// measured when the standby moves, and so says nothing about one that stands still.
// The zero value is empty.
type walHistory struct {
	marks []walMark // ascending in both
}

type walMark struct {
	at       time.Time
	position int64
}

// maxWALMarks is ten minutes of samples; a standby that is further behind is reported
// as that far behind.
const maxWALMarks = 600

// note remembers that the server was at position. A position before the last one
// belongs to another server, after a failover: what was known is forgotten.
func (h *walHistory) note(at time.Time, position int64) {
	if n := len(h.marks); n > 0 {
		switch last := h.marks[n-1]; {
		case position < last.position || at.Before(last.at):
			h.marks = nil
		case position == last.position:
			return // the first sample that found it there counts
		}
	}
	if len(h.marks) >= maxWALMarks {
		h.marks = append(h.marks[:0], h.marks[1:]...)
	}
	h.marks = append(h.marks, walMark{at, position})
}

// lag returns how long ago the server was already past replayed, as far as was noted:
// a standby that has replayed so far is at least that far behind; 0 for one that is
// where the server was last noted.
func (h *walHistory) lag(now time.Time, replayed int64) time.Duration {
	for _, m := range h.marks {
		if m.position > replayed {
			return max(0, now.Sub(m.at))
		}
	}
	return 0
}
