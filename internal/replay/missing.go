package replay

import (
	"fmt"
	"time"

	"github.com/lethe-im/lethe/internal/bus"
)

// missing says why events that were stored since a time may not be in the stream
// any more, a line for each reason; none where all of them are there. first is the
// first message since then, 0 for none; before says that the message in front of
// that is there, if there can be one.
func missing(since time.Time, s bus.StreamState, first uint64, before bool) (reasons []string) {
	if s.Created.After(since) {
		reasons = append(reasons, fmt.Sprintf("--since is older than the stream, which was made at %s: what was published to an older stream of its name is not in it", stamp(s.Created)))
	}
	switch {
	case s.Messages > 0 && s.First > 1 && s.FirstAt.After(since):
		reasons = append(reasons, fmt.Sprintf("--since is older than the stream's first event, %d of %s: those before it are gone", s.First, stamp(s.FirstAt)))
	case first == 0 && s.Last > 0 && !s.LastAt.Before(since):
		reasons = append(reasons, fmt.Sprintf("no message since then is in the stream, but the last one, %d, was stored at %s: they are gone", s.Last, stamp(s.LastAt)))
	case !before:
		reasons = append(reasons, fmt.Sprintf("message %d is gone, and may have been stored since then", first-1))
	}
	return reasons
}

// gap notes messages that are gone from the middle of the stream: a user's oldest
// beyond the limit for each subject, or removed by hand.
func (r *run) gap(first, last uint64) {
	r.miss(fmt.Sprintf("messages %d to %d are gone: more than the stream keeps for one user, or removed by hand", first, last))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
