package repo

import (
	"fmt"
	"testing"

	"github.com/lethe-im/lethe/internal/purge"
)

// Two commands may want the same conversation, and meet in one batch: the first of them is
// worked on, and the other one in a step of its own.
func TestDeletionsOfOneConversationInOneBatchGoOneAfterTheOther(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	through := func(command, conversation string, seq int64, keep bool) purge.Deletion {
		d := deletion(command, conversation)
		d.ThroughSeq, d.KeepHistory = &seq, keep
		return d
	}
	for i, c := range []struct {
		name         string
		first, other int64
		keep         bool // the first
		messages     int
		row          string
	}{
		{"the row goes", 40, 10, true, 30, "none"},
		{"the row goes, later", 10, 40, true, 0, "none"},
		{"the row stays", 10, 30, false, 10, "10 unread"},
		{"the row stays, earlier", 30, 10, false, 10, "10 unread"},
		{"the row stays, history kept", 30, 10, true, 30, "10 unread"},
		{"the same twice", 20, 20, false, 20, "20 unread"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			id := fmt.Sprintf("g%d", i)
			fillChat(t, r, id, 40)
			execSQL(t, r.pool, `update chat.conversations set unread_count = 40 where conversation_id = $1`, id)
			ds := []purge.Deletion{through(id+"a", id, c.first, c.keep), through(id+"b", id, c.other, false)}
			res := bulk(t, r, purge.Batch{Deletions: ds})
			finished := 0
			for j, rec := range res.Records {
				if res.Finished[j] {
					finished++
				} else if rec.State != "" {
					t.Errorf("deletion %d = %+v; want it unknown to the ledger", j, rec)
				} else if rec := steps(t, r, ds[j]).Records[0]; rec.State != purge.Done || rec.ConversationRemoved != (c.row == "none") {
					t.Errorf("deletion %d = %+v; want done; the row: %s", j, rec, c.row)
				}
			}
			if finished != 1 {
				t.Errorf("%d of two deletions of one conversation finished together; want one", finished)
			}
			messages := queryOne[int](t, r.pool, `select count(*)::int from chat.messages where conversation_id = $1`, id)
			row := queryOne[string](t, r.pool, `select coalesce(min(unread_count || ' unread'), 'none') from chat.conversations where conversation_id = $1`, id)
			if messages != c.messages || row != c.row {
				t.Errorf("%d messages, row: %s; want %d, %s", messages, row, c.messages, c.row)
			}
		})
	}
}
