package repo

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
)

// throughPgBouncer is a database with the ledger and the bundled schema, and its
// addresses without and with PgBouncer in front.
func throughPgBouncer(t *testing.T, settings map[string]string) (direct, through string) {
	t.Helper()
	direct = newDatabase(t)
	return direct, localtest.PgBouncer(t, direct, settings).URL()
}

func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]map[string]string{
		"of_two_connections": {"default_pool_size": "2"},
		"that_resets":        {"server_reset_query": "discard all", "server_reset_query_always": "1", "default_pool_size": "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, through := throughPgBouncer(t, settings)
			r := openRepo(t, Config{URL: through, Plan: plan.Bundled(), MaxConns: 6, ExpressConns: 2})
			for range 3 {
				workUnder(t, r, openPool(t, direct))
			}
			chosen := openRepo(t, Config{URL: through + "&default_query_exec_mode=describe_exec", Plan: plan.Bundled()})
			if !r.source.pooler.Load() || !chosen.source.pooler.Load() {
				t.Error("the pooler was not detected")
			}
		})
	}
	t.Run("statements_are_kept_where_there_is_none", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		conn, err := r.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		if mode := conn.Conn().Config().DefaultQueryExecMode; mode != pgx.QueryExecModeCacheStatement || r.source.pooler.Load() {
			t.Errorf("mode %v, pooler %t; want statements that are prepared and kept", mode, r.source.pooler.Load())
		}
	})
}
