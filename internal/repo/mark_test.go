package repo

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// A batch that marks the dead index entries of an earlier one spares the proof
// a visit to each deleted row.
func TestABatchMarksWhatEarlierOnesLeftBehind(t *testing.T) {
	t.Parallel()
	visited := func(mark bool) int {
		r := newRepo(t)
		fillChat(t, r, "c", 4000)
		d := deletion("1", "c")
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 1, Rows: 1}})
		step, err := r.Step(t.Context(), d, purge.Part{Limit: 3000})
		if err != nil || step.Rows < 2999 {
			t.Fatalf("step = %+v, %v; want 3,000 messages gone", step, err)
		}
		if _, err := r.Claim(t.Context(), d); err != nil { // the batch is on the disk
			t.Fatal(err)
		}
		part := purge.Part{Low: step.Low, Limit: 100}
		if mark {
			part.MarkTo = step.Low
		}
		if step, err = r.Step(t.Context(), d, part); err != nil || step.Rows < 100 {
			t.Fatalf("step = %+v, %v; want 100 more gone", step, err)
		}
		rows, err := r.pool.Query(t.Context(), `explain (analyze, buffers, costs off, timing off)
			select from chat.messages where app_id = 'demo' and user_id = 'alice' and conversation_id = 'c' and seq <= 3000 limit 1`)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return buffers(t, strings.Join(plan, "\n"))
	}
	var with, without int
	for range 10 { // a snapshot of somebody else keeps a scan from marking, and autovacuum marks by itself
		if with, without = visited(true), visited(false); 2*with <= without {
			return
		}
	}
	t.Errorf("the proof visits %d pages after marking and %d without; want less than half as many", with, without)
}

func buffers(t *testing.T, plan string) int {
	t.Helper()
	m := regexp.MustCompile(`hit=(\d+)`).FindStringSubmatch(plan)
	if m == nil {
		t.Fatalf("the plan names no buffers: %s", plan)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
