package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Whoever holds a table is found out as quickly by a new connection, where the server
// waits for the table while it prepares the statements, before any transaction.
func TestALockedTableIsNoHangWhileStatementsArePrepared(t *testing.T) {
	t.Parallel()
	for name, conns := range map[string]int32{"on_any_connection": 0, "on_one_that_is_made_ready": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), ExpressConns: conns})
			tx, err := openPool(t, url).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(t.Context()) //nolint:errcheck // it is only for a test that fails
			if _, err := tx.Exec(t.Context(), `lock table chat.messages`); err != nil {
				t.Fatal(err)
			}
			r.conns.reset()
			began := time.Now()
			_, err = r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide})
			if fault, cause := purge.FaultOf(err); fault != purge.Contention || time.Since(began) > 3*time.Second {
				t.Errorf("after %v: %v (%v, %s); want contention, at once", time.Since(began), err, fault, cause)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}}); !res.Finished[0] {
				t.Errorf("record = %+v; want done once the table is free", res.Records[0])
			}
		})
	}
}
