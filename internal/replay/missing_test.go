package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/bus"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	before, after := since.Add(-time.Hour), since.Add(time.Hour)
	for _, c := range []struct {
		name   string
		state  bus.StreamState
		first  uint64
		before bool
		want   string // in the reasons; "" for none
	}{
		{"all are there, older ones too", bus.StreamState{Created: before, First: 5, FirstAt: before, Last: 9, LastAt: after, Messages: 5}, 7, true, ""},
		{"all are there, from the very first on", bus.StreamState{Created: before, First: 1, FirstAt: after, Last: 9, LastAt: after, Messages: 9}, 1, true, ""},
		{"the first one is of the very time", bus.StreamState{Created: before, First: 5, FirstAt: since, Last: 9, LastAt: after, Messages: 5}, 5, true, ""},
		{"nothing was stored since", bus.StreamState{Created: before, First: 1, FirstAt: before, Last: 9, LastAt: before, Messages: 9}, 0, true, ""},
		{"nothing was ever stored", bus.StreamState{Created: before}, 0, true, ""},
		{"all are gone, and older", bus.StreamState{Created: before, First: 10, Last: 9, LastAt: before}, 0, true, ""},
		{"older ones are gone from the front", bus.StreamState{Created: before, First: 5, FirstAt: after, Last: 9, LastAt: after, Messages: 5}, 5, true, "the stream's first event, 5 of 2026-11-23T10:00:00Z"},
		{"all are gone", bus.StreamState{Created: before, First: 10, Last: 9, LastAt: after}, 0, true, "the last one, 9, was stored at"},
		{"all since are gone, and older ones are there", bus.StreamState{Created: before, First: 5, FirstAt: before, Last: 9, LastAt: after, Messages: 2}, 0, true, "the last one, 9, was stored at"},
		{"made since", bus.StreamState{Created: after, First: 1, FirstAt: after, Last: 9, LastAt: after, Messages: 9}, 1, true, "--since is older than the stream, which was made at 2026-11-23T10:00:00Z"},
		{"made since, and empty", bus.StreamState{Created: after}, 0, true, "--since is older than the stream"},
		{"the one before is gone", bus.StreamState{Created: before, First: 5, FirstAt: before, Last: 9, LastAt: after, Messages: 4}, 7, false, "message 6 is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(missing(since, c.state, c.first, c.before), "; ")
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("missing = %q; want %q in it", got, c.want)
			}
		})
	}
}
