package repo

import (
	"fmt"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

func TestConnectionsOfExpress(t *testing.T) {
	t.Parallel()
	for _, social := range []bool{false, true} {
		t.Run(fmt.Sprintf("are_planned_with_numbers_as_ids_and_foreign_keys_%t", social), func(t *testing.T) {
			t.Parallel()
			var cfg Config
			if social {
				cfg = newSocial(t).cfg
			} else {
				cfg = newRepo(t).cfg
			}
			cfg.MaxConns, cfg.ExpressConns = 5, 2
			r := openRepo(t, cfg)
			planned := r.sql.get("bulk_finish_one").sql
			if r.plan.Loose { // which has no shorter forms
				planned = r.sql.get("bulk_finish").sql
			}
			for range 2 {
				conn, err := r.ready.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(conn.Release)
				var plans int // a column since Postgres 14
				err = conn.QueryRow(t.Context(), `select count(*) from pg_prepared_statements p
					where statement = $1 and coalesce((to_jsonb(p) ->> 'generic_plans')::int, 1) > 0`, planned).Scan(&plans)
				if err != nil || plans != 1 {
					t.Errorf("a new connection has %d plans for what comes first, error %v; want 1", plans, err)
				}
			}
			if n := queryOne[int](t, r.pool, `select count(*)::int from lethe.commands`); n != 0 {
				t.Errorf("making ready has entered %d commands in the ledger; want none", n)
			}
			if got := r.Pool(); got.Max != 5 || got.Used != 2 {
				t.Errorf("pool = %+v; want 2 in use, 5 at the most", got)
			}
		})
	}

	t.Run("are_not_those_of_the_long_lane", func(t *testing.T) {
		t.Parallel()
		r := openRepo(t, Config{URL: newDatabase(t), Plan: plan.Bundled(), MaxConns: 2, ExpressConns: 1})
		fillChat(t, r, "chat", 3)
		conn, err := r.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "chat")}, Budget: wide})
		if res.Deleted[0] != 3 || !res.Finished[0] {
			t.Errorf("result = %+v while all other connections are taken; want 3 gone, finished", res)
		}
	})
}
