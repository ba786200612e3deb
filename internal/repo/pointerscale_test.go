package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// A user with few messages in a conversation that others keep gets through it in bounded steps, also
// where messages share a position.
func TestPointersAmongManyThatOthersKeep(t *testing.T) {
	t.Parallel()
	const rows, mine = 100_000, 20
	for _, seq := range []string{"id", "at"} {
		t.Run("by_"+seq, func(t *testing.T) {
			t.Parallel()
			r := newPointers(t, seq)
			execSQL(t, r.pool, `insert into bodies (id, topic, at) select i, 0, timestamptz '2026-03-01' + i / 4 * interval '1 second' from generate_series(1, $1::int) i`, rows)
			execSQL(t, r.pool, `insert into copies (owner, body) select 1, id from bodies union all select 0, id from bodies where id % ($1::int / $2) = 7`, rows, mine)
			d := purge.Deletion{Key: purge.Key{App: "demo", Command: "c", User: "0", Conversation: "0"}, StoredAt: time.Now(), Token: tokens()}
			steps, began := 0, time.Now()
			step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Limit: 200})
			for ; err == nil && !step.Reached; steps++ {
				if low := step.Low; !step.Full || !step.Progress() {
					t.Fatalf("step %d: %+v; want it to measure its time, and to go on", steps, step)
				} else if step, err = r.Step(t.Context(), d, purge.Part{Low: low, Limit: 200}); step.Low <= low {
					t.Fatalf("a step ends at %d, above %d", step.Low, low)
				}
			}
			if err != nil || steps < rows/(200*spanFactor)/2 || steps > rows/(200*spanFactor)+2 {
				t.Errorf("%d steps, %v; want one for each %d rows", steps, err, 200*spanFactor)
			}
			if rec, err := r.Finish(t.Context(), d); err != nil || rec.State != purge.Done || rec.MessagesDeleted != mine {
				t.Errorf("%+v, %v; want done with %d messages", rec, err, mine)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it takes %v", took)
			}
			told := purge.Reported{Record: purge.Record{Key: d.Key, State: purge.Done, ThroughSeq: 1 << 62, CompletedAt: time.Now()}}
			execSQL(t, r.pool, `insert into copies (owner, body) select 0, id from bodies where id % ($1::int / $2) = 9`, rows, mine)
			if n := redo(t, r.Replayer(), told, 200); n != mine {
				t.Errorf("a replay deletes %d messages; want %d", n, mine)
			}
			if n := queryOne[int](t, r.pool, `select count(*) from bodies b join copies c on c.body = b.id and c.owner = 1`); n != rows {
				t.Errorf("others have %d messages; want %d", n, rows)
			}
		})
	}
}
