package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// peopleSQL is what people do in a moment: many transactions, which cost a machine with other tests little.
const peopleSQL = `do $$ begin
	for i in 1..100 loop
		perform from chat.messages where app_id = 'demo' and user_id = 'bob';
		commit;
	end loop;
end $$`

// While people are at work in the database two workers leave it to them most of the
// time, and say so in a metric alone.
func TestLargeDeletionsYieldToPeople(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	giants := []chat{{"demo", "giant-1", "g"}, {"demo", "giant-2", "g"}}
	want := map[deletionKey]int{}
	for _, c := range giants {
		r.huge(t, c, 20_000)
	}
	ctx, leave := context.WithCancel(t.Context())
	var people sync.WaitGroup
	defer people.Wait()
	defer leave()
	people.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if _, err := r.db.Exec(ctx, peopleSQL); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			<-tick.C
		}
	})
	workers := []*worker{r.start(t, "LETHE_FOREGROUND_BACKOFF=4"), r.start(t, "LETHE_FOREGROUND_BACKOFF=4")}
	for _, w := range workers {
		eventually(t, timeout, "the worker knows of them", func() bool { return metric(t, "lethe_foreground_backoff", "", w) == 4 })
	}
	for _, c := range giants {
		cmd := c.ask()
		want[deletionKey{cmd.CommandID, "g"}] = 20_000
		r.send(t, cmd)
	}
	r.awaitStored(t, len(giants), typed(conversation.TypeDeleted))
	r.told(t, want)
	var rested float64
	for _, w := range workers {
		rested += metric(t, "lethe_foreground_backoff_seconds_total", "", w)
	}
	if rested <= 0 {
		t.Errorf("lethe_foreground_backoff_seconds_total is %v; want more", rested)
	}
	_, heard, _ := r.seen(typed(conversation.TypeDeleting))
	for _, e := range heard {
		if e.body["waiting_for"] == "foreground_load" {
			t.Errorf("the progress says that it waits: %v", e.body)
		}
	}
	r.settled(t)
	for _, w := range workers {
		w.term(t)
	}
}
