package repo

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/purge"
)

// A watermark of 0 is none, so that a message at 0 can't be hidden alone: nothing says that it is.
func TestAMessageAtPositionZeroIsNotHidden(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	fillLog(t, r, 1, 0, "alice", "bob")
	say(t, r, 1, -3, 0)
	d := hideOf("c1", "alice", 1, 0)
	for i := range 2 {
		_, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true})
		var kept purge.Kept
		if fault, _ := purge.FaultOf(err); fault != purge.Command || !errors.As(err, &kept) || !strings.Contains(err.Error(), `"log"."messages"`) || !strings.Contains(err.Error(), "position 0") {
			t.Errorf("step: %v (%v); want it to name the position", err, fault)
		}
		if n := queryOne[int](t, r.pool, `select count(*) from lethe.deletions`); n != 0 {
			t.Errorf("%d deletions in the ledger; want none", n)
		}
		execSQL(t, r.pool, fmt.Sprintf(`delete from log.messages where n < 0 and %d = 0`, i)) // it alone
	}
	say(t, r, 1, 1, 1)
	d.StoredAt = sentBy(1)
	if rec := steps(t, r, d).Records[0]; rec.State != purge.Done || rec.ThroughSeq != 1 || rec.MessagesDeleted != 2 {
		t.Errorf("%+v; want both hidden", rec)
	}
}
