package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Three round trips to a server far away take longer than the target, before anything is deleted.
func TestAStepDeletesThoughRoundTripsTakeLongerThanItsTarget(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	proxy, through, err := localstack.OpenPostgresProxy(t.Context(), url, 15*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	near := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
	r := openRepo(t, Config{URL: through, Plan: plan.Bundled()})
	fillChat(t, near, "c", 300)
	d := deletion("1", "c")
	part := purge.Part{Claim: true, Finish: true, Long: true, Limit: 100}
	for tries := 1; tries <= 20; tries++ {
		step, err := r.Step(t.Context(), d, part)
		if err != nil {
			t.Fatal(err)
		}
		if step.Finished {
			if step.Record.MessagesDeleted != 300 {
				t.Errorf("record = %+v; want 300 messages deleted", step.Record)
			}
			return
		}
		part = purge.Part{Low: step.Low, Sparse: step.Sparse, Finish: true, Long: true, Limit: part.Limit}
	}
	t.Errorf("not finished after 20 steps; left %s", rowsLeft(t, near, "c"))
}
